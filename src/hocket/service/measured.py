"""How fast devices really are: measured where the work is done, reported with every exchange, written as a fleet file.

A rate is the sum of the work over the sum of the time it took, by device and station. ``hocket simulate`` and
``hocket plan`` take such a file as a fleet (``kind = "parquet"``), so a run that was served can be asked what if.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec import Struct, structs

from hocket.errors import InvalidInput
from hocket.experiment.strict import MAGNITUDES
from hocket.fleet import parquet
from hocket.record.account import Station

SENSIBLE = tuple(MAGNITUDES[name][:2] for name in ("compute", "down", "up"))
"""Least and most of each rate; a device may say what it likes, and plans are made from it."""


class Rates(Struct, frozen=True, array_like=True):
    """Seconds per sample, and bytes per second both ways; 0: not known yet."""

    compute: float = 0.0
    down: float = 0.0
    up: float = 0.0

    @property
    def known(self) -> bool:
        """Whether all three are, and an experiment file could say so."""
        return all(least <= x <= most for x, (least, most) in zip(structs.astuple(self), SENSIBLE, strict=True))


class Meter:
    """Adds up what a device does.

    >>> meter = Meter()
    >>> meter.note("train", 200, 1.0), meter.note("download", 1000, 0.5), meter.note("download", 2000, 0.5)
    (None, None, None)
    >>> meter.rates
    Rates(compute=0.005, down=3000.0, up=0.0)
    """

    def __init__(self) -> None:
        self._sums: dict[Station, list[float]] = {"download": [0.0, 0.0], "train": [0.0, 0.0], "upload": [0.0, 0.0]}

    def note(self, station: Station, amount: float, seconds: float) -> None:
        """Work that is done: bytes, or samples times the task's cost."""
        sums = self._sums[station]
        sums[0] += amount
        sums[1] += seconds

    @property
    def rates(self) -> Rates:
        """What is known by now."""
        (down, down_s), (samples, train_s), (up, up_s) = (self._sums[s] for s in ("download", "train", "upload"))
        return Rates(
            train_s / samples if samples else 0.0, down / down_s if down_s else 0.0, up / up_s if up_s else 0.0
        )  # fmt: skip


def write_fleet(path: Path, rates: Mapping[int, Rates], clients: int) -> int:
    """Write a fleet of ``clients`` devices; those not measured are as the median one. How many were measured.

    Raises:
        InvalidInput: none was.
    """
    known = {c: r for c, r in rates.items() if r.known and 0 <= c < clients}
    if not known:
        raise InvalidInput("fleet: no device has measured download, training and upload yet; wait for updates")
    table = np.array([[r.compute, r.down, r.up] for r in known.values()])
    columns = np.tile(np.median(table, axis=0), (clients, 1))
    columns[list(known)] = table
    kind = np.array(["measured" if c in known else "assumed" for c in range(clients)])
    parquet.write(path, columns[:, 0], columns[:, 1], columns[:, 2], np.zeros(clients), kind)
    return len(known)
