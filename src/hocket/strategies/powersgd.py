"""PowerSGD both ways: matrices as products of thin ones, in synchronous rounds.

    w_{t+1} = w_t + Q(mean of Q(d_i + e_i)),   Q(M) = P Q^T of rank r

Vogels, Karimireddy, Jaggi, "PowerSGD: practical low-rank gradient compression for distributed optimization", NeurIPS
2019 (arXiv 1905.13727).
"""

from msgspec.structs import replace

from hocket.codec import PowerSGD
from hocket.strategies.fedfetch import fedfetch
from hocket.strategy import Strategy


def powersgd(
    rank: int = 16,
    cohort: int = 30,
    overcommit: float = 1.3,
    prefetch_window: int = 0,
    slack: float = 0.0,
) -> Strategy:
    """Rounds of low-rank updates.

    Args:
        rank: r.
        prefetch_window: rounds that cohorts are drawn ahead, to fetch on FedFetch's schedule; 0: not at all.
        slack: of that schedule.

    >>> powersgd().task.downlink.codec.rank
    16
    """
    return replace(fedfetch(cohort, overcommit, prefetch_window, PowerSGD(rank), slack=slack), name="powersgd")
