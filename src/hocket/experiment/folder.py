"""Run directories: run an experiment into one, tell whether it is finished, show what is in it."""

import json
import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hocket.errors import Damaged, InvalidInput
from hocket.experiment import fleet_table, interrupted
from hocket.experiment.document import FILE, Experiment
from hocket.files import replace
from hocket.report import RunView, write_figures, write_page
from hocket.report.figures import check
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
        e.tasks, e.fleet, e.strategy, e.until, seed=e.seed, evaluation=e.evaluation, schedule=e.schedule,
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


def same(experiment: Experiment, folder: Path, but: Sequence[str] = ("name",)) -> bool:
    """Whether a directory holds this very experiment, apart from these tables of it."""
    apart = dict.fromkeys(but)
    return {**_experiment(folder), **apart} == {**tomllib.loads(experiment.toml()), **apart}


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
    if not isinstance(found, dict) or not isinstance(found.get("tasks"), dict) or not _is_whole(found):
        raise Damaged(f"{path}: is not the summary of a run (tasks, bytes, staleness); run the experiment again")
    return found


def _is_whole(found: dict[str, Any]) -> bool:
    tables = all(isinstance(found.get(name), dict) for name in ("bytes", "staleness"))
    return tables and all(isinstance(t, dict) for t in found["tasks"].values()) and "virtual_time_s" in found


def views(folder: Path, unfinished: bool = False) -> list[RunView]:
    """What a report shows of a run directory, or of the run directories inside it.

    With ``unfinished``, runs that were interrupted are among them, as far as they got.

    Raises:
        InvalidInput: there is no run.
        Damaged: a file of a run cannot be read.
    """
    if not _holds(folder, unfinished):
        inside = [p for p in (*folder.glob("*/"), *folder.glob("*/*/")) if _holds(p, unfinished)]
        if inside:
            return [view for path in sorted(inside, key=_in_order) for view in views(path, unfinished)]
        if unfinished:
            raise InvalidInput(_no_run(folder))
    tree = _experiment(folder)
    done = (folder / "summary.json").exists() or not unfinished
    if done:
        said, table = summary(folder), _table(folder)
    else:
        said, table = interrupted.read(folder, tree)
    tasks = said["tasks"]
    label, several = str(tree.get("name", folder.resolve().name)), len(tasks) > 1
    text = folder / FILE
    counts = [t["clients"] for t in tree.get("tasks", {}).values() if isinstance(t.get("clients"), int)]
    clients = max(counts, default=None)
    kinds, kind = _classes(folder, tree, clients)
    return [
        RunView(
            label=f"{label}: {task}" if several else label,
            curve=_curve(table, task),
            summary=said,
            target=_target(tree, task),
            task=task,
            folder=folder,
            experiment=text.read_text(encoding="utf-8") if text.exists() else "",
            clients=clients,
            interrupted=not done,
            per_client=_per_client(folder, task),
            tasks=tuple(tree.get("tasks", tasks)),
            kinds=kinds,
            kind=kind,
            family=_family(label),
        )
        for task in tasks
    ]


def write_report(
    *folders: Path, title: str | None = None, out: Path | None = None, figures: Path | None = None, png: bool = False
) -> Path:
    """Write one page from what directories hold; where it is.

    It goes to ``out``; without it, to ``report.html`` in the directory, or here when there are several. ``figures``
    is a folder for its figures as SVG, with ``png`` as PNG too.

    Raises:
        InvalidInput: a directory holds no run, ``out`` is a directory, or ``figures`` is a file.
        MissingExtra: PNG is asked for without the extra.
        Damaged: a file of a run cannot be read.
    """
    path = out or (folders[0] / PAGE if len(folders) == 1 else Path(PAGE))
    if path.is_dir():
        raise InvalidInput(f"--out {path}: is a directory; give a file")
    if png and figures is None:
        raise InvalidInput("--png: there is no folder for the figures; give one with --figures FOLDER")
    if figures is not None:
        check(figures, png)
    shown = [view for folder in folders for view in views(folder, unfinished=True)]
    made = write_page(path, shown, title or " and ".join(dict.fromkeys(v.alike for v in shown)))
    if figures is not None:
        write_figures(figures, made.charts(), png)
    return path


def _family(label: str) -> str:
    """What runs over several seeds are called together; none for a run that is not one of them."""
    name, _, seed = label.rpartition(" seed ")
    return name if seed.isdecimal() else ""


def _begin(experiment: Experiment, folder: Path, resume: bool) -> None:
    if resume and finished(folder):
        if same(experiment, folder):
            raise InvalidInput(f"{folder} is finished; there is nothing to resume")
        if same(experiment, folder, but=("name", "until")):
            raise InvalidInput(
                f"{folder} is finished; a run that stops later begins anew, with the same bits up to there: give it "
                "another directory with --out"
            )
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
    except (ValueError, RecursionError, OSError) as error:
        raise Damaged(f"{folder / FILE}: {error}") from None


def _holds(folder: Path, unfinished: bool) -> bool:
    if (folder / "summary.json").exists():
        return True
    return unfinished and ((folder / checkpoint.FILE).exists() or any((folder / "events").glob("*.parquet")))


def _no_run(folder: Path) -> str:
    if not folder.exists():
        return f"{folder}: no such directory; give a run directory, or one that holds several"
    if not folder.is_dir():
        return f"{folder}: is a file; give a run directory, or one that holds several"
    return f"{folder}: no run in it (no summary.json, checkpoint or events); give a run directory"


def _target(tree: Mapping[str, Any], task: str) -> float | None:
    until = tree.get("until", {})
    own: float | None = until.get("tasks", {}).get(task, until).get("accuracy")
    return own


def _table(folder: Path) -> pa.Table:
    return _parquet(folder / "curve.parquet", "task")


def _parquet(path: Path, *needed: str) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise Damaged(f"{path}: {str(error).splitlines()[0]}; run the experiment again") from None
    if missing := [name for name in needed if name not in table.column_names]:
        raise Damaged(f"{path}: column {missing[0]} is missing; run the experiment again")
    return table


def _curve(table: pa.Table, task: str) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = table.filter(pc.equal(table["task"].cast(pa.string()), task)).to_pydict()
    del columns["task"]
    empty: dict[str, list[Any]] = {name: [] for name in ("time_s", "bytes_up", "bytes_down")}
    return empty | columns


def _classes(
    folder: Path, tree: Mapping[str, Any], clients: int | None
) -> tuple[tuple[str, ...], NDArray[np.int8] | None]:
    """The classes of devices and which one each has; none where the fleet cannot be built from the file any more."""
    if clients is None or "fleet" not in tree:
        return (), None
    try:
        fleet, _, _ = fleet_table.make(fleet_table.read(tree["fleet"]), clients, int(tree.get("seed", 0)), folder)
    except InvalidInput:
        return (), None
    return fleet.kinds, fleet.kind


def _per_client(folder: Path, task: str) -> dict[str, list[Any]]:
    """Metrics by client from ``clients.parquet`` (task, client, and a column per metric), if the run has one."""
    path = folder / "clients.parquet"
    if not path.exists():
        return {}
    columns = _curve(_parquet(path, "task", "client"), task)
    return {n: v for n, v in columns.items() if n not in ("client", "time_s", "bytes_up", "bytes_down") and v}


def _in_order(folder: Path) -> list[int | str]:
    """Sort key by which seed-10 comes after seed-9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(folder))]
