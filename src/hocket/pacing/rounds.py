"""Synchronous rounds: draw a cohort, wait for enough of it, step, start over (FedAvg).

A round asks round(cohort * overcommit) clients and steps as soon as ``cohort`` updates are in; whoever is still
at work then is cancelled. With a ``deadline`` the round also ends when that much time has passed and at least
``minimum`` updates are in.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from msgspec import Struct

from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.pacing.in_flight import PerTask, check_timeout, of, positive
from hocket.policies import Due, Slots
from hocket.strategy import policy
from hocket.until import SECOND
from hocket.view import TaskState, View


class RoundsState(Struct):
    """Per task: the version that this round starts from, and when the round began (ns)."""

    version: dict[str, int] = {}
    begun: dict[str, int] = {}


@policy("pacing")
class Rounds(Struct, frozen=True, tag="rounds", tag_field="kind", forbid_unknown_fields=True):
    """Rounds of ``cohort`` updates.

    Args:
        cohort: updates per round (one number, or per task).
        overcommit: clients asked per update wanted, 1 or more (FedFetch: 1.3).
        deadline: seconds after which a round ends with what it has; None waits for the whole cohort.
        minimum: updates a round needs at its deadline.
        timeout: seconds after which a lease expires and another client is asked.
    """

    cohort: PerTask = 10
    overcommit: float = 1.0
    deadline: float | None = None
    minimum: int = 1
    timeout: float | None = None
    observes: ClassVar[tuple[type[Event], ...]] = ()

    def __post_init__(self) -> None:
        positive(self.cohort, "cohort")
        if not 1 <= self.overcommit <= 1e6:
            raise InvalidInput(
                f"overcommit = {self.overcommit}: must be 1 or more (1.3 asks 30% more clients), at most 1e6"
            )
        check_timeout(self.deadline, "deadline")
        if self.minimum < 1:
            raise InvalidInput(f"minimum = {self.minimum}: must be 1 or more")
        check_timeout(self.timeout)

    @property
    def refill_first(self) -> bool:
        return False

    def asked(self, task: str) -> int:
        """Clients asked per round of a task."""
        return round(of(self.cohort, task, "cohort") * self.overcommit)

    def init(self, view: View) -> RoundsState:
        for t in view.tasks:
            of(self.cohort, t, "cohort")
        return RoundsState()

    def room(self, state: RoundsState, view: View, now: int) -> Slots:
        slots: dict[str, int] = {}
        for t in view.tasks.values():
            if t.status != "active" or t.stepping:
                continue
            if state.version.get(t.name) != t.version:
                state.version[t.name] = t.version
                state.begun[t.name] = now
            missing = self.asked(t.name) - t.open - len(t.buffer)
            if missing > 0:
                slots[t.name] = missing
        return slots

    def due(self, state: RoundsState, view: View, now: int) -> Due | None:
        look: int | None = None
        for t in view.tasks.values():
            if t.stepping or t.status == "ended":
                continue
            if len(t.buffer) >= of(self.cohort, t.name, "cohort"):
                return self._close(t, view)
            if self.deadline is not None and t.name in state.begun:
                end = state.begun[t.name] + round(self.deadline * SECOND)
                if now < end:
                    look = end if look is None else min(look, end)
                elif len(t.buffer) >= self.minimum:
                    return self._close(t, view)
        return None if look is None else Due(look_again_at=look)

    def _close(self, t: TaskState, view: View) -> Due:
        return Due(t.name, cancel=tuple(i for i, x in view.leases.items() if x.task == t.name))

    def observe(self, state: RoundsState, fact: Event, view: View, now: int) -> Sequence[Request]:
        return ()

    def largest(self, tasks: Mapping[str, object]) -> int:
        """Leases open at once over these tasks."""
        return sum(self.asked(t) for t in tasks)
