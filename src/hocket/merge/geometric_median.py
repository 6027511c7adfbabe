"""Geometric median: the point with the least sum of distances to the updates of a step (RFA).

    step = argmin_z sum_i ||z - w_i d_i||,  by Weiszfeld's iteration  z <- sum_i b_i w_i d_i / sum_i b_i,
    b_i = 1 / max(nu, ||z - w_i d_i||)

| symbol | argument | meaning |
|---|---|---|
| f | ``faulty`` | wrong updates per step that it is to withstand: a step has 2f + 1 or more |
| nu | ``smooth`` | distance below which updates count the same |
| T | ``iterations`` | from the mean; each is a pass over all updates |
|  | ``clip`` | norm to which updates are cut first |

However large f < n/2 updates are, ||step|| <= 2(n - f)/(n - 2f) max ||honest||.
Pillutla, Kakade, Harchaoui, "Robust aggregation for federated learning", IEEE Transactions on Signal Processing 70,
2022 (arXiv 1912.13445), Algorithm 2.
"""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.merge import rows
from hocket.merge.rows import Rows
from hocket.policies import Contribution, Weigh
from hocket.schema import Schema, Vector
from hocket.strategy import FullStrategy, FullTask, policy


@policy("merge")
class GeometricMedian(Struct, frozen=True, tag="geometric_median", tag_field="kind", forbid_unknown_fields=True):
    """The geometric median after a number of iterations that does not depend on the data."""

    faulty: int = 1
    iterations: int = 32
    smooth: float = 1e-6
    clip: float | None = None

    def __post_init__(self) -> None:
        rows.check("geometric_median", self.faulty, self.clip)
        if not 1 <= self.iterations <= 10_000:
            raise InvalidInput(f"geometric_median.iterations = {self.iterations}: must be from 1 to 10000")
        if not 0 < self.smooth < float("inf"):
            raise InvalidInput(f"geometric_median.smooth = {self.smooth}: must be above 0")

    @property
    def least(self) -> int:
        """Updates that a step must have."""
        return 2 * self.faulty + 1

    def init(self, schema: Schema, clients: int) -> Rows:
        return Rows()

    def add(self, state: Rows, contribution: Contribution) -> Mapping[str, float]:
        return {"update_norm": state.add(contribution, self.clip)}

    def take(self, state: Rows, x: Vector, weigh: Weigh) -> NDArray[np.float64]:
        rows.enough("geometric_median", state, self.least)
        shares = np.ones(len(state.updates))
        step = np.zeros(len(x))
        for _ in range(self.iterations + 1):
            far = np.zeros(len(shares))
            for part, block in state.blocks():
                middle = shares @ block / shares.sum()
                far += np.square(block - middle).sum(axis=1)
                step[part] = middle
            shares = 1.0 / np.maximum(self.smooth, np.sqrt(far))
        state.clear()
        return step

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """A step may have too few updates."""
        return rows.objection("geometric_median", self.least, strategy, task)
