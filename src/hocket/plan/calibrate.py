"""From an experiment to a closed queueing network: seconds of compute and of transfers, for classes of equal devices.

Client i takes ``samples_i * cost * compute_i`` seconds for a job, latency + bytes / rate for a transfer; the bytes are
those of the strategy's codecs: an update as it is uploaded, and a whole model as it is fetched by somebody who holds
none (what a replay or a cached model saves is not counted, so downloads are an upper bound).
"""

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.fleet import Fleet
from hocket.queueing import Network
from hocket.setup import Setup
from hocket.simulation.run import prepare

FINEST = 20_000
"""Classes beyond which devices are put together."""


class Calibration(Struct, frozen=True, eq=False):
    """``classes`` is int64[clients], the class of each device in ``network``; sizes are in bytes."""

    network: Network
    classes: NDArray[np.int64]
    up: int
    down: int


def calibrate(setup: Setup, fleet: Fleet) -> Calibration:
    """The network of an experiment with one task.

    Raises:
        InvalidInput: several tasks, or a device that takes no time at all (queues would be empty).
    """
    if len(setup.tasks) != 1:
        raise InvalidInput(f"plan: {len(setup.tasks)} tasks; the formulas are for one")
    ((name, task),) = setup.tasks.items()
    setup.check_clients(len(fleet))
    book = prepare(setup, fleet).engine.book
    up, _ = book.upload_size(name)
    down = sum(edge.size for edge in book.path(None, book.shelves[name].node))
    samples = np.array([task.local.samples(int(n)) for n in task.samples], np.float64)
    compute = samples * task.cost * fleet.compute
    if not (compute > 0).all():
        client = int(np.flatnonzero(compute <= 0)[0])
        raise InvalidInput(f"plan: client {client} takes no time to train; give the fleet a compute above 0")
    times = np.stack([compute, fleet.latency + down / fleet.down, fleet.latency + up / fleet.up])
    classes, (trains, fetches, sends) = _classes(times)
    network = Network(trains, fetches, sends, clients=np.bincount(classes))
    return Calibration(network, classes, up, down)


def _classes(times: NDArray[np.float64]) -> tuple[NDArray[np.int64], Any]:
    """The class of each device, and the times of each class, float64[3, c]: equal ones, or those within a percent."""
    keys, where = np.unique(times, axis=1, return_inverse=True)
    if keys.shape[1] > FINEST:
        rough = np.round(np.log(np.maximum(times, 1e-12)) / 0.01)
        _, where = np.unique(rough, axis=1, return_inverse=True)
        where = where.ravel()
        counts = np.bincount(where)
        keys = np.stack([np.bincount(where, row) / counts for row in times])
    return where.ravel().astype(np.int64), keys
