"""Long vectors a piece at a time, so that temporaries stay in the cache and no fresh memory is mapped for them.

What every update goes through is one compiled pass where numba is there and the vector is long enough to be worth it,
with the same bits.
"""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from sys import modules
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

SIZE = 8192
LONG = 1 << 16
"""Of few operations on each number, where the calls themselves count."""
WORTH = 1 << 15
"""Numbers from which on compiled loops are worth what it takes to load them."""


def chunks(size: int, most: int = SIZE) -> Iterator[slice]:
    """Slices that cover ``range(size)``.

    >>> [(s.start, s.stop) for s in chunks(10_000)]
    [(0, 8192), (8192, 10000)]
    """
    for low in range(0, size, most):
        yield slice(low, min(low + most, size))


def scratch(most: int = SIZE) -> NDArray[np.float64]:
    """Room for one chunk, float64, undefined contents."""
    return np.empty(most)


def add(total: NDArray[np.float64], x: NDArray[np.float32], weight: float) -> None:
    """Add ``weight * x`` to ``total`` where it is: the sum that every update goes into.

    >>> total = np.ones(2)
    >>> add(total, np.array([1, 2], np.float32), 0.5)
    >>> total.tolist()
    [1.5, 2.0]
    """
    if (loops := _loops(x, total)) is not None:
        loops.add(total, x, weight)
        return
    own = scratch(min(LONG, len(total)))
    for part in chunks(len(total), LONG):
        term = own[: part.stop - part.start]
        np.copyto(term, x[part])  # a conversion of its own is faster than one within the product
        if weight != 1.0:
            term *= weight
        total[part] += term


def moved(x: NDArray[np.float32], step: NDArray[np.float64], rate: float) -> NDArray[np.float32]:
    """``x + rate * step``, computed in float64, as a new float32[size].

    >>> moved(np.ones(2, np.float32), np.array([1.0, 2.0]), 0.5).tolist()
    [1.5, 2.0]
    """
    out = np.empty(x.shape, np.float32)
    if (loops := _loops(x, step)) is not None:
        loops.moved(x, step, rate, out)
        return out
    own = scratch()
    for part in chunks(len(x)):
        term = np.multiply(step[part], rate, out=own[: part.stop - part.start])
        out[part] = np.add(x[part], term, out=term)
    return out


def finite(x: NDArray[np.floating]) -> bool:
    """Whether all numbers are finite.

    >>> finite(np.array([1.0, 2.0])), finite(np.array([1.0, np.inf]))
    (True, False)
    """
    if "hocket.loops" in modules and (loops := _loops(x)) is not None:  # alone it is not worth loading them
        return bool(loops.finite(x))
    with np.errstate(over="ignore", invalid="ignore"):
        parts = (x[part] for part in chunks(len(x)))
        return all(np.isfinite(part.sum()) or np.isfinite(part).all() for part in parts)  # a sum can overflow


def norm(x: NDArray[np.floating]) -> float:
    """Euclidean norm, summed in float64 in one thread (BLAS may use several, and then waits for them).

    >>> norm(np.array([3.0, 4.0], np.float32))
    5.0
    """
    total, own = 0.0, scratch()
    for part in chunks(len(x)):
        square = np.multiply(x[part], x[part], out=own[: part.stop - part.start], dtype=np.float64)
        total += float(square.sum())
    return float(np.sqrt(total))


def _loops(x: NDArray[np.floating], other: NDArray[np.floating] | None = None) -> ModuleType | None:
    """Compiled loops for a float32 vector and a float64 one, if these are such and it is worth it."""
    if len(x) < WORTH or x.dtype != np.float32 or not x.flags.c_contiguous:
        return None
    if other is not None and (other.dtype != np.float64 or not other.flags.c_contiguous):
        return None
    return _compiled()


@cache
def _compiled() -> ModuleType | None:
    return None if find_spec("numba") is None else import_module("hocket.loops")
