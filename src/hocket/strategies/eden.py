"""EDEN both ways: rotated, rounded to the best levels for a Gaussian, scaled to be unbiased; in synchronous rounds.

    w_{t+1} = w_t + Q(mean of Q(d_i + e_i))

Vargaftik, Ben Basat, Portnoy, Mendelson, Ben-Itzhak, Mitzenmacher, "EDEN: communication-efficient and robust
distributed mean estimation for federated learning", ICML 2022 (arXiv 2108.08842).
"""

from msgspec.structs import replace

from hocket.codec import EDEN
from hocket.strategies.fedfetch import fedfetch
from hocket.strategy import Strategy


def eden(
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

    >>> eden().task.uplink.codec.bits
    4
    """
    return replace(fedfetch(cohort, overcommit, prefetch_window, EDEN(bits=bits), slack=slack), name="eden")
