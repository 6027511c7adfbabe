"""A stand-in for FedFetch's 9,242 measured devices that may be redistributed: its quantiles, not its rows.

The rows behind the table are FedScale's device capacity with down and up bandwidths added by FedFetch
(2504.15366), a kbit being 1,024 bits there. Between the listed percentiles the logarithm of the quantile is
linear. Down and up are tied by a Gaussian copula with the file's rank correlation, 0.45; compute is
independent of both, as in the file.
"""

from math import pi, sin, sqrt
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from hocket import keyed
from hocket.errors import InvalidInput

Floats = NDArray[np.float64]

PERCENTILES = (0, 1, 5, 10, 20, 25, 50, 75, 80, 90, 95, 99, 100)
DL_KBPS = (
    27.59, 1497, 5647, 11462, 23935, 30933, 81289, 206439, 253815, 384296, 499333, 751097, 985622,
)  # fmt: skip
UL_KBPS = (
    10.35, 75.0, 211, 1453, 6220, 8946, 18423, 40021, 53693, 114844, 227816, 442135, 856427,
)  # fmt: skip
MS_PER_SAMPLE = (15, 15, 19, 21, 23, 24, 41, 148, 154, 175, 190, 193, 199)
RANK_CORRELATION = 0.45
KINDS = ("fast", "mid", "slow")

KBIT = 1024.0 / 8.0  # bytes, in the files of FedScale and FedFetch


class Columns(TypedDict):
    """The columns of a fleet, in its units (s per sample, bytes per second), and the device classes."""

    compute: Floats
    down: Floats
    up: Floats
    kind: NDArray[np.int8]
    kinds: tuple[str, ...]


def columns(clients: int, seed: int, augmentation: float) -> Columns:
    """Rows 0 to ``clients - 1`` of the endless fleet of this seed.

    Raises:
        InvalidInput: an augmentation that is not positive and finite.
    """
    scale = seconds_per_ms(augmentation)
    mine = keyed.mix_array(np.arange(clients, dtype=np.uint64) ^ np.uint64(keyed.key(seed, "fleet", "synthetic")))
    first, second, third = (keyed.uniform_array(mine ^ np.uint64(station)) for station in range(3))
    rho = 2.0 * sin(pi * RANK_CORRELATION / 6.0)  # Pearson of the normals for this Spearman of the ranks
    tied = ndtr(rho * ndtri(first) + sqrt(1.0 - rho * rho) * ndtri(second))
    return Columns(
        compute=_quantile(third, MS_PER_SAMPLE) * scale,
        down=_quantile(first, DL_KBPS) * KBIT,
        up=_quantile(tied, UL_KBPS) * KBIT,
        kind=np.minimum(third * 3.0, 2.0).astype(np.int8),
        kinds=KINDS,
    )


def seconds_per_ms(augmentation: float) -> float:
    """Seconds of training per measured millisecond of inference.

    Raises:
        InvalidInput: an augmentation that is not positive and finite.
    """
    if not 0.0 < augmentation < float("inf"):
        raise InvalidInput(
            f"fleet: augmentation={augmentation}; give training time over inference time, above 0 (FedScale: 3.0)"
        )
    return augmentation / 1000.0


def _quantile(u: Floats, table: tuple[float, ...]) -> Floats:
    return np.exp(np.interp(u, np.array(PERCENTILES) / 100.0, np.log(table)))
