"""A fleet as a run showed it: calibration from the event log of a run directory, or of a short simulation.

From the start of training to the arrival of its update a job takes compute plus upload; from being sent to the end of
its download it takes the download. Waiting in a client's queue is in neither. Of each client the means are taken; one
that was seen n times is drawn towards the mean of its kind as if that had been seen K = 2 times more, so that a client
that was never seen is like its kind. A log does not say when training ended, so that compute is what the fleet says an
upload leaves of it.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.fleet import Fleet
from hocket.planner import PRIOR, Calibration, Times, gathered
from hocket.record.log import KINDS, read_log

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Arrivals(NamedTuple):
    """Accepted updates in the order in which they came: client, staleness in steps, and the second; each [updates].

    ``assigned``, ``started`` are seconds of the same clock; NaN where the log has no row for it.
    """

    client: Ints
    staleness: Floats
    time: Floats
    assigned: Floats
    started: Floats
    fetched: Floats


def arrivals(table: pa.Table) -> Arrivals:
    """From the rows of an event log (:mod:`hocket.record.log`)."""
    kind, client, lease, value, time = (table[c].to_numpy() for c in ("kind", "client", "lease", "value", "time_ns"))
    if not len(lease):
        raise InvalidInput("event log: no rows; it cannot say how fast devices are")
    size = int(lease.max()) + 2

    def at(name: str, column: NDArray[np.int64]) -> Floats:
        rows = (kind == KINDS.index(name)) & (lease >= 0)
        found = np.full(size, np.nan)
        found[lease[rows]] = column[rows]
        return found

    refused = np.zeros(size, bool)
    refused[lease[kind == KINDS.index("refused")]] = True
    rows = np.flatnonzero((kind == KINDS.index("arrived")) & ~refused[lease])
    ids = lease[rows]
    steps = np.cumsum(kind == KINDS.index("stepped"))[rows]
    version = at("assigned", value)[ids]
    seconds = [at(name, time)[ids] / 1e9 for name in ("assigned", "started", "fetched")]
    return Arrivals(client[rows].astype(np.int64), steps - version, time[rows] / 1e9, *seconds)


def recalibrate(known: Calibration, found: Arrivals, fleet: Fleet) -> Calibration:
    """The calibration with the times that were seen in place of those of the fleet.

    Raises:
        InvalidInput: the log is of more devices than the fleet has.
    """
    n = len(fleet)
    if len(found.client) and int(found.client.max()) >= n:
        raise InvalidInput(f"event log: client {int(found.client.max())} in a fleet of {n} devices; give its own fleet")
    kinds = np.broadcast_to(fleet.kind, n)
    work = _means(found.client, found.time - found.started, known.times.compute + known.times.upload, kinds)
    fetch = _means(found.client, found.fetched - found.assigned, known.times.download, kinds)
    upload = np.minimum(known.times.upload, 0.95 * work)
    times = Times(work - upload, fetch, upload)
    network, classes = gathered(times)
    return Calibration(network, classes, times, known.up, known.down)


def recalibrate_from(known: Calibration, run: Path, fleet: Fleet) -> Calibration:
    """:func:`recalibrate` from the event log of a run directory, of a simulation or of a deployment."""
    return recalibrate(known, arrivals(read_log(run)), fleet)


def _means(client: Ints, seconds: Floats, expected: Floats, kinds: NDArray[np.int8]) -> Floats:
    """Mean seconds of each client: seen ones, drawn towards its expected time scaled as its kind's was."""
    good = np.isfinite(seconds) & (seconds > 0)
    n = len(expected)
    count = np.bincount(client[good], minlength=n)
    total = np.bincount(client[good], seconds[good], n)
    few = int(kinds.max()) + 1
    would = np.bincount(kinds, count * expected, few)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.where(would > 0, np.bincount(kinds, total, few) / would, 1.0)
    mean: Floats = (PRIOR * expected * scale[kinds] + total) / (PRIOR + count)
    return mean
