"""Upper confidence bounds: each task asks the clients whose loss on it is high, or not known well (Sync-UCB-ST).

For task m and client i, with losses l reported when i was asked, discounted once per round,

    N <- gamma N + 1{asked},   L <- gamma L + l,   score = L / N + sqrt(2 ln(sum_{t < r} gamma^t) / N).

Each round a random pool of ``spare`` more clients than are wanted is drawn; the tasks take their best in turn, the
first to choose another in each round. Who was never asked comes first, where the original asks everybody in round 0.

Bhuyan, Moharir, Joshi, "Multi-model federated learning with provable guarantees", EAI VALUETOOLS 2022 (arXiv
2207.04330), as a joint choice for several tasks; gamma and the pool are those of the FedAST program
(github.com/askinb/FedAST).
"""

from collections.abc import Sequence
from math import log
from typing import ClassVar

import numpy as np
from msgspec import Struct

from hocket import events as on
from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.matching.uniform import deal, draw
from hocket.policies import Pick, Slots
from hocket.strategy import policy
from hocket.view import View


class Bounds(Struct):
    """N and L, float64[tasks, clients]; ``rounds`` so far, ``horizon`` the sum of gamma^t over them.

    ``version``: the last one of each task that work was given out for. ``heard``: the lease whose loss came last, and
    the loss.
    """

    counts: np.ndarray
    losses: np.ndarray
    version: list[int]
    rounds: int = 0
    horizon: float = 0.0
    heard: tuple[int, float] = (-1, 0.0)


@policy("matching")
class UCB(Struct, frozen=True, tag="ucb", tag_field="kind", forbid_unknown_fields=True):
    """Idle clients of high or uncertain loss; needs the training loss of every update.

    Args:
        discount: gamma, how much of a loss is remembered a round later.
        spare: clients in the pool beyond those that are wanted.
    """

    discount: float = 0.99
    spare: int = 5
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    observes: ClassVar[tuple[type[Event], ...]] = (on.Measured, on.Closed)

    def __post_init__(self) -> None:
        if not 0 < self.discount <= 1:
            raise InvalidInput(f"ucb.discount = {self.discount}: must be above 0, at most 1")
        if self.spare < 0:
            raise InvalidInput(f"ucb.spare = {self.spare}: must be 0 or more clients")

    def init(self, view: View) -> Bounds:
        shape = (len(view.tasks), view.clients)
        return Bounds(np.zeros(shape), np.zeros(shape), [-1] * len(view.tasks))

    def match(self, state: Bounds, slots: Slots, view: View, key: int) -> list[Pick]:
        wanted = deal(slots, view)
        tasks = list(dict.fromkeys(wanted))
        self._fade(state, view, tasks)
        pool = list(draw(view.idle, len(wanted) + self.spare, key))
        ranked = {t: iter(self._ranked(state, list(view.tasks).index(t), pool)) for t in tasks}
        first = state.rounds % len(tasks) if tasks else 0
        taken: set[int] = set()
        picks = []
        for task in wanted[first:] + wanted[:first]:
            best = next((c for c in ranked[task] if c not in taken), None)
            if best is not None:
                taken.add(best)
                picks.append(Pick(task, best, 1.0 / len(view.idle)))
        return picks

    def _fade(self, state: Bounds, view: View, tasks: Sequence[str]) -> None:
        """What is known of a task fades when it is given work from a new version."""
        new = [m for m, t in enumerate(view.tasks.values()) if t.name in tasks and t.version != state.version[m]]
        for m, t in enumerate(view.tasks.values()):
            if m in new:
                state.version[m] = t.version
                state.counts[m] *= self.discount
                state.losses[m] *= self.discount
        if new:
            state.rounds += 1
            state.horizon = 1.0 + self.discount * state.horizon

    def _ranked(self, state: Bounds, m: int, pool: list[int]) -> list[int]:
        """The pool, best score first, in the order of the draw where scores are equal."""
        n, loss = state.counts[m][pool], state.losses[m][pool]
        known = n > 0
        score = np.full(len(pool), np.inf)
        width = 2 * log(max(state.horizon, 1.0))
        score[known] = loss[known] / n[known] + np.sqrt(width / n[known])
        return [pool[i] for i in np.argsort(-score, kind="stable").tolist()]

    def ahead(self, state: Bounds, slots: Slots, view: View, key: int) -> list[Pick]:
        return []

    def observe(self, state: Bounds, fact: Event, view: View, now: int) -> Sequence[Request]:
        if isinstance(fact, on.Measured):
            state.heard = fact.lease, fact.facts.get("loss", 0.0)
        elif isinstance(fact, on.Closed) and fact.outcome == "accepted" and fact.lease.id == state.heard[0]:
            m = list(view.tasks).index(fact.lease.task)
            state.counts[m, fact.lease.client] += 1
            state.losses[m, fact.lease.client] += state.heard[1]
        return ()
