"""v <- beta v + step; x <- x + lr v (FedAvgM: Hsu, Qi, Brown 2019)."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.optimizer.sgd import check_rates
from hocket.schema import Schema, Vector
from hocket.strategy import policy


class Velocity(Struct):
    """The running sum v, float64[size]."""

    v: np.ndarray


@policy("optimizer")
class Momentum(Struct, frozen=True, tag="momentum", tag_field="kind", forbid_unknown_fields=True):
    """Heavy-ball momentum at the server."""

    lr: float = 1.0
    beta: float = 0.9

    def __post_init__(self) -> None:
        check_rates("momentum", self.lr, beta=self.beta)

    def init(self, schema: Schema) -> Velocity:
        return Velocity(np.zeros(schema.size))

    def apply(self, state: Velocity, x: Vector, step: NDArray[np.float64]) -> Vector:
        state.v = self.beta * state.v + step
        return (x + self.lr * state.v).astype(np.float32)
