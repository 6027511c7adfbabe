"""The mask-aware mean of updates: each coordinate over those of the buffer that were sent it.

    step = sum_i w_i m_i d_i / sum_i w_i m_i          where some m_i is 1; elsewhere 0

With ``over`` "fleet" the sum below is over all clients ever heard of, each with the cover it was sent last, so an
update counts for what its client is among those that cover a coordinate, whenever it comes: with all clients in one
step this is the mean of their models, and where they come one by one the model moves as far per round of everybody. A
mean of latest *models* moves less: the latest model of a client began between one and two of its rounds ago, so with
clients out of step the model is its own of 1.5 rounds ago, moved on by one.

The counterpart of :mod:`hocket.merge.masked_models` for methods that add updates to the newest model (FedBuff,
HeteroFL) instead of averaging models. ``trim`` cuts that share of the updates of a coordinate at each end (at least
one stays) and averages the rest without weights, and ``clip`` first scales an update down to that many times the
median norm of the buffer: with both, a few poisoned clients among many that cover a coordinate cannot move it far.
Where fewer than three cover it nothing can be cut.

Yin, Chen, Kannan, Bartlett, "Byzantine-robust distributed learning", ICML 2018 (trimmed mean), here over the clients
that cover a coordinate.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.merge.importance import Importance
from hocket.merge.rankings import Rankings
from hocket.policies import Contribution, Weigh
from hocket.schema import Schema, Vector
from hocket.strategy import policy

CHUNK = 1 << 16
TINY = 1e-9
"""Weights below this are what rounding left."""


class Update(Struct):
    """One update: the covered values, which they are (None: all), and its weight."""

    values: np.ndarray
    covered: np.ndarray | None
    weight: float


class Sent(Struct, array_like=True):
    """The cover that a client was sent last, and its weight without the guard's."""

    order: int
    length: int
    share: float


class Deltas(Struct):
    """Sums of w_i d_i and w_i m_i, float64[size]; the updates themselves if the mean is trimmed or clipped; what each
    client was sent if it is over the fleet."""

    total: np.ndarray
    weight: np.ndarray
    importance: Importance
    rankings: Rankings
    updates: list[Update] = []
    sent: dict[int, Sent] = {}


@policy("merge")
class MaskedDeltas(Struct, frozen=True, tag="masked_deltas", tag_field="kind", forbid_unknown_fields=True):
    """The mean over who covers a coordinate.

    Args:
        trim: share of the updates of a coordinate that is cut at each end.
        over: the updates of a step, or all clients ever heard of.
        clip: largest norm of an update, in median norms of the buffer; None: any.
    """

    trim: float = 0.0
    clip: float | None = None
    over: Literal["step", "fleet"] = "step"

    def __post_init__(self) -> None:
        if not 0 <= self.trim < 0.5 or (self.clip is not None and not self.clip > 0):
            raise InvalidInput(
                f"masked_deltas: trim = {self.trim}, clip = {self.clip}; trim is in [0, 0.5), clip above 0 or left out"
            )
        if self.over == "fleet" and self.robust:
            raise InvalidInput("masked_deltas: over the fleet nothing is trimmed or clipped; use over = 'step'")

    @property
    def robust(self) -> bool:
        """Whether all updates of a step are needed at once."""
        return self.trim > 0 or self.clip is not None

    @property
    def keeps(self) -> bool:
        """Whether something of an update stays beyond its step: what its client was sent."""
        return self.over == "fleet"

    def init(self, schema: Schema, clients: int) -> Deltas:
        return Deltas(np.zeros(schema.size), np.zeros(schema.size), Importance(schema.size), Rankings())

    def importance(self, state: Deltas) -> NDArray[np.float64] | None:
        """What the clients' squared gradients say, float64[size]; sums begin anew."""
        return state.importance.take()

    def add(self, state: Deltas, contribution: Contribution) -> Mapping[str, float]:
        c = contribution
        state.importance.add(c)
        where: Any = slice(None) if c.covered is None else c.covered
        if self.over == "fleet":
            state.total[where] += c.weight * c.delta[where].astype(np.float64)
            _follow(state, c, where)
        elif self.robust:
            state.updates.append(Update(c.delta[where].copy(), c.covered, c.weight))
        else:
            _fold(state, c.delta[where], where, c.weight)
        return {}

    def take(self, state: Deltas, x: Vector, weigh: Weigh) -> NDArray[np.float64]:
        updates, state.updates = state.updates, []
        if self.clip is not None and updates:
            norms = [float(np.linalg.norm(u.values.astype(np.float64))) for u in updates]
            limit = self.clip * float(np.median(norms))
            for u, norm in zip(updates, norms, strict=True):
                if norm > limit:
                    u.values = (u.values * (limit / norm)).astype(np.float32)
        if self.trim:
            return _trimmed(updates, len(x), self.trim)
        for u in updates:
            _fold(state, u.values, slice(None) if u.covered is None else u.covered, u.weight)
        step: NDArray[np.float64] = np.zeros(len(x))
        np.divide(state.total, state.weight, out=step, where=state.weight > TINY)
        state.total.fill(0)
        if self.over == "step":
            state.weight.fill(0)
        return step


def _follow(state: Deltas, c: Contribution, where: Any) -> None:
    """The cover of a client takes the place of the one before it."""
    before = state.sent.get(c.lease.client)
    if before is not None:
        state.weight[state.rankings.where(before.order, before.length)] -= before.share
        state.rankings.drop(before.order)
    length = len(c.delta) if c.covered is None else len(c.covered)
    state.sent[c.lease.client] = Sent(state.rankings.add(c), length, c.share)
    state.weight[where] += c.share


def _fold(state: Deltas, values: NDArray[np.float32], where: Any, weight: float) -> None:
    state.total[where] += weight * values.astype(np.float64)
    state.weight[where] += weight


def _trimmed(updates: list[Update], size: int, trim: float) -> NDArray[np.float64]:
    """Per coordinate, the mean without the ``trim`` smallest and largest of those that cover it."""
    step = np.zeros(size)
    ordered = []
    for u in updates:
        at = np.arange(size, dtype=np.int32) if u.covered is None else u.covered
        by_place = np.argsort(at)
        ordered.append((at[by_place], u.values[by_place]))
    for begin in range(0, size, CHUNK):
        end = min(begin + CHUNK, size)
        rows = np.full((len(updates), end - begin), np.nan)
        for row, (at, values) in zip(rows, ordered, strict=True):
            a, b = np.searchsorted(at, (begin, end))
            row[at[a:b] - begin] = values[a:b]
        rows.sort(axis=0)  # what does not cover a coordinate comes last
        count = np.isfinite(rows).sum(axis=0)
        cut = np.minimum(np.ceil(trim * count), np.maximum(count - 1, 0) // 2).astype(int)
        place = np.arange(len(updates))[:, None]
        kept = (place >= cut) & (place < count - cut)
        total = np.where(kept, rows, 0.0).sum(axis=0)
        np.divide(total, kept.sum(axis=0), out=step[begin:end], where=count > 0)
    return step
