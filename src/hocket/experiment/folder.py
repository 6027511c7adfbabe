"""Run directories: run an experiment into one, tell whether it is finished, show what is in it."""

import json
import re
import shutil
import tomllib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from hocket.errors import Damaged, InvalidInput
from hocket.experiment.document import FILE, Experiment
from hocket.files import replace
from hocket.report import RunView, write_page
from hocket.simulation import checkpoint
from hocket.simulation.run import Report, Run, simulate
from hocket.sink.sink import Sink

PAGE = "report.html"


def run(
    experiment: Experiment,
    out: str | Path | None = None,
    resume: bool = False,
    report: Report | None = None,
    sinks: Sequence[Sink] = (),
) -> Run:
    """Simulate an experiment; with ``out``, leave its results, ``experiment.toml`` and ``report.html`` there.

    Raises:
        InvalidInput: ``out`` holds another run, or with ``resume`` one that is finished or of another experiment.
    """
    folder = None if out is None else Path(out)
    e = experiment
    if folder is not None:
        _begin(e, folder, resume)
    done = simulate(
        e.tasks, e.fleet, e.strategy, e.until, seed=e.seed, evaluation=e.evaluation,
        out=folder, resume=resume, report=report, sinks=sinks,
    )  # fmt: skip
    if folder is not None:
        write_report(folder)
    return done


def vacant(folder: Path) -> None:
    """Make sure that a run can begin in a directory; nothing is written.

    Raises:
        InvalidInput: it holds a run, or is no directory.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is a file; give a directory")
    if held := [f for f in checkpoint.RESULTS if (folder / f).exists()]:
        raise InvalidInput(
            f"{folder} holds a run already ({', '.join(held)}); go on with --resume, choose another directory with "
            "--out, or remove it"
        )


def finished(folder: Path) -> bool:
    """Whether a directory holds a run that came to its end."""
    return (folder / "summary.json").exists() and not (folder / checkpoint.FILE).exists()


def same(experiment: Experiment, folder: Path) -> bool:
    """Whether a directory holds this very experiment, under whatever name."""
    return {**_experiment(folder), "name": ""} == {**tomllib.loads(experiment.toml()), "name": ""}


def summary(folder: Path) -> dict[str, Any]:
    """The content of ``summary.json``.

    Raises:
        InvalidInput: there is none.
        Damaged: it cannot be read.
    """
    path = folder / "summary.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidInput(f"{folder}: no finished run in it (no summary.json); give a run directory") from None
    except (ValueError, OSError) as error:
        raise Damaged(f"{path}: {error}; run the experiment again") from None
    return found


def views(folder: Path) -> list[RunView]:
    """What a report shows of a run directory, or of the run directories inside it.

    Raises:
        InvalidInput: there is no finished run.
    """
    if not (folder / "summary.json").exists():
        inside = sorted(p.parent for p in folder.glob("*/summary.json"))
        if inside:
            return [view for path in sorted(inside, key=_in_order) for view in views(path)]
    said = summary(folder)
    tree = _experiment(folder)
    label, several = tree.get("name", folder.name), len(said["tasks"]) > 1
    return [
        RunView(
            label=f"{label}: {task}" if several else label,
            curve=_curve(folder, task),
            summary=said,
            target=tree.get("until", {}).get("accuracy"),
            task=task,
        )
        for task in said["tasks"]
    ]


def write_report(*folders: Path, title: str | None = None, out: Path | None = None) -> Path:
    """Write one page from what directories hold; where it is.

    It goes to ``out``; without it, to ``report.html`` in the directory, or here when there are several.

    Raises:
        InvalidInput: a directory holds no finished run, or ``out`` is a directory.
    """
    path = out or (folders[0] / PAGE if len(folders) == 1 else Path(PAGE))
    if path.is_dir():
        raise InvalidInput(f"--out {path}: is a directory; give a file")
    shown = [view for folder in folders for view in views(folder)]
    write_page(path, shown, title or " and ".join(dict.fromkeys(v.label for v in shown)))
    return path


def _begin(experiment: Experiment, folder: Path, resume: bool) -> None:
    if resume and finished(folder):
        if same(experiment, folder):
            raise InvalidInput(f"{folder} is finished; there is nothing to resume")
        raise InvalidInput(f"{folder} holds a run of another experiment; choose another directory or remove it")
    if resume and (folder / checkpoint.FILE).exists():
        return  # the checkpoint knows whether it belongs to this experiment
    if not resume:
        vacant(folder)
    checkpoint.begin(folder, resume)
    for name, source in experiment.files.items():
        replace(folder / name, partial(shutil.copyfile, source))
    replace(folder / FILE, lambda path: path.write_text(experiment.toml(), encoding="utf-8"))


def _experiment(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise Damaged(f"{folder / FILE}: {error}") from None


def _curve(folder: Path, task: str) -> dict[str, list[Any]]:
    path = folder / "curve.parquet"
    try:
        columns: dict[str, list[Any]] = pq.read_table(path).to_pydict()
    except (OSError, ValueError) as error:
        raise Damaged(f"{path}: {str(error).splitlines()[0]}; run the experiment again") from None
    mine = [t == task for t in columns.pop("task")]
    empty: dict[str, list[Any]] = {name: [] for name in ("time_s", "bytes_up", "bytes_down")}
    return empty | {name: [v for v, own in zip(column, mine, strict=True) if own] for name, column in columns.items()}


def _in_order(folder: Path) -> list[int | str]:
    """Sort key by which seed-10 comes after seed-9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", folder.name)]
