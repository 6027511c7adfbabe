"""A mean and how sure it is."""

from collections.abc import Iterable
from math import sqrt
from statistics import fmean, stdev

from msgspec import Struct
from scipy.special import stdtrit


class Interval(Struct, frozen=True):
    """Mean of ``n`` values and half the width of its 95 % confidence interval; None with a single value."""

    mean: float
    half: float | None
    n: int


def interval(values: Iterable[float | None]) -> Interval | None:
    """Student's t interval of the values that are known; None if none is.

    >>> found = interval([1.0, 2.0, None, 3.0])
    >>> found.mean, round(found.half, 3), found.n
    (2.0, 2.484, 3)
    """
    known = [float(v) for v in values if v is not None]
    if not known:
        return None
    n = len(known)
    half = float(stdtrit(n - 1, 0.975)) * stdev(known) / sqrt(n) if n > 1 else None
    return Interval(fmean(known), half, n)
