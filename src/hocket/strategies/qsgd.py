"""QSGD both ways: each value rounded at random to a few levels of its bucket's norm, in synchronous rounds.

    w_{t+1} = w_t + Q(mean of Q(d_i + e_i))

Alistarh, Grubic, Li, Tomioka, Vojnovic, "QSGD: communication-efficient SGD via gradient quantization and encoding",
NIPS 2017 (arXiv 1610.02132).
"""

from msgspec.structs import replace

from hocket.codec import QSGD
from hocket.strategies.fedfetch import fedfetch
from hocket.strategy import Strategy


def qsgd(
    bits: int = 4,
    bucket: int = 128,
    cohort: int = 30,
    overcommit: float = 1.3,
    prefetch_window: int = 0,
    slack: float = 0.0,
) -> Strategy:
    """Rounds of quantized updates.

    Args:
        bits: per value.
        bucket: values that share a norm.
        prefetch_window: rounds that cohorts are drawn ahead, to fetch on FedFetch's schedule; 0: not at all.
        slack: of that schedule.

    >>> qsgd().task.downlink.codec.bits
    4
    """
    return replace(
        fedfetch(cohort, overcommit, prefetch_window, QSGD(bits=bits, bucket=bucket), slack=slack), name="qsgd"
    )
