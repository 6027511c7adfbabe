"""LFL both ways: values rounded at random to levels between the least and the largest, in synchronous rounds.

    w_{t+1} = w_t + Q(mean of Q(d_i + e_i))

Amiri, Gündüz, Kulkarni, Poor, "Federated learning with quantized global model updates", 2020 (arXiv 2006.10672).
"""

from msgspec.structs import replace

from hocket.codec import LFL
from hocket.strategies.fedfetch import fedfetch
from hocket.strategy import Strategy


def lfl(
    bits: int = 4,
    cohort: int = 30,
    overcommit: float = 1.3,
    prefetch_window: int = 0,
    slack: float = 0.0,
) -> Strategy:
    """Rounds of quantized updates.

    Args:
        bits: per value.
        prefetch_window: rounds that cohorts are drawn ahead, to fetch on FedFetch's schedule; 0: not at all.
        slack: of that schedule.

    >>> lfl(prefetch_window=3).matching.rounds
    3
    """
    return replace(fedfetch(cohort, overcommit, prefetch_window, LFL(bits=bits), slack=slack), name="lfl")
