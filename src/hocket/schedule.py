"""What changes about the tasks of a run while it goes on: added, paused, ended, harder or easier work.

A task whose first change is "add" is not there before: it is measured once, and takes no work. One that is paused
keeps its model, and work under way counts; "add" resumes it. One that is ended is over for good: its work under way is
cancelled. ``cost`` changes the time per sample of jobs that begin later (simulation only).
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from hocket import events as on
from hocket.errors import InvalidInput
from hocket.until import LONGEST, SECOND


class Change(Struct, frozen=True, forbid_unknown_fields=True):
    """At ``at`` seconds something happens to a task, or its ``cost`` becomes another, or both.

    Raises:
        InvalidInput: a time or a cost out of range, or nothing that changes.

    >>> Change(120.0, "words", "add").event()
    TaskAdded(task='words')
    """

    at: float
    task: str
    do: Literal["add", "pause", "end"] | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.at <= LONGEST:
            raise InvalidInput(f"schedule.at = {self.at}: must be from 0 to {LONGEST:.0e} seconds")
        if self.cost is not None and not 0 < self.cost < float("inf"):
            raise InvalidInput(f"schedule.cost = {self.cost}: must be above 0")
        if self.do is None and self.cost is None:
            raise InvalidInput(f"schedule: nothing changes for task {self.task!r} at {self.at} s; give do or cost")

    @property
    def time(self) -> int:
        """Nanoseconds."""
        return round(self.at * SECOND)

    def event(self) -> on.TaskAdded | on.TaskPaused | on.TaskEnded | None:
        """What the server is told."""
        match self.do:
            case "add":
                return on.TaskAdded(self.task)
            case "pause":
                return on.TaskPaused(self.task)
            case "end":
                return on.TaskEnded(self.task, "schedule")
        return None


def checked(changes: Iterable[Change], tasks: Iterable[str]) -> tuple[Change, ...]:
    """The changes in the order of their times.

    Raises:
        InvalidInput: an unknown task, or something that happens to a task after its end.
    """
    names = list(tasks)
    listed = tuple(sorted(changes, key=lambda c: c.at))
    over: set[str] = set()
    for c in listed:
        if c.task not in names:
            raise InvalidInput(f"schedule: no task {c.task!r}; this run has {', '.join(names)}")
        if c.task in over:
            raise InvalidInput(f"schedule: task {c.task!r} is over before {c.at} s; an ended task does not come back")
        if c.do == "end":
            over.add(c.task)
    return listed


def check_real(changes: Iterable[Change]) -> None:
    """Make sure that real devices can follow: what their work costs is their own.

    Raises:
        InvalidInput: a change of the cost of a task.
    """
    if changed := [c.task for c in changes if c.cost is not None]:
        raise InvalidInput(
            f"schedule: the cost of task {changed[0]!r} is its devices' own here; change it in a simulation"
        )


def absent(changes: Sequence[Change]) -> list[str]:
    """Tasks that are not there at the start."""
    first: dict[str, str] = {}
    for c in changes:
        if c.do is not None:
            first.setdefault(c.task, c.do)
    return [n for n, what in first.items() if what == "add"]
