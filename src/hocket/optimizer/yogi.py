"""As Adam, with v <- v - (1-b2) step^2 sign(v - step^2): v moves by a bounded amount (FedYogi).

Source: Reddi et al., "Adaptive federated optimization", ICLR 2021, Algorithm 2.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.optimizer.adam import Moments, check_eps, moments
from hocket.optimizer.sgd import check_rates
from hocket.schema import Schema, Vector
from hocket.strategy import policy


@policy("optimizer")
class Yogi(Struct, frozen=True, tag="yogi", tag_field="kind", forbid_unknown_fields=True):
    """FedYogi; ``eps`` is the paper's degree of adaptivity tau."""

    lr: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-3

    def __post_init__(self) -> None:
        check_rates("yogi", self.lr, beta1=self.beta1, beta2=self.beta2)
        check_eps("yogi", self.eps)

    def init(self, schema: Schema) -> Moments:
        return moments(schema, self.eps)

    def apply(self, state: Moments, x: Vector, step: NDArray[np.float64]) -> Vector:
        square = step * step
        state.m = self.beta1 * state.m + (1 - self.beta1) * step
        state.v = state.v - (1 - self.beta2) * square * np.sign(state.v - square)
        return np.asarray(x + self.lr * state.m / (np.sqrt(state.v) + self.eps), np.float32)
