"""Clients are drawn with given probabilities, with replacement, and queue jobs; updates weigh 1/(n p_i).

With p_i the probability of client i and n clients, an update of i counts for 1/(n p_i), so that the mean over draws is
the mean over clients whatever p is. While some are away the draw is conditioned on who is online: p_i over the sum of p
of those, and updates are unbiased for the mean over clients that are online.

The draw takes constant time: Walker's alias table, and another draw whenever the one drawn is away.

Walker, "An efficient method for generating discrete random variables with general distributions", ACM TOMS 1977.
"""

from collections.abc import Sequence
from math import fsum
from typing import ClassVar, Literal

import numpy as np
from msgspec import Struct

from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event, Joined, Left
from hocket.keyed import below, mix, uniform
from hocket.matching.uniform import deal
from hocket.policies import Pick, Slots
from hocket.strategy import policy
from hocket.view import View

_PATIENCE = 64  # draws of clients that are away before those who are there are counted


class Table(Struct, tag=True):
    """Alias table over all clients, their probabilities, and the sum over those online (-1: to be made anew)."""

    keep: np.ndarray
    alias: np.ndarray
    p: np.ndarray
    online: float = -1.0


@policy("matching")
class Weighted(Struct, frozen=True, tag="weighted", tag_field="kind", forbid_unknown_fields=True):
    """``routing``: a probability above 0 per client (they need not sum to 1); empty: all alike.

    ``weigh``: whether updates weigh 1/(n p_i); without it the model moves towards the clients drawn most.
    ``first``: how jobs that start from version 0 are routed; "uniform" as in the papers, at weight 1.
    """

    routing: tuple[float, ...] = ()
    weigh: bool = True
    first: Literal["routing", "uniform"] = "routing"
    busy: ClassVar[str] = "queue"
    observes: ClassVar[tuple[type[Event], ...]] = (Joined, Left)

    def __post_init__(self) -> None:
        bad = next((i for i, p in enumerate(self.routing) if not 0 < p < float("inf")), None)
        if bad is not None:
            raise InvalidInput(f"weighted: routing of client {bad} is {self.routing[bad]}; must be above 0 and finite")

    def init(self, view: View) -> Table:
        n = view.clients
        if self.routing and len(self.routing) != n:
            raise InvalidInput(f"weighted: {len(self.routing)} probabilities for {n} clients; give one per client")
        p = np.array(self.routing or [1.0] * n)
        return table(p / fsum(p))

    def match(self, state: Table, slots: Slots, view: View, key: int) -> list[Pick]:
        online = view.online
        if not len(online):
            return []
        if state.online < 0:
            state.online = 1.0 if len(online) == view.clients else fsum(state.p[np.frombuffer(online.items, np.int32)])
        picks = []
        for i, task in enumerate(deal(slots, view)):
            if self.first == "uniform" and not view.tasks[task].version:
                picks.append(Pick(task, online.items[below(mix(key ^ i), len(online))], 1 / len(online)))
                continue
            c = self._draw(state, view, mix(key ^ i))
            p = float(state.p[c]) / state.online
            picks.append(Pick(task, c, p, 1 / (len(online) * p) if self.weigh else 1.0))
        return picks

    def _draw(self, state: Table, view: View, key: int) -> int:
        n = view.clients
        for _ in range(_PATIENCE):
            c = below(key, n)
            if uniform(key ^ 1) >= state.keep[c]:
                c = int(state.alias[c])
            if c in view.online:
                return c
            key = mix(key)
        members = np.sort(np.frombuffer(view.online.items, np.int32))
        shares = np.cumsum(state.p[members])
        return int(members[min(int(np.searchsorted(shares, uniform(key) * shares[-1])), len(members) - 1)])

    def ahead(self, state: Table, slots: Slots, view: View, key: int) -> list[Pick]:
        return []

    def observe(self, state: Table, fact: Event, view: View, now: int) -> Sequence[Request]:
        state.online = -1.0
        return ()


def table(p: "np.ndarray") -> Table:
    """Vose's construction: ``keep`` own column with that chance, else take its alias."""
    n = len(p)
    scaled, alias, keep = (p * n).tolist(), np.arange(n), np.ones(n)
    small = [i for i, s in enumerate(scaled) if s < 1]
    large = [i for i, s in enumerate(scaled) if s >= 1]
    while small and large:
        low, high = small.pop(), large[-1]
        keep[low], alias[low] = scaled[low], high
        scaled[high] -= 1 - scaled[low]
        if scaled[high] < 1:
            small.append(large.pop())
    return Table(keep, alias, p)
