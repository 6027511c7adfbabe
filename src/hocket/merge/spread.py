"""Measure how much the updates of a task differ from one another, and merge them as another merge does (FedAST).

Over the last V updates D_v with mean Dbar:

    relative   sum_v ||D_v - Dbar||^2 / (V ||Dbar||^2)          no unit; grows as training converges
    step       sum_v ||D_v - Dbar||^2 / (V (eta_l P)^2)         an estimate of the variance of client gradients

eta_l is the local rate and P the number of local steps. The value is the fact ``spread`` of a step, the mean over its
updates. It takes V vectors of memory and V passes over a vector per update.

Askin, Sharma, Joe-Wong, Joshi, "FedAST: federated asynchronous simultaneous training", UAI 2024 (arXiv 2406.00302).
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.merge.mean import MeanByCount, MeanByFleet, MeanByWeight, Sum
from hocket.policies import Contribution, Weigh
from hocket.schema import Schema, Vector
from hocket.strategy import FullStrategy, FullTask, policy

LARGEST = 1e6  # a mean update near zero says nothing about heterogeneity


class Window(Struct):
    """The newest updates, float32[V, size], as a ring; ``seen`` counts all there were."""

    sum: Sum
    updates: np.ndarray
    seen: int = 0


@policy("merge")
class Spread(Struct, frozen=True, tag="spread", tag_field="kind", forbid_unknown_fields=True):
    """Merge as ``of`` does and measure the ``spread`` of the last ``window`` updates (V)."""

    of: MeanByCount | MeanByWeight | MeanByFleet = MeanByCount()
    window: int = 8
    estimator: Literal["relative", "step"] = "relative"
    measures: ClassVar[tuple[str, ...]] = ("spread",)
    keeps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 2 <= self.window <= 4096:
            raise InvalidInput(f"spread.window = {self.window}: must be from 2 to 4096 updates")

    def init(self, schema: Schema, clients: int) -> Window:
        return Window(self.of.init(schema, clients), np.zeros((self.window, schema.size), np.float32))

    def add(self, state: Window, contribution: Contribution) -> Mapping[str, float]:
        state.updates[state.seen % self.window] = contribution.delta
        state.seen += 1
        facts = self.of.add(state.sum, contribution)
        if state.seen < 2:
            return facts
        return {**facts, "spread": self._measure(state.updates[: state.seen].astype(np.float64), contribution)}

    def _measure(self, updates: NDArray[np.float64], c: Contribution) -> float:
        mean = updates.mean(axis=0)
        variance = float(np.square(updates - mean).sum()) / len(updates)
        if self.estimator == "step":
            local = c.lease.local
            return variance / (local.rate(c.lease.version) * max(1, c.samples // local.batch_size)) ** 2
        norm = float(np.dot(mean, mean))
        return min(variance / norm, LARGEST) if norm > 0 else LARGEST

    def take(self, state: Window, x: Vector, weigh: Weigh) -> NDArray[np.float64]:
        return self.of.take(state.sum, x, weigh)

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """What the merge inside objects to."""
        objection = getattr(self.of, "objection", None)
        sentence = None if objection is None else objection(strategy, task)
        return None if sentence is None else f"merge spread: {sentence}"
