"""m <- b1 m + (1-b1) step; v <- b2 v + (1-b2) step^2; x <- x + lr m / (sqrt(v) + eps) (FedAdam).

Without bias correction and with v started at eps^2, as in Reddi et al., "Adaptive federated optimization",
ICLR 2021, Algorithm 2.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.optimizer.sgd import check_rates
from hocket.schema import Schema, Vector
from hocket.strategy import policy


class Moments(Struct):
    """First and second moment, float64[size] each."""

    m: np.ndarray
    v: np.ndarray


def moments(schema: Schema, eps: float) -> Moments:
    """Moments before the first step."""
    return Moments(np.zeros(schema.size), np.full(schema.size, eps * eps))


def check_eps(name: str, eps: float) -> None:
    """Refuse an epsilon that is not positive."""
    if not eps > 0:
        raise InvalidInput(f"{name}.eps = {eps}: must be above 0 (the paper's tau, 1e-3)")


@policy("optimizer")
class Adam(Struct, frozen=True, tag="adam", tag_field="kind", forbid_unknown_fields=True):
    """FedAdam; ``eps`` is the paper's degree of adaptivity tau."""

    lr: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    eps: float = 1e-3

    def __post_init__(self) -> None:
        check_rates("adam", self.lr, beta1=self.beta1, beta2=self.beta2)
        check_eps("adam", self.eps)

    def init(self, schema: Schema) -> Moments:
        return moments(schema, self.eps)

    def apply(self, state: Moments, x: Vector, step: NDArray[np.float64]) -> Vector:
        state.m = self.beta1 * state.m + (1 - self.beta1) * step
        state.v = self.beta2 * state.v + (1 - self.beta2) * step * step
        return (x + self.lr * state.m / (np.sqrt(state.v) + self.eps)).astype(np.float32)
