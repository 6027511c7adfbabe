"""Sums of updates in one pass over memory; the bits are those of numpy's several passes."""

from numba import float32, float64, types, void

from hocket.compiled import compiled

_READ = types.Array(float32, 1, "C", readonly=True)


@compiled(void(float64[::1], _READ, float64))
def add(total, x, weight):
    """total += weight * x"""
    for i in range(len(total)):
        total[i] += weight * float64(x[i])
