"""Several experiments side by side: what every figure is on average over the seeds, and against the first."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from hocket.errors import InvalidInput
from hocket.experiment import folder
from hocket.experiment.batch import Piece, pieces
from hocket.files import replace
from hocket.record.interval import Interval, interval
from hocket.report import RunView, write_page

FILE = "compare.json"
FIGURES = ("time_s", "up", "down", "accuracy", "staleness")
"""Virtual seconds and bytes to the target (of the whole run if it has none), final accuracy, mean staleness."""


class Row(Struct, frozen=True):
    """One experiment and task over its runs.

    ``figures`` are means over the runs that have them, ``ratio`` is theirs to the first experiment's same task,
    left out where any run of either did not reach its target.
    """

    name: str
    task: str
    targets: tuple[float | None, ...]
    runs: int
    reached: int | None
    figures: Mapping[str, Interval | None]
    ratio: Mapping[str, float]


def places(
    sources: Sequence[Path], out: Path, changes: Sequence[str], seeds: str | None, data: Path | None = None
) -> dict[str, list[Piece]]:
    """By name: the runs that have to be made; none for a directory, which is read as it is.

    Raises:
        InvalidInput: fewer than two sources, two of one name, or a directory without a finished run.
    """
    if len(sources) < 2:
        raise InvalidInput("compare: one experiment given; give two or more files or run directories")
    found: dict[str, list[Piece]] = {}
    for source in sources:
        name = source.resolve().name if source.is_dir() else source.stem
        if name in found:
            raise InvalidInput(f"compare: two experiments are called {name!r}; rename a file or directory")
        if source.is_dir():
            folder.views(source)
        found[name] = [] if source.is_dir() else pieces(source, out / name, changes, seeds, data=data)
    return found


def rows(runs: Mapping[str, Sequence[RunView]]) -> list[Row]:
    """A row per experiment and task; the first experiment is what the others are measured against."""
    made: list[Row] = []
    first: dict[str, Row] = {}
    for name, views in runs.items():
        for task in dict.fromkeys(str(v.task) for v in views):
            mine = [v for v in views if v.task == task]
            each = [figures(v) for v in mine]
            known = {f: interval(e[f] for e in each) for f in FIGURES}
            reached = sum(e["time_s"] is not None for e in each) if any(_targeted(v) for v in mine) else None
            targets = tuple(dict.fromkeys(v.target for v in mine))
            row = Row(name, task, targets, len(mine), reached, known, {})
            base = first.setdefault(task, row)
            made.append(msgspec.structs.replace(row, ratio=_ratio(row, base)))
    return made


def figures(view: RunView) -> dict[str, float | None]:
    """The figures of one run; to the target, they are None where it was not reached."""
    said: Mapping[str, Any] = view.summary
    task = said["tasks"][view.task]
    rest = {"accuracy": task.get("accuracy"), "staleness": said["staleness"]["mean"]}
    if not _targeted(view):
        return {"time_s": said["virtual_time_s"], "up": said["bytes"]["up"], "down": said["bytes"]["down"], **rest}
    time = task["time_to_target_s"]
    if time is None:
        return {"time_s": None, "up": None, "down": None, **rest}
    at = list(view.curve["time_s"]).index(time)
    return {"time_s": time, "up": view.curve["bytes_up"][at], "down": view.curve["bytes_down"][at], **rest}


def write(out: Path, found: Sequence[Row], runs: Mapping[str, Sequence[RunView]]) -> Path:
    """Write ``compare.json`` and the page of all runs; where the page is."""
    text = json.dumps({"format": 1, "rows": msgspec.to_builtins(list(found))}, indent=2, sort_keys=True) + "\n"
    replace(out / FILE, partial(Path.write_text, data=text))
    shown = [
        msgspec.structs.replace(v, label=_label(v.label, name), family=name if v.family else "")
        for name, views in runs.items()
        for v in views
    ]
    write_page(out / folder.PAGE, shown, " and ".join(runs))
    return out / folder.PAGE


def _label(label: str, name: str) -> str:
    return label if label.casefold().startswith(name.casefold()) else f"{name}: {label}"


def _targeted(view: RunView) -> bool:
    task = view.summary["tasks"][view.task]  # type: ignore[index]
    return view.target is not None or task["time_to_target_s"] is not None or view.summary["finished"] == "target"


def _ratio(row: Row, base: Row) -> dict[str, float]:
    """By figure, where both are means over all of their runs and the first is not zero."""
    ratios = {}
    for f in FIGURES:
        mine, theirs = row.figures[f], base.figures[f]
        if mine and theirs and theirs.mean and mine.n == row.runs and theirs.n == base.runs:
            ratios[f] = mine.mean / theirs.mean
    return ratios
