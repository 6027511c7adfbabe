"""The hundred clients of 2603.26231, Table 1, as a fleet: five types, their rates at each station, three laws."""

import numpy as np

from hocket.fleet import Deterministic, Exponential, Fleet, LogNormal
from hocket.fleet.law import Law
from hocket.queueing import Network

COUNTS = (15, 15, 20, 40, 10)
TYPES = ("A fast, slow link", "B slow, fast link", "C balanced", "D straggler", "E super")
COMPUTE, DOWNLOAD, UPLOAD = 1.0 / np.array(
    [[10, 0.3, 5, 0.15, 12], [2.5, 10, 7, 0.12, 11], [2, 9, 6, 0.1, 10]], np.float64
)
"""Mean seconds by type; a unit of the paper's time is a second here."""
LAWS: dict[str, Law] = {"exponential": Exponential(), "deterministic": Deterministic(), "lognormal": LogNormal(1.0)}


def network(counts: tuple[int, ...] = COUNTS) -> Network:
    """The network in five classes."""
    return Network(COMPUTE, DOWNLOAD, UPLOAD, clients=counts)


def fleet(size: int, samples: int, law: Law, counts: tuple[int, ...] = COUNTS) -> Fleet:
    """The same as devices, for messages of ``size`` bytes each way and jobs of ``samples`` samples."""
    kind = np.repeat(np.arange(5, dtype=np.int8), counts)
    return Fleet(
        COMPUTE[kind] / samples,
        size / DOWNLOAD[kind],
        size / UPLOAD[kind],
        kind=kind,
        kinds=TYPES,
        compute_law=law,
        down_law=law,
        up_law=law,
        links="parallel",
    )
