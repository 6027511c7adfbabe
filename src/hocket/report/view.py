"""What a report knows of one run of one task."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Column = Sequence[float | int | None]


class RunView(Struct, frozen=True, eq=False):
    """One run of one task.

    ``curve`` has the columns time_s, version, updates, bytes_up, bytes_down and the metrics, one row per
    evaluation; metrics may hold None or be missing. ``summary`` is the content of ``summary.json``; ``task`` names
    the task in it, the first one if not given. ``folder`` holds the event log, ``experiment`` is the text of the
    resolved experiment, ``clients`` the number of devices, where they are known. ``interrupted``: the run did not
    come to its end. ``per_client``: metrics on each client's own data. ``tasks``: all tasks of the run, in the order in
    which its event log numbers them. ``kind`` is the class of each device, an index into ``kinds``. ``family``: what
    runs that differ in their seed are called together.
    """

    label: str
    curve: Mapping[str, Column]
    summary: Mapping[str, object]
    target: float | None = None
    task: str | None = None
    folder: Path | None = None
    experiment: str = ""
    clients: int | None = None
    interrupted: bool = False
    per_client: Mapping[str, Column] = {}
    tasks: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    kind: NDArray[np.int8] | None = None
    family: str = ""

    @property
    def run(self) -> str:
        """The label without the task."""
        return self.label.removesuffix(f": {self.task}")

    @property
    def alike(self) -> str:
        """The family, or the run itself if it has none."""
        return self.family or self.run


def number(tree: object, *path: str) -> float | None:
    """A finite number in nested tables, None if there is none."""
    for name in path:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, int | float) and isfinite(tree) else None


def of_task(view: RunView, name: str) -> float | None:
    """A number of the view's task."""
    tasks = view.summary.get("tasks")
    if not isinstance(tasks, Mapping) or not tasks:
        return number(view.summary, name)
    return number(tasks, view.task if view.task is not None else next(iter(tasks)), name)


def metrics(views: Sequence[RunView]) -> list[str]:
    """The metrics that have a value in some curve: accuracy, loss, then the others by name."""
    known = {"time_s", "version", "updates", "bytes_up", "bytes_down"}
    found = {n for v in views for n, column in v.curve.items() if n not in known and present(column)}
    return sorted(found, key=lambda n: (n != "accuracy", n != "loss", n))


def present(column: Column) -> list[float]:
    """The values of a column that are finite numbers."""
    return [float(value) for value in column if value is not None and isfinite(value)]


def families(views: Sequence[RunView]) -> dict[str, list[str]]:
    """Families by name, each with its runs; empty if all runs stand alone."""
    found: dict[str, list[str]] = {}
    for view in views:
        runs = found.setdefault(view.alike, [])
        if view.run not in runs:
            runs.append(view.run)
    return found if any(len(runs) > 1 for runs in found.values()) else {}
