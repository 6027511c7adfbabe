"""Stochastic rounding: floor(y + u) with u uniform on [0, 1) is y on average.

One random byte b per value and one random number v per block of values make u = (b + v)/256. Every u is uniform,
exactly; the v that neighbours share has no part in their means and adds nothing to their variances.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 17  # values; what fits the second-level cache in float32


class Dither:
    """The random numbers of one message, block by block; a function of the key alone."""

    def __init__(self, key: int) -> None:
        self._bits = np.random.SFC64(key & (1 << 64) - 1)

    def block(self, count: int) -> tuple[NDArray[np.uint8], float]:
        """``count`` random bytes, and the number in [0, 1) that they share."""
        words = self._bits.random_raw(count // 8 + 2)
        return words.view(np.uint8)[:count], float(int(words[-1]) >> 12) * 2.0**-52

    def round(self, y: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Whole numbers that are ``y`` on average, at most 1 away from it."""
        out = np.empty(y.shape, np.int64)
        for at in range(0, y.size, BLOCK):
            part = y[at : at + BLOCK]
            b, v = self.block(part.size)
            np.copyto(out[at : at + BLOCK], np.floor(part + (b + v) / 256.0), casting="unsafe")
        return out
