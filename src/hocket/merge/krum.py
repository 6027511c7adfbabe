"""Krum and Multi-Krum: the updates that lie closest to their neighbours, and no others.

    s(i) = sum of ||d_i - d_j||^2 over the n - f - 2 updates j closest to i
    step = mean of the m updates of least s

| symbol | argument | meaning |
|---|---|---|
| f | ``faulty`` | wrong updates per step that it is to withstand: a step has 2f + 3 or more |
| m | ``keep`` | updates that are averaged; 1 is Krum, at most n - f - 2 |
|  | ``clip`` | norm to which updates are cut first |

Of equal scores the update that was accepted first is taken. It costs n(n - 1)/2 passes over a vector.
Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine learning with adversaries: Byzantine tolerant gradient descent",
NeurIPS 2017 (arXiv 1703.02757).
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
class Krum(Struct, frozen=True, tag="krum", tag_field="kind", forbid_unknown_fields=True):
    """The mean of the ``keep`` updates with the closest neighbours."""

    faulty: int = 1
    keep: int = 1
    clip: float | None = None

    def __post_init__(self) -> None:
        rows.check("krum", self.faulty, self.clip)
        if self.keep < 1:
            raise InvalidInput(f"krum.keep = {self.keep}: must be 1 or more updates")

    @property
    def least(self) -> int:
        """Updates that a step must have."""
        return max(2 * self.faulty + 3, self.keep + self.faulty + 2)

    def init(self, schema: Schema, clients: int) -> Rows:
        return Rows()

    def add(self, state: Rows, contribution: Contribution) -> Mapping[str, float]:
        return {"update_norm": state.add(contribution, self.clip)}

    def take(self, state: Rows, x: Vector, weigh: Weigh) -> NDArray[np.float64]:
        rows.enough("krum", state, self.least)
        step = np.zeros(len(x))
        chosen = self._chosen(state)
        for part, block in state.blocks():
            step[part] = block[chosen].mean(axis=0)
        state.clear()
        return step

    def _chosen(self, state: Rows) -> NDArray[np.intp]:
        """Which updates are averaged, in the order in which they were accepted."""
        n = len(state.updates)
        apart = np.zeros((n, n))
        for _, block in state.blocks():
            for i in range(n - 1):
                apart[i, i + 1 :] += np.square(block[i + 1 :] - block[i]).sum(axis=1)
        apart += apart.T
        np.fill_diagonal(apart, np.inf)
        apart.sort(axis=1)
        scores = apart[:, : max(n - self.faulty - 2, 0)].sum(axis=1)
        return np.sort(np.argsort(scores, kind="stable")[: self.keep])

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """A step may have too few updates."""
        return rows.objection("krum", self.least, strategy, task)
