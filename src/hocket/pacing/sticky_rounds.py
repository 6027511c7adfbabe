"""Rounds that keep the fastest of two groups: so many newcomers, and so many members of a sticky group (GlueFL).

A round of K asks OC K clients and ends when C newcomers and K - C members are in. The first C newcomers are kept; of
the members that came before the last of those, K - C at random. The rest is discarded, who is at work is cancelled.

He, Yan, et al., "GlueFL: reconciling client sampling and model masking for bandwidth efficient federated learning",
MLSys 2023 (arXiv 2212.01523).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from msgspec import Struct

from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Closed, Event
from hocket.keyed import key
from hocket.matching.sticky import NEWCOMER
from hocket.pacing.rounds import Rounds, RoundsState
from hocket.policies import Due, Slots
from hocket.strategy import policy
from hocket.view import TaskState, View


class StickyState(Struct):
    """The rounds, and which accepted updates (lease ids, by task) are of newcomers."""

    rounds: RoundsState
    newcomers: dict[str, list[int]] = {}


@policy("pacing")
class StickyRounds(Struct, frozen=True, tag="sticky_rounds", tag_field="kind", forbid_unknown_fields=True):
    """Rounds of ``cohort`` updates, ``newcomers`` of them by clients from outside the group (matching sticky)."""

    cohort: int = 30
    newcomers: int = 6
    overcommit: float = 1.0
    timeout: float | None = None
    refill_first: ClassVar[bool] = False
    observes: ClassVar[tuple[type[Event], ...]] = (Closed,)

    def __post_init__(self) -> None:
        if not 0 < self.newcomers < self.cohort:
            raise InvalidInput(
                f"sticky_rounds: newcomers = {self.newcomers}, cohort = {self.cohort}; must be 0 < newcomers < cohort"
            )
        Rounds(self.cohort, self.overcommit, timeout=self.timeout)  # it checks the rest

    @property
    def _rounds(self) -> Rounds:
        return Rounds(self.cohort, self.overcommit, timeout=self.timeout)

    def init(self, view: View) -> StickyState:
        return StickyState(self._rounds.init(view))

    def room(self, state: StickyState, view: View, now: int) -> Slots:
        return self._rounds.room(state.rounds, view, now)

    def due(self, state: StickyState, view: View, now: int) -> Due | None:
        for t in view.tasks.values():
            if not t.stepping and t.status != "ended" and len(t.buffer) >= self.cohort:
                kept = self._kept(state.newcomers.get(t.name, []), t)
                waits = any(x.task == t.name for x in view.leases.values())
                if kept is not None or not waits:
                    state.newcomers.pop(t.name, None)
                    over = tuple(i for i, x in view.leases.items() if x.task == t.name)
                    return Due(t.name, kept or tuple(t.buffer[: self.cohort]), over)
        return None

    def _kept(self, fresh: Sequence[int], t: TaskState) -> tuple[int, ...] | None:
        """The updates that go in, in their order; None if they are not all here."""
        new = [i for i in t.buffer if i in fresh][: self.newcomers]
        wanted = self.cohort - self.newcomers
        members = [i for i in t.buffer if i not in fresh]
        if len(new) < self.newcomers or len(members) < wanted:
            return None
        before = [i for i in members if t.buffer.index(i) < t.buffer.index(new[-1])]
        drawn = sorted(before, key=lambda i: key("sticky", t.name, i))[:wanted]
        drawn += [i for i in members if i not in before][: wanted - len(drawn)]
        chosen = {*new, *drawn}
        return tuple(i for i in t.buffer if i in chosen)

    def observe(self, state: StickyState, fact: Event, view: View, now: int) -> Sequence[Request]:
        if isinstance(fact, Closed) and fact.outcome == "accepted" and fact.lease.group == NEWCOMER:
            state.newcomers.setdefault(fact.lease.task, []).append(fact.lease.id)
        return ()

    def largest(self, tasks: Mapping[str, object]) -> int:
        """Leases open at once over these tasks."""
        return self._rounds.largest(tasks)
