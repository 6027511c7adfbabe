"""Coordinate-wise median: step_j = median_i (w_i d_i)_j over the updates of a step.

| symbol | argument | meaning |
|---|---|---|
| f | ``faulty`` | wrong updates per step that it is to withstand: a step has 2f + 1 or more |
|  | ``clip`` | norm to which updates are cut first |

Each coordinate lies between the least and the largest of the honest updates as long as more than half are honest.
Yin, Chen, Ramchandran, Bartlett, "Byzantine-robust distributed learning: towards optimal statistical rates", ICML 2018
(arXiv 1803.01498).
"""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.merge import rows
from hocket.merge.rows import Rows
from hocket.policies import Contribution, Weigh
from hocket.schema import Schema, Vector
from hocket.strategy import FullStrategy, FullTask, policy


@policy("merge")
class Median(Struct, frozen=True, tag="median", tag_field="kind", forbid_unknown_fields=True):
    """The median of every coordinate; the mean of the two middle ones of an even number."""

    faulty: int = 1
    clip: float | None = None

    def __post_init__(self) -> None:
        rows.check("median", self.faulty, self.clip)

    @property
    def least(self) -> int:
        """Updates that a step must have."""
        return 2 * self.faulty + 1

    def init(self, schema: Schema, clients: int) -> Rows:
        return Rows()

    def add(self, state: Rows, contribution: Contribution) -> Mapping[str, float]:
        return {"update_norm": state.add(contribution, self.clip)}

    def take(self, state: Rows, x: Vector, weigh: Weigh) -> NDArray[np.float64]:
        rows.enough("median", state, self.least)
        step = np.zeros(len(x))
        for part, block in state.blocks():
            step[part] = np.median(block, axis=0)
        state.clear()
        return step

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """A step may have too few updates."""
        return rows.objection("median", self.least, strategy, task)
