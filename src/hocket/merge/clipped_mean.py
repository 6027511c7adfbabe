"""The mean of clipped updates: step = (1/K) sum_i w_i d_i min(1, C / ||w_i d_i||).

| symbol | argument | meaning |
|---|---|---|
| C | ``clip`` | norm to which updates are cut |

f wrong updates among K move the step by at most 2 C f / K. Clipping as in Abadi et al., "Deep learning with
differential privacy", CCS 2016 (arXiv 1607.00133), per update.
"""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from hocket.chunks import norm
from hocket.merge import rows
from hocket.merge.mean import MeanByCount, Order, Sum
from hocket.policies import Contribution, Weigh
from hocket.schema import Schema, Vector
from hocket.strategy import policy


@policy("merge")
class ClippedMean(Struct, frozen=True, tag="clipped_mean", tag_field="kind", forbid_unknown_fields=True):
    """The mean by count of updates no longer than ``clip``."""

    clip: float = 1.0
    order: Order = "journal"

    def __post_init__(self) -> None:
        rows.check("clipped_mean", 0, self.clip)

    @property
    def mean(self) -> MeanByCount:
        """What merges the updates once they are clipped."""
        return MeanByCount(self.order)

    def init(self, schema: Schema, clients: int) -> Sum:
        return self.mean.init(schema, clients)

    def add(self, state: Sum, contribution: Contribution) -> Mapping[str, float]:
        length = norm(contribution.delta) * abs(contribution.weight)
        cut = min(1.0, self.clip / length) if length else 1.0
        clipped = replace(contribution, weight=contribution.weight * cut)
        return {**self.mean.add(state, clipped), "update_norm": length}

    def take(self, state: Sum, x: Vector, weigh: Weigh) -> NDArray[np.float64]:
        return self.mean.take(state, x, weigh)
