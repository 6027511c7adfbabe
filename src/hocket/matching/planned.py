"""Clients are drawn with the probabilities that a planner answers, and the planner is asked again when devices change.

The first question is asked when the first clients join. From then on, with W = ``window`` and for every client, the
seconds from the start of training to the arrival of the update are added up with a weight that fades by 1 - 1/W with
each newer one: a sum s_i of k_i observations. Every ``every`` updates the plan in force, which counted on w_i seconds,
is tested against them. For exponential times twice the logarithm of the likelihood ratio is

    G = 2 sum_i k_i (r_i - 1 - log r_i),      r_i = s_i / (k_i w_i),

about chi-squared with a degree of freedom for each client that was seen. Where it is above its mean by four standard
deviations the planner is asked again, and what was added up is forgotten, because the answer is built on it. Time
spent waiting in a client's queue is not counted. Leases under way keep the probability that they were drawn with.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from msgspec import Struct

from hocket.actions import Plan, Request
from hocket.errors import InvalidInput
from hocket.events import Closed, Event, Joined, Left, Planned
from hocket.matching.weighted import Table, Weighted, table
from hocket.policies import Pick, Slots
from hocket.queueing import Goal
from hocket.strategy import FullStrategy, FullTask, policy
from hocket.view import View

_DRAW = Weighted(first="uniform")
_MEAN = 2 * 0.5772156649  # of one term of G at a single observation, the most it can be
_SURE = 4.0  # standard deviations
_LOST = 10  # updates without a first plan after which it is asked for again


class Tracked(Struct):
    """The routing in force; ``spent``, ``count`` are s_i and k_i, ``work`` is w_i (0: no plan yet), float64[clients];
    ``since`` is how many updates came since the last look, ``plans`` how often a plan came."""

    routing: Table
    spent: np.ndarray
    count: np.ndarray
    work: np.ndarray
    since: int = 0
    plans: int = 0
    asked: bool = False


@policy("matching")
class PlannedRouting(Struct, frozen=True, tag="planned", tag_field="kind", forbid_unknown_fields=True):
    """Routing by a planner.

    Args:
        goal: what the planner is to be best at.
        every: updates between two looks at whether devices have changed; 0: the first plan stays.
        window: W, observations of a client after which an older one hardly counts.

    Raises:
        InvalidInput: ``every`` below 0 or ``window`` below 2.
    """

    goal: Goal = Goal()
    every: int = 0
    window: float = 30.0
    busy: ClassVar[str] = "queue"
    observes: ClassVar[tuple[type[Event], ...]] = (Joined, Left, Closed, Planned)

    def __post_init__(self) -> None:
        if self.every < 0 or not 2 <= self.window < np.inf:
            raise InvalidInput(
                f"planned: every = {self.every}, window = {self.window}; give 0 or more updates, 2 or more observations"
            )

    def init(self, view: View) -> Tracked:
        n = view.clients
        return Tracked(table(np.full(n, 1.0 / n)), np.zeros(n), np.zeros(n), np.zeros(n))

    def match(self, state: Tracked, slots: Slots, view: View, key: int) -> list[Pick]:
        return _DRAW.match(state.routing, slots, view, key)

    def ahead(self, state: Tracked, slots: Slots, view: View, key: int) -> list[Pick]:
        return []

    def observe(self, state: Tracked, fact: Event, view: View, now: int) -> Sequence[Request]:
        match fact:
            case Closed():
                return self._closed(state, fact, view, now)
            case Planned():
                self._planned(state, fact, view)
            case Joined() if not state.asked:
                state.routing.online = -1.0
                state.asked = True
                return (Plan(next(iter(view.tasks))),)
            case _:
                state.routing.online = -1.0
        return ()

    def _closed(self, state: Tracked, e: Closed, view: View, now: int) -> Sequence[Request]:
        c, started = e.lease.client, e.lease.started
        if e.outcome != "accepted" or started < 0:
            return ()
        state.since += 1
        if not state.plans:  # the answer was lost with a server that stopped
            return (Plan(e.lease.task),) if state.since % _LOST == 0 else ()
        if not self.every:
            return ()
        fade = 1.0 - 1.0 / self.window
        state.spent[c] = fade * state.spent[c] + (now - started) / 1e9
        state.count[c] = fade * state.count[c] + 1.0
        if state.since < self.every:
            return ()
        state.since = 0
        return (Plan(e.lease.task),) if self.drifted(state) else ()

    def drifted(self, state: Tracked) -> bool:
        """Whether the plan in force counts on times that what was seen makes unlikely."""
        seen = (state.count > 0) & (state.work > 0) & (state.spent > 0)
        k = state.count[seen]
        r = state.spent[seen] / (k * state.work[seen])
        evidence = 2.0 * float((k * (r - 1.0 - np.log(r))).sum())
        n = len(k)
        return bool(n) and evidence > _MEAN * n + _SURE * (2.0 * n) ** 0.5

    def _planned(self, state: Tracked, e: Planned, view: View) -> None:
        if len(e.probabilities) != view.clients:
            raise InvalidInput(f"planned: a plan of {len(e.probabilities)} probabilities for {view.clients} clients")
        state.routing = table(np.array(e.probabilities) / sum(e.probabilities))
        state.work = np.array(e.work or [0.0] * view.clients)
        state.spent[:] = 0.0
        state.count[:] = 0.0
        state.plans += 1

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """Plans are for one task."""
        if len(strategy.tasks) == 1:
            return None
        return f"matching planned: {len(strategy.tasks)} tasks; its formulas are for one, so use another matching"
