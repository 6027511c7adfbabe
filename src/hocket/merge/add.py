"""The sum that every update goes into: total += weight * x, float64 and float32."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from hocket.chunks import LONG, chunks, scratch
from hocket.schema import Vector

Sum = NDArray[np.float64]
WORTH = 1 << 15
"""Numbers from which on compiled loops are worth what it takes to load them."""


def add(total: Sum, x: Vector, weight: float) -> None:
    """Add ``weight * x`` to ``total``, float64[size], where it is; the same bits with and without numba.

    >>> total = np.ones(2)
    >>> add(total, np.array([1, 2], np.float32), 0.5)
    >>> total.tolist()
    [1.5, 2.0]
    """
    plain = x.flags.c_contiguous and total.flags.c_contiguous and x.dtype == np.float32
    compiled = _compiled() if plain and len(total) >= WORTH else None
    if compiled is not None:
        compiled(total, x, weight)
    else:
        add_plainly(total, x, weight)


def add_plainly(total: Sum, x: Vector, weight: float) -> None:
    """The same by numpy."""
    own = scratch(min(LONG, len(total)))
    for part in chunks(len(total), LONG):
        term = own[: part.stop - part.start]
        np.copyto(term, x[part])  # a conversion of its own is faster than one within the product
        if weight != 1.0:
            term *= weight
        total[part] += term


@cache
def _compiled() -> Callable[[Sum, Vector, float], None] | None:
    if find_spec("numba") is None:
        return None
    from hocket.merge import loops

    found: Callable[[Sum, Vector, float], None] = loops.add
    return found
