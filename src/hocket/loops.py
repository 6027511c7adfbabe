"""Single passes over long vectors; the bits are those of numpy's several passes in :mod:`hocket.chunks`."""

from numba import boolean, float32, float64, types, void

from hocket.compiled import compiled

_READ = types.Array(float32, 1, "C", readonly=True)
_READ64 = types.Array(float64, 1, "C", readonly=True)


@compiled(void(float64[::1], _READ, float64))
def add(total, x, weight):
    """total += weight * x"""
    for i in range(len(total)):
        total[i] += weight * float64(x[i])


@compiled(void(_READ, _READ64, float64, float32[::1]))
def moved(x, step, rate, out):
    """out = x + rate * step"""
    for i in range(len(out)):
        out[i] = float64(x[i]) + step[i] * rate


@compiled(boolean(_READ), fastmath={"reassoc", "nsz"})
def finite(x):
    """Whether all numbers are finite: 0 times any other is not 0."""
    odd = float32(0)
    for i in range(len(x)):
        odd += x[i] * float32(0)
    return odd == 0
