"""How many coordinates the masks of k updates in a row cover: for sizes where there are no arrays.

Each mask covers a share q. Independent ones cover 1 - (1 - q)^k together. Those of top-k updates overlap more, because
some coordinates are large again and again: with X the chance of a coordinate to be in a mask, X ~ Beta(a, a(1 - q)/q),

    p(k) = 1 - E[(1 - X)^k] = 1 - Gamma(b + k) Gamma(a + b) / (Gamma(b) Gamma(a + b + k)),   b = a(1 - q)/q

a = 1.6 fits what small models were measured to do, between 1 and 50 updates, within 0.01. Positions cost what gaps in a
Golomb-Rice code do (:mod:`hocket.codec.positions`), or a bitmap.
"""

from functools import lru_cache
from math import exp, lgamma

from hocket.codec import positions


def density(share: float, updates: int, shape: float | None = 1.6) -> float:
    """p(k), the share of coordinates that any of ``updates`` masks covers; ``shape`` a, None for independent masks.

    >>> round(density(0.2, 5), 2), round(density(0.2, 5, None), 2)
    (0.59, 0.67)
    """
    if share >= 1 or not updates:
        return min(1.0, share) if updates else 0.0
    if shape is None:
        return 1.0 - (1.0 - share) ** updates
    a, b = shape, shape * (1 - share) / share
    return 1.0 - exp(lgamma(b + updates) - lgamma(b) + lgamma(a + b) - lgamma(a + b + updates))


@lru_cache(maxsize=4096)
def masked(n: int, share: float, updates: int, shape: float | None = 1.6) -> int:
    """Bytes of the values and positions of ``n`` coordinates that ``updates`` masks cover, on average."""
    k = round(density(share, updates, shape) * n)
    bits = min(gap_bits(k / n) * k + 32, float(n)) if 0 < k < n else float(n)
    return 1 + round(bits / 8) + 4 * k


def gap_bits(share: float) -> float:
    """Bits per position of a Golomb-Rice code where ``share`` of the coordinates are set.

    >>> [round(gap_bits(p), 3) for p in (0.01, 0.1, 0.2, 0.5)]
    [8.108, 4.756, 3.694, 2.0]
    """
    n = 1 << 40
    b = positions.rice(n, round(share * n))
    return b + 1 / (1 - (1 - share) ** (1 << b))
