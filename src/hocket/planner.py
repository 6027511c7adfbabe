"""From an experiment to a closed queueing network, and from that to a plan.

Client i takes ``samples_i * cost * compute_i`` seconds for a job, latency + bytes / rate for a transfer; the bytes are
those of the strategy's codecs: an update as it is uploaded, and a whole model as it is fetched by somebody who holds
none (what a replay or a cached model saves is not counted, so downloads are an upper bound).

:class:`Planner` answers policies that ask for a plan. What a policy has tracked takes the place of what the fleet is
said to be: with s_i seconds in k_i observations of the time from the start of training to the arrival of the update,
and the age a_i of what client i is working on (its time is above that), the plan counts on

    w_i = (K w_i' + s_i + a_i) / (K + k_i),      K = 2,

where w_i' is what the plan before counted on: the mean of exponential times of which some are still running. The
seconds of an upload are taken from the fleet; what changed is put down to the processor.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.book import Book
from hocket.errors import InvalidInput
from hocket.events import Planned
from hocket.fleet import Fleet
from hocket.matching.planned import PlannedRouting, Tracked
from hocket.queueing import Network, Optimum, Power
from hocket.server import Server
from hocket.setup import Setup

Floats = NDArray[np.float64]
FINEST = 20_000
"""Classes beyond which devices are put together, within a percent of one another."""
DISTINCT = 500
"""Classes beyond which tracked devices are put together, within ten percent."""
PRIOR = 2.0
"""K, the observations that a plan's own numbers are worth."""


class Times(NamedTuple):
    """Mean seconds of each device at its processor and on its links, ``float64[clients]``."""

    compute: Floats
    download: Floats
    upload: Floats

    @property
    def longest(self) -> float:
        """Seconds of a job of the slowest device."""
        return float((self.compute + self.download + self.upload).max())


class Calibration(Struct, frozen=True, eq=False):
    """``classes`` is int64[clients], the class of each device in ``network``; ``up`` and ``down`` are bytes."""

    network: Network
    classes: NDArray[np.int64]
    times: Times
    up: int = 0
    down: int = 0

    def joules(self, power: Power | None, fleet: Fleet) -> Floats | None:
        """``float64[c]``, E_i of one client of each class (the mean, if their kinds differ); None without watts."""
        if power is None:
            return None
        each = power.joules(fleet.kinds, np.broadcast_to(fleet.kind, len(fleet)), *self.times)
        mean: Floats = np.bincount(self.classes, each) / self.network.counts
        return mean


def calibrate(setup: Setup, fleet: Fleet, book: Book) -> Calibration:
    """The network of an experiment with one task; sizes are the book's.

    Raises:
        InvalidInput: several tasks, or a device that takes no time at all (queues would be empty).
    """
    if len(setup.tasks) != 1:
        raise InvalidInput(f"plan: {len(setup.tasks)} tasks; the formulas are for one")
    ((name, task),) = setup.tasks.items()
    setup.check_clients(len(fleet))
    up, _ = book.upload_size(name)
    down = sum(edge.size for edge in book.path(None, book.shelves[name].node))
    samples = np.array([task.local.samples(int(n)) for n in task.samples], np.float64)
    compute = samples * task.cost * fleet.compute
    if not (compute > 0).all():
        client = int(np.flatnonzero(compute <= 0)[0])
        raise InvalidInput(f"plan: client {client} takes no time to train; give the fleet a compute above 0")
    times = Times(compute, fleet.latency + down / fleet.down, fleet.latency + up / fleet.up)
    network, classes = gathered(times, FINEST, 0.01)
    return Calibration(network, classes, times, up, down)


def gathered(
    times: Times, most: int = 20_000, within: float = 0.01, kind: NDArray[Any] | None = None
) -> tuple[Network, NDArray[np.int64]]:
    """Devices with equal times are a class; if there are more than ``most``, those ``within`` a ratio of each other,
    devices of another ``kind`` apart."""
    grid = np.stack(times)
    _, where = np.unique(grid, axis=1, return_inverse=True)
    if where.max() >= most:
        rough = np.round(np.log(np.maximum(grid, 1e-12)) / within)
        rough = rough if kind is None else np.vstack([rough, kind])
        where = np.unique(rough, axis=1, return_inverse=True)[1]
    classes = where.ravel().astype(np.int64)
    return averaged(times, classes), classes


def averaged(times: Times, classes: NDArray[np.int64]) -> Network:
    """The network of devices in given classes, each as fast as its mean."""
    counts = np.bincount(classes)
    compute, download, upload = (np.bincount(classes, row) / counts for row in times)
    return Network(compute, download, upload, clients=counts)


class Planner:
    """Answers ``Plan`` for one experiment, from its fleet and from what its matching has tracked."""

    def __init__(self, setup: Setup, fleet: Fleet, book: Book) -> None:
        self._setup, self._fleet, self._book = setup, fleet, book
        self._known: Calibration | None = None

    def __call__(self, task: str, server: Server) -> Planned:
        """The plan that is best by what is known now.

        Raises:
            InvalidInput: the strategy's matching is not one that a plan can be made for.
        """
        return self.question(task, server)()

    def question(self, task: str, server: Server) -> Callable[[], Planned]:
        """What there is to compute, which looks at the server no more: another thread may do it.

        Raises:
            InvalidInput: the strategy's matching is not one that a plan can be made for.
        """
        matching, memory = server.strategy.matching, server.state.memories["matching"]
        if not isinstance(matching, PlannedRouting) or not isinstance(memory, Tracked):
            raise InvalidInput(
                f"matching {type(matching).__name__} asks for a plan; this planner answers matching planned, so pass "
                "planner= to simulate"
            )
        if self._known is None:
            self._known = calibrate(self._setup, self._fleet, self._book)
        found = self.tracked(self._known, memory, server) if memory.plans else self._known
        goal, joules = matching.goal, found.joules(matching.goal.power, self._fleet)
        return lambda: answer(task, goal.best(found.network, joules), found)

    def tracked(self, known: Calibration, memory: Tracked, server: Server) -> Calibration:
        """The calibration with the times that were tracked."""
        age = np.zeros(len(memory.count))
        now = max((x.routed for x in server.view.leases.values()), default=0)
        for lease in server.view.leases.values():
            if lease.started >= 0:
                age[lease.client] += max(0, now - lease.started) / 1e9
        work = (PRIOR * memory.work + memory.spent + age) / (PRIOR + memory.count)
        compute = np.maximum(work - known.times.upload, 0.05 * work)
        times = known.times._replace(compute=compute)
        network, classes = gathered(times, DISTINCT, 0.1)
        return Calibration(network, classes, times, known.up, known.down)


def answer(task: str, best: Optimum, found: Calibration) -> Planned:
    """A plan as an event."""
    p = best.solution.routing[found.classes]
    work = found.times.compute + found.times.upload
    return Planned(task, tuple((p / p.sum()).tolist()), best.solution.in_flight, tuple(work.tolist()))
