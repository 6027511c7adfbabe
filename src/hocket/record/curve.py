"""The evaluations of a run, in order: when, at which version, after how many updates and bytes."""

from typing import Any

import pyarrow as pa
from msgspec import Struct

from hocket.events import Evaluated
from hocket.until import Until


class Moved(Struct, frozen=True):
    """Bytes up and down."""

    up: int
    down: int


class Point(Struct, frozen=True):
    """One evaluation; bytes are those sent by then, parts of transfers included."""

    task: str
    time_ns: int
    version: int
    updates: int
    up: int
    down: int
    metrics: dict[str, float]


class Curve(Struct):
    """Points of all tasks in the order in which they were measured."""

    confirm: int = 1
    points: list[Point] = []

    def add(self, e: Evaluated, now: int, updates: int, up: int, down: int) -> None:
        """Write an evaluation down."""
        self.points.append(Point(e.task, now, e.version, updates, up, down, e.metrics))

    def of(self, task: str) -> list[Point]:
        """The points of one task."""
        return [p for p in self.points if p.task == task]

    def last(self, task: str) -> Point | None:
        """The newest point of a task."""
        return next((p for p in reversed(self.points) if p.task == task), None)

    def latest(self, metric: str) -> float | None:
        """The newest value of a metric over all tasks."""
        return self.points[-1].metrics.get(metric) if self.points else None

    def first(self, task: str, accuracy: float) -> Point | None:
        """The first of ``confirm`` consecutive points of a task with at least this accuracy."""
        return self.target(task, Until(accuracy=accuracy, confirm=self.confirm))

    def target(self, task: str, until: Until) -> Point | None:
        """The first of ``confirm`` consecutive points that meet every target of the task."""
        own, run = until.of(task), list[Point]()
        for p in self.of(task) if own.floors or own.ceilings else ():
            run = [*run, p] if own.reached(p.metrics) else []
            if len(run) >= own.confirm:
                return run[0]
        return None

    def columns(self, task: str) -> dict[str, list[Any]]:
        """The points of a task as columns, times in seconds."""
        points = self.of(task)
        names = sorted({m for p in points for m in p.metrics})
        return {
            "time_s": [p.time_ns / 1e9 for p in points],
            "version": [p.version for p in points],
            "updates": [p.updates for p in points],
            "bytes_up": [p.up for p in points],
            "bytes_down": [p.down for p in points],
            **{m: [p.metrics.get(m) for p in points] for m in names},
        }

    def table(self) -> pa.Table:
        """All points as one table, with the task's name in the first column."""
        tasks = list(dict.fromkeys(p.task for p in self.points))
        parts = [pa.table({"task": [t] * len(self.of(t)), **self.columns(t)}) for t in tasks]
        return pa.concat_tables(parts, promote_options="default") if parts else pa.table({"task": []})
