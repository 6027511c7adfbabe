"""Bayesian optimisation of who does what: joint assignments that end a round early and use everybody alike (BODS).

The cost of a round's assignment of clients to tasks is

    cost = alpha sum_m (slowest accepted job of m) + (1 - alpha) sum_m Var_i(times client i has served m).

A Gaussian process (Matern 5/2 on the 0/1 vector of length tasks x clients that says who does what) is fitted to the
costs of past rounds; of ``candidates`` random assignments the one with the largest expected improvement is made. Two
such vectors are as far apart as the root of the number of places where they differ, so only sets are compared.

| symbol | field |
|---|---|
| alpha | ``speed`` |
| assignments tried | ``candidates``, from everybody or a random pool of ``spare`` more clients than are wanted |
| past rounds | ``memory`` |

Zhou, Liu, Jia, Zhou, Dai, Dou, "Efficient device scheduling with multi-job federated learning", AAAI 2022; settings as
in the FedAST program (github.com/askinb/FedAST). Costs are centred and scaled to variance 1 before the fit.
"""

from collections.abc import Sequence
from itertools import chain
from math import erf, exp, pi, sqrt
from typing import ClassVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket import events as on
from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.keyed import mix
from hocket.matching.uniform import deal, draw
from hocket.policies import Pick, Slots
from hocket.strategy import policy
from hocket.until import SECOND
from hocket.view import View

NOISE = 0.1
"""Of a cost, as a share of the variance of all: the same assignment takes another time each round."""
Codes = tuple[int, ...]
"""An assignment: task x clients + client of each of its jobs."""


class Rounds(Struct):
    """Past assignments and their costs; ``served``: int64[tasks, clients], how often; of the round under way its
    versions, its assignment and each task's slowest accepted job (seconds)."""

    served: np.ndarray
    version: list[int]
    slowest: list[float]
    now: Codes = ()
    past: list[Codes] = []
    costs: list[float] = []


@policy("matching")
class BODS(Struct, frozen=True, tag="bods", tag_field="kind", forbid_unknown_fields=True):
    """Idle clients, assigned to all tasks of a round at once so that it is expected to cost least.

    Args:
        speed: weight of a round's duration; the rest is that of fairness.
        candidates: random assignments that are compared.
        spare: clients in a round's pool beyond those that are wanted (None: everybody; the program has 5).
        memory: past rounds that are learned from.
    """

    speed: float = 0.25
    candidates: int = 75
    spare: int | None = None
    memory: int = 50
    observes: ClassVar[tuple[type[Event], ...]] = (on.Closed,)

    def __post_init__(self) -> None:
        if not 0 <= self.speed <= 1:
            raise InvalidInput(f"bods.speed = {self.speed}: must be from 0 to 1")
        for name, least in (("candidates", 1), ("spare", 0), ("memory", 1)):
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise InvalidInput(f"bods.{name} = {getattr(self, name)}: must be {least} or more")

    def init(self, view: View) -> Rounds:
        tasks = len(view.tasks)
        return Rounds(np.zeros((tasks, view.clients), np.int64), [-1] * tasks, [0.0] * tasks)

    def match(self, state: Rounds, slots: Slots, view: View, key: int) -> list[Pick]:
        wanted, names = deal(slots, view), list(view.tasks)
        version = [t.version for t in view.tasks.values()]
        begins = any(version[names.index(t)] != state.version[names.index(t)] for t in wanted)
        if begins and state.now:
            state.past.append(state.now)
            state.costs.append(self._cost(state))
            del state.past[: -self.memory], state.costs[: -self.memory]
            state.now, state.slowest = (), [0.0] * len(names)
        state.version = version
        tasks = [names.index(t) for t in wanted]
        tried = self.candidates if begins and state.past else 1
        wide = view.clients if self.spare is None else len(tasks) + self.spare
        pool = list(draw(view.idle, wide, key))
        choices = [_random(tasks, pool, view.clients, mix(key ^ i)) for i in range(1, tried + 1)]
        best = choices[int(np.argmax(self._improvement(state, choices)))] if tried > 1 else choices[0]
        state.now = tuple(sorted({*state.now, *best}))
        n = len(view.idle)
        return [Pick(names[code // view.clients], code % view.clients, 1.0 / n) for code in best]

    def _cost(self, state: Rounds) -> float:
        return self.speed * sum(state.slowest) + (1 - self.speed) * float(state.served.var(axis=1).sum())

    def _improvement(self, state: Rounds, choices: list[Codes]) -> NDArray[np.float64]:
        """Expected improvement on the least cost so far, float64[choices]."""
        y = np.array(state.costs)
        y = (y - y.mean()) / (float(y.std()) or 1.0)
        known = _kernel(state.past, state.past) + NOISE * np.eye(len(y))
        cross = _kernel(choices, state.past)
        weights = np.linalg.solve(known, np.column_stack([y, cross.T]))
        mu = cross @ weights[:, 0]
        sigma = np.sqrt(np.maximum(1.0 - np.einsum("ij,ji->i", cross, weights[:, 1:]), 1e-12))
        z = (float(y.min()) - mu) / sigma
        return np.array([s * (v * _below(v) + exp(-v * v / 2) / sqrt(2 * pi)) for s, v in zip(sigma, z, strict=True)])

    def ahead(self, state: Rounds, slots: Slots, view: View, key: int) -> list[Pick]:
        return []

    def observe(self, state: Rounds, fact: Event, view: View, now: int) -> Sequence[Request]:
        assert isinstance(fact, on.Closed)
        if fact.outcome == "accepted":
            m = list(view.tasks).index(fact.lease.task)
            state.served[m, fact.lease.client] += 1
            state.slowest[m] = max(state.slowest[m], (now - fact.lease.issued) / SECOND)
        return ()


def _random(tasks: list[int], pool: list[int], clients: int, key: int) -> Codes:
    """Distinct clients of the pool for these tasks."""
    chosen = sorted(pool, key=lambda c: mix(key ^ c << 1))
    return tuple(m * clients + c for m, c in zip(tasks, chosen, strict=False))


def _below(v: float) -> float:
    """The standard normal distribution function."""
    return 0.5 * (1 + erf(v / sqrt(2)))


def _kernel(a: Sequence[Codes], b: Sequence[Codes]) -> NDArray[np.float64]:
    """Matern 5/2 of length scale 1 between assignments, float64[a, b]; distances by the root of the mean size."""
    codes, where = np.unique(np.fromiter(chain(*a, *b), np.int64), return_inverse=True)
    rows = np.repeat(np.arange(len(a) + len(b)), [len(x) for x in (*a, *b)])
    said = np.zeros((len(a) + len(b), len(codes)))
    said[rows, where] = 1.0
    sizes = said.sum(axis=1)
    apart = sizes[: len(a), None] + sizes[None, len(a) :] - 2 * said[: len(a)] @ said[len(a) :].T
    d = sqrt(5) * np.sqrt(np.maximum(apart, 0.0) / max(float(sizes.mean()), 1.0))
    kernel: NDArray[np.float64] = (1 + d + d * d / 3) * np.exp(-d)
    return kernel
