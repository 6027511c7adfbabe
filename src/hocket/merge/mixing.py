"""Mix each client's model into the server's, one after the other (FedAsync).

x <- (1 - a_i) x + a_i (start_i + d_i) with a_i = rate * w_i, w_i the weight of the update (its staleness
weight); a_i is cut at 1. Source: Xie, Koyejo, Gupta, "Asynchronous federated optimization", 2019, Alg. 1.
"""

from collections.abc import Mapping

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.chunks import chunks, scratch
from hocket.errors import InvalidInput
from hocket.policies import Contribution, Weigh
from hocket.schema import Schema, Vector
from hocket.strategy import policy


class Mixed(Struct):
    """The mix so far is ``keep`` times the server's model plus ``add`` (float64[size])."""

    add: np.ndarray
    keep: float = 1.0


@policy("merge")
class Mixing(Struct, frozen=True, tag="mixing", tag_field="kind", forbid_unknown_fields=True):
    """A mean of models, not of updates; ``rate`` is the paper's alpha."""

    rate: float = 0.6

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise InvalidInput(f"mixing.rate = {self.rate}: must be above 0 and at most 1")

    def init(self, schema: Schema, clients: int) -> Mixed:
        return Mixed(np.zeros(schema.size))

    def add(self, state: Mixed, contribution: Contribution) -> Mapping[str, float]:
        a = min(self.rate * contribution.weight, 1.0)
        own = scratch()
        for part in chunks(len(state.add)):
            model = np.add(
                contribution.start[part], contribution.delta[part], out=own[: part.stop - part.start], dtype=np.float64
            )
            model *= a
            state.add[part] *= 1.0 - a
            state.add[part] += model
        state.keep *= 1.0 - a
        return {"mixing_rate": a}

    def take(self, state: Mixed, x: Vector, weigh: Weigh) -> NDArray[np.float64]:
        step = np.empty_like(state.add)
        for part in chunks(len(step)):
            np.multiply(x[part], 1.0 - state.keep, out=step[part], dtype=np.float64)
            np.subtract(state.add[part], step[part], out=step[part])
        state.add.fill(0)
        state.keep = 1.0
        return step
