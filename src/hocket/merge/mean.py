"""Weighted sums of updates; the type says what the sum is divided by.

With updates d_i of weight w_i: by count (1/K) sum w_i d_i over the K updates of the step; by weight
sum w_i d_i / sum w_i; by fleet (1/n) sum w_i d_i over the n clients of the task.

``order`` "journal" adds in float64 in the order of acceptance. "free" adds 64-bit integers (multiples of
2**-32), so that any order gives the same bits; a sum that could leave +-2**31 is refused, not wrapped.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.chunks import add, chunks, scratch
from hocket.errors import Diverged
from hocket.policies import Contribution, Weigh
from hocket.schema import Schema, Vector
from hocket.strategy import FullStrategy, FullTask, policy

Order = Literal["journal", "free"]
ONE = float(1 << 32)
LIMIT = float(1 << 31)


class Sum(Struct):
    """Running sum float64[size] or int64[size], of ``weight`` (same arithmetic) over ``count`` updates.

    ``bound``: no coordinate of the sum can be larger than this (kept for ``order="free"``).
    """

    total: np.ndarray
    clients: int
    weight: float = 0.0
    weight_fixed: int = 0
    count: int = 0
    bound: float = 0.0


def _init(schema: Schema, clients: int, order: Order) -> Sum:
    return Sum(np.zeros(schema.size, np.int64 if order == "free" else np.float64), clients)


def _add(s: Sum, c: Contribution, order: Order) -> Mapping[str, float]:
    s.count += 1
    if order == "journal":
        add(s.total, c.delta, c.weight)
        s.weight += c.weight
        return {}
    own = scratch()
    low, high = float(c.delta.min(initial=0.0)), float(c.delta.max(initial=0.0))
    s.bound += max(abs(c.weight * low), abs(c.weight * high))
    if not s.bound < LIMIT:
        raise Diverged(
            f"client {c.lease.client}: a fixed-point sum reached {s.bound:.3g} (limit {LIMIT:.3g}); bound the "
            'updates with guard.NormBound or merge with order="journal"'
        )
    for part in chunks(len(s.total)):
        term = np.multiply(c.delta[part], c.weight, out=own[: part.stop - part.start], dtype=np.float64)
        term *= ONE
        s.total[part] += np.rint(term, out=term).astype(np.int64)
    s.weight_fixed += round(c.weight * ONE)
    return {}


def _take(s: Sum, order: Order, by: Literal["count", "weight", "fleet"]) -> NDArray[np.float64]:
    total = s.total / ONE if order == "free" else s.total
    weight = s.weight_fixed / ONE if order == "free" else s.weight
    over = {"count": float(s.count), "weight": weight, "fleet": float(s.clients)}[by]
    step = total / over if over else np.zeros(total.shape)  # never total itself, which is cleared
    s.total.fill(0)
    s.weight, s.weight_fixed, s.count, s.bound = 0.0, 0, 0, 0.0
    return step


@policy("merge")
class MeanByCount(Struct, frozen=True, tag="mean_by_count", tag_field="kind", forbid_unknown_fields=True):
    """(1/K) sum w_i d_i: weights below 1 shrink the step (FedBuff as published)."""

    order: Order = "journal"

    def init(self, schema: Schema, clients: int) -> Sum:
        return _init(schema, clients, self.order)

    def add(self, state: Sum, contribution: Contribution) -> Mapping[str, float]:
        return _add(state, contribution, self.order)

    def take(self, state: Sum, x: Vector, weigh: Weigh) -> NDArray[np.float64]:
        return _take(state, self.order, "count")


@policy("merge")
class MeanByWeight(Struct, frozen=True, tag="mean_by_weight", tag_field="kind", forbid_unknown_fields=True):
    """sum w_i d_i / sum w_i: a convex combination, whatever the scale of the weights (FedAvg)."""

    order: Order = "journal"

    def init(self, schema: Schema, clients: int) -> Sum:
        return _init(schema, clients, self.order)

    def add(self, state: Sum, contribution: Contribution) -> Mapping[str, float]:
        return _add(state, contribution, self.order)

    def take(self, state: Sum, x: Vector, weigh: Weigh) -> NDArray[np.float64]:
        return _take(state, self.order, "weight")


@policy("merge")
class MeanByFleet(Struct, frozen=True, tag="mean_by_fleet", tag_field="kind", forbid_unknown_fields=True):
    """(1/n) sum w_i d_i over all n clients: for methods that keep everybody at work (FedFix)."""

    order: Order = "journal"

    def init(self, schema: Schema, clients: int) -> Sum:
        return _init(schema, clients, self.order)

    def add(self, state: Sum, contribution: Contribution) -> Mapping[str, float]:
        return _add(state, contribution, self.order)

    def take(self, state: Sum, x: Vector, weigh: Weigh) -> NDArray[np.float64]:
        return _take(state, self.order, "fleet")

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """Cohorts are a sample; dividing by the whole fleet would shrink their step."""
        if strategy.pacing.__struct_config__.tag == "rounds":  # type: ignore[attr-defined]
            return (
                "merge mean_by_fleet divides by all clients, but pacing rounds asks a cohort only; use pacing "
                "windows, or merge mean_by_count or mean_by_weight"
            )
        return None
