"""Softmax cross-entropy on stacked lanes, in float32, without a reduction that could see its neighbours.

Logits are [lanes, classes, width]. NumPy may choose another order of summation for another shape, so sums
over classes are folded in halves with element-wise operations: their order depends on the number of classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def fold(z: NDArray[Any]) -> NDArray[Any]:
    """Sum over axis 1 of [lanes, n, width], kept as an axis of 1, in an order that depends on n alone.

    >>> import numpy as np
    >>> fold(np.arange(10.0).reshape(1, 5, 2))[0, 0].tolist()
    [20.0, 25.0]
    """
    n = z.shape[1]
    if n == 1:
        return z.copy()
    half = n // 2
    t: NDArray[Any] = z[:, :half] + z[:, half : 2 * half]
    while True:
        if n % 2:
            t[:, 0] += z[:, n - 1]
        if half == 1:
            return t[:, :1]
        z, n, half = t, half, half // 2
        t = z[:, :half] + z[:, half : 2 * half]


def cross_entropy(z: NDArray[np.float32], target: NDArray[np.int64], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Losses, float32[lanes, width]; the logits ``z`` are overwritten with the gradient times ``scale``.

    Args:
        z: float32[lanes, classes, width], contiguous.
        target: int64[lanes, width], where each sample's true logit lies in the flat ``z``.
        scale: float32[lanes, width], what each sample counts for; 0 for padding.
    """
    flat = z.reshape(-1)
    z -= z.max(axis=1, keepdims=True)
    true = flat.take(target)
    np.exp(z, out=z)
    total = fold(z)
    z *= scale[:, None] / total
    flat[target] -= scale
    loss: NDArray[np.float32] = np.log(total[:, 0]) - true
    return loss
