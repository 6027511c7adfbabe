"""As many leases in flight as a planner answers, and a step whenever a buffer is full."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from msgspec import Struct

from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event, Planned
from hocket.pacing.in_flight import check_timeout
from hocket.policies import Due, Slots
from hocket.strategy import policy
from hocket.view import View


class Open(Struct):
    """Leases to keep open, by task."""

    in_flight: dict[str, int]


@policy("pacing")
class PlannedInFlight(Struct, frozen=True, tag="planned", tag_field="kind", forbid_unknown_fields=True):
    """:class:`~hocket.pacing.InFlight` whose number of leases is the newest plan's.

    Where a plan asks for fewer, leases under way end as they would have and are not followed by others.

    Args:
        in_flight: leases open at once until the first plan comes.
        buffer: updates per step; the formulas are for 1.
        timeout: seconds after which a lease expires and its slot is filled anew.
    """

    in_flight: int = 1
    buffer: int = 1
    timeout: float | None = None
    refill_first: ClassVar[bool] = False
    observes: ClassVar[tuple[type[Event], ...]] = (Planned,)

    def __post_init__(self) -> None:
        for name in ("in_flight", "buffer"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} = {getattr(self, name)}: must be 1 or more, a whole number")
        check_timeout(self.timeout)

    def init(self, view: View) -> Open:
        return Open(dict.fromkeys(view.tasks, self.in_flight))

    def room(self, state: Open, view: View, now: int) -> Slots:
        slots = {}
        for name, t in view.tasks.items():
            free = state.in_flight[name] - t.open
            if free > 0 and t.status == "active" and not t.stepping:
                slots[name] = free
        return slots

    def due(self, state: Open, view: View, now: int) -> Due | None:
        return next((Due(n) for n, t in view.tasks.items() if len(t.buffer) >= self.buffer and not t.stepping), None)

    def observe(self, state: Open, fact: Event, view: View, now: int) -> Sequence[Request]:
        assert isinstance(fact, Planned), "all that it asked for"
        state.in_flight[fact.task] = fact.in_flight
        return ()

    def largest(self, tasks: Mapping[str, object]) -> int:
        """Leases open at once over these tasks, before a plan."""
        return self.in_flight * len(tasks)
