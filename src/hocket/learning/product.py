"""Matrix products of stacked lanes that BLAS computes in one thread each.

A BLAS that spreads one product over threads may sum it in another order, so its bits change with the number
of threads. OpenBLAS 0.3.31, in NumPy's wheels, does so from about 2^18.8 multiplications on, for matrices and
for vectors; a larger product is cut here into tiles of rows and columns, never along the sum. Tiles depend on
the shape of one lane alone. Sums longer than 2^18 are left to BLAS.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LIMIT = 1 << 18


def product(a: NDArray[Any], b: NDArray[Any], out: NDArray[Any]) -> None:
    """Write ``a @ b`` to ``out``: [..., m, k] times [..., k, n], float32.

    >>> import numpy as np
    >>> a, out = np.ones((2, 700, 30), np.float32), np.empty((2, 700, 700), np.float32)
    >>> product(a, a.transpose(0, 2, 1), out)
    >>> bool((out == 30).all())
    True
    """
    m, k, n = *a.shape[-2:], b.shape[-1]
    rows, columns = m, n
    while rows * columns * k > LIMIT and rows * columns > 1:
        if rows >= columns:
            rows = -(-rows // 2)
        else:
            columns = -(-columns // 2)
    for i in range(0, m, rows):
        for j in range(0, n, columns):
            at, to = slice(i, i + rows), slice(j, j + columns)
            np.matmul(a[..., at, :], b[..., to], out=out[..., at, to])
