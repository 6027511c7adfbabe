"""Clients whose route was drawn ahead fetch before it is their turn: prefetch for asynchronous methods.

With r routes in the queue and one taken every 1/lambda seconds (a mean over the run), a client that joins the queue is
routed in about r/lambda. It begins to fetch so early that the whole model at its rate, times ``margin``, is there by
then, and from then on follows every version. Rates are measured from transfers; who was not seen is taken to be as slow
as the slowest tenth.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from msgspec import Struct

from hocket.actions import Offer, Request
from hocket.errors import InvalidInput
from hocket.events import Event, Fetched, Left, Started, Stepped
from hocket.policies import Estimate, Pick
from hocket.prefetch.estimate import moving
from hocket.strategy import policy
from hocket.until import SECOND
from hocket.view import View


class Timetable(Struct):
    """``rates``: float64[clients], bytes per second, 0 unknown. Per task: when clients in the queue ``begin`` (ns), and
    how many were ``drawn`` in all. ``now``: time of the last fact (ns)."""

    rates: np.ndarray
    begin: dict[str, dict[int, int]]
    drawn: dict[str, int]
    now: int = 0


@policy("prefetch")
class NextRoutes(Struct, frozen=True, tag="next_routes", tag_field="kind", forbid_unknown_fields=True):
    """Fetch in time for routes drawn ahead (matching route_ahead); ``margin``: how much longer a fetch may take."""

    margin: float = 2.0
    observes: ClassVar[tuple[type[Event], ...]] = (Fetched, Started, Stepped, Left)

    def __post_init__(self) -> None:
        if not 0 < self.margin < float("inf"):
            raise InvalidInput(f"next_routes.margin = {self.margin}: must be above 0 and finite")

    def init(self, view: View) -> Timetable:
        return Timetable(np.zeros(view.clients), {t: {} for t in view.tasks}, dict.fromkeys(view.tasks, 0))

    def starts(
        self, state: Timetable, picks: Sequence[Pick], view: View, estimate: Estimate
    ) -> list[tuple[int, str, int, int]]:
        known = state.rates[state.rates > 0]
        careful = float(np.quantile(known, 0.1)) if known.size else 0.0
        out = []
        for p in picks:
            begin = state.begin[p.task]
            pace = state.now / state.drawn[p.task] if state.drawn[p.task] else 0.0
            state.drawn[p.task] += 1
            rate = float(state.rates[p.client]) or careful
            takes = self.margin * estimate.full / rate * SECOND if rate else float("inf")
            begin[p.client] = at = int(max(0.0, state.now + len(begin) * pace - takes))
            out.append((p.client, p.task, view.tasks[p.task].version, at))
        return out

    def observe(self, state: Timetable, fact: Event, view: View, now: int) -> Sequence[Request]:
        state.now = now
        if isinstance(fact, Fetched):
            if fact.took > 0 and fact.size > 0 and 0 <= fact.client < view.clients:
                rate = fact.size * SECOND / fact.took
                state.rates[fact.client] = moving(state.rates[fact.client] or -1.0, rate, 0.5)
        elif isinstance(fact, Started):
            lease = view.leases.get(fact.lease)
            if lease is not None:
                state.begin[lease.task].pop(fact.client, None)
        elif isinstance(fact, Left):
            for begin in state.begin.values():
                begin.pop(fact.client, None)
        elif isinstance(fact, Stepped):
            waiting = state.begin[fact.task].items()
            return [Offer(c, fact.node) for c, begin in waiting if begin <= now and c in view.online]
        return ()
