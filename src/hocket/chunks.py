"""Long vectors a piece at a time, so that temporaries stay in the cache and no fresh memory is mapped for them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SIZE = 8192
LONG = 1 << 16
"""Of few operations on each number, where the calls themselves count."""


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


def finite(x: NDArray[np.floating]) -> bool:
    """Whether all numbers are finite.

    >>> finite(np.array([1.0, 2.0])), finite(np.array([1.0, np.inf]))
    (True, False)
    """
    return all(np.isfinite(x[part]).all() for part in chunks(len(x)))


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
