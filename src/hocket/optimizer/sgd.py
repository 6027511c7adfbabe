"""x <- x + lr * step."""

from math import inf

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.chunks import moved
from hocket.errors import InvalidInput
from hocket.schema import Schema, Vector
from hocket.strategy import policy


def check_rates(name: str, lr: float, **decays: float) -> None:
    """Refuse a learning rate that is not positive and decays outside [0, 1)."""
    if not 0 < lr < inf:
        raise InvalidInput(f"{name}.lr = {lr}: must be above 0 and finite")
    for which, beta in decays.items():
        if not 0 <= beta < 1:
            raise InvalidInput(f"{name}.{which} = {beta}: must be at least 0 and below 1")


@policy("optimizer")
class SGD(Struct, frozen=True, tag="sgd", tag_field="kind", forbid_unknown_fields=True):
    """The step as it is, times ``lr`` (the server learning rate)."""

    lr: float = 1.0

    def __post_init__(self) -> None:
        check_rates("sgd", self.lr)

    def init(self, schema: Schema) -> None:
        return None

    def apply(self, state: None, x: Vector, step: NDArray[np.float64]) -> Vector:
        return moved(x, step, self.lr)
