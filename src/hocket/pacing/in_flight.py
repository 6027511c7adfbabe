"""Keep a fixed number of leases in flight per task and step whenever a buffer is full (FedBuff, FedAsync).

With m leases in flight and a buffer of K the mean staleness is (m - 1)/K when slots are refilled after the
step (the default here) and m/K when they are refilled before it.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from msgspec import Struct

from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.policies import Due, Slots
from hocket.strategy import policy
from hocket.until import LONGEST
from hocket.view import View

PerTask = int | dict[str, int]


def of(value: PerTask, task: str, name: str) -> int:
    """The setting of one task."""
    if isinstance(value, int):
        return value
    if task not in value:
        raise InvalidInput(f"{name}: no value for task {task!r}; it has {', '.join(value)}")
    return value[task]


def positive(value: PerTask, name: str) -> None:
    """Refuse settings below 1."""
    for v in value.values() if isinstance(value, dict) else [value]:
        if not isinstance(v, int) or isinstance(v, bool) or v < 1:
            raise InvalidInput(f"{name} = {v!r}: must be 1 or more, a whole number")


@policy("pacing")
class InFlight(Struct, frozen=True, tag="in_flight", tag_field="kind", forbid_unknown_fields=True):
    """``in_flight`` leases per task at all times, a step per ``buffer`` accepted updates.

    Args:
        in_flight: leases open at once, queued and downloading ones included (one number, or per task).
        buffer: updates per step (one number, or per task).
        refill_first: give out new work before the step instead of after it.
        timeout: seconds after which a lease expires and its slot is filled anew.
    """

    in_flight: PerTask = 20
    buffer: PerTask = 10
    refill_first: bool = False
    timeout: float | None = None
    observes: ClassVar[tuple[type[Event], ...]] = ()

    def __post_init__(self) -> None:
        positive(self.in_flight, "in_flight")
        positive(self.buffer, "buffer")
        check_timeout(self.timeout)

    def init(self, view: View) -> None:
        for t in view.tasks:
            of(self.in_flight, t, "in_flight"), of(self.buffer, t, "buffer")

    def room(self, state: None, view: View, now: int) -> Slots:
        slots: dict[str, int] = {}
        n = self.in_flight
        for t in view.moved():
            if t.status == "active" and (not t.stepping or (self.refill_first and not t.restoring)):
                free = (n if n.__class__ is int else of(n, t.name, "in_flight")) - t.open
                if free > 0:
                    slots[t.name] = free
        return slots

    def due(self, state: None, view: View, now: int) -> Due | None:
        n = self.buffer
        for t in view.moved():
            if len(t.buffer) >= (n if n.__class__ is int else of(n, t.name, "buffer")) and not t.stepping:
                return Due(t.name)
        return None

    def observe(self, state: None, fact: Event, view: View, now: int) -> Sequence[Request]:
        return ()

    def largest(self, tasks: Mapping[str, object]) -> int:
        """Leases open at once over these tasks."""
        return sum(of(self.in_flight, t, "in_flight") for t in tasks)


def check_timeout(timeout: float | None, name: str = "timeout") -> None:
    """Refuse a time that is not positive, or longer than any run."""
    if timeout is not None and not 1e-9 <= timeout <= LONGEST:
        raise InvalidInput(f"{name} = {timeout}: must be from 1e-9 to {LONGEST:.0e} seconds, or left out for none")
