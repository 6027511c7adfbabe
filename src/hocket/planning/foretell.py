"""Throughput and staleness of an asynchronous run, foretold by formula and observed in a short simulation."""

from math import ceil

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.fleet import Fleet
from hocket.learning.task import Task
from hocket.planner import Calibration
from hocket.planning.history import Arrivals, arrivals
from hocket.queueing import Solution
from hocket.setup import Setup
from hocket.simulation.run import simulate
from hocket.strategies import generalized_asyncsgd
from hocket.strategy import Strategy, TaskPart, compose
from hocket.until import Until

Floats = NDArray[np.float64]


class Foretold(Struct, frozen=True, eq=False):
    """Updates per second, and mean staleness in versions: of all updates, and of each kind of device (NaN: none).

    ``shares`` is ``float64[kinds]``, what each kind has of the updates; ``routing`` is ``float64[clients]``.
    """

    in_flight: int
    throughput: float
    staleness: float
    by_kind: Floats
    shares: Floats
    routing: Floats

    @classmethod
    def of(cls, solution: Solution, calibration: Calibration, fleet: Fleet) -> "Foretold":
        """From a solved network."""
        p, stale = solution.routing[calibration.classes], solution.staleness[calibration.classes]
        kinds = np.broadcast_to(fleet.kind, len(fleet))
        shares: Floats = np.bincount(kinds, p, len(fleet.kinds)).astype(np.float64)
        with np.errstate(invalid="ignore"):
            by_kind = np.bincount(kinds, p * stale, len(fleet.kinds)) / shares
        return cls(solution.in_flight, solution.throughput, float(p @ stale), by_kind, shares, p)

    @classmethod
    def seen(cls, in_flight: int, found: Arrivals, fleet: Fleet, routing: Floats) -> "Foretold":
        """From what arrived; the first half is thrown away, because a run begins out of balance."""
        half = len(found.client) // 2
        client, stale, time = (column[half:] for column in (found.client, found.staleness, found.time))
        of_kind = np.broadcast_to(fleet.kind, len(fleet))[client]
        counts = np.bincount(of_kind, minlength=len(fleet.kinds)).astype(np.float64)
        with np.errstate(invalid="ignore"):
            by_kind = np.bincount(of_kind, stale, len(fleet.kinds)) / counts
        rate = (len(stale) - 1) / float(time[-1] - time[0])
        return cls(in_flight, rate, float(stale.mean()), by_kind, counts / counts.sum(), routing)


def settles(said: Foretold, calibration: Calibration) -> int:
    """Updates of a simulation whose first half, which is thrown away, lasts as long as the slowest device's job."""
    return ceil(2 * said.throughput * calibration.times.longest)


def observe(said: Foretold, setup: Setup, fleet: Fleet, updates: int, seed: int = 0) -> Foretold:
    """The same, measured in a simulation without learning; the first half of the updates is thrown away.

    The fleet's own laws of service times, queues at links and availability are used, so what differs from ``said``
    is what the formulas assume (:mod:`hocket.planning.assumptions`), the strategy's own matching and buffer apart.
    """
    part = next(iter(setup.strategy.tasks.values()))
    links = Strategy("links", task=TaskPart(uplink=part.uplink, downlink=part.downlink))
    timeout = setup.strategy.pacing.timeout
    method = generalized_asyncsgd(said.routing.tolist(), said.in_flight, steps=None, timeout=timeout)
    return measure(said, setup, fleet, compose(method, links), updates, seed)


def observe_itself(said: Foretold, setup: Setup, fleet: Fleet, updates: int, seed: int = 0) -> Foretold:
    """What the strategy of the experiment itself does, buffer, matching and all, without learning."""
    full = setup.strategy
    ((name, part),) = full.tasks.items()
    own = TaskPart(uplink=part.uplink, downlink=part.downlink, submodel=part.submodel, local=part.local)
    method = Strategy(full.name, full.pacing, full.matching, full.prefetch, full.attach, tasks={name: own})
    return measure(said, setup, fleet, method, updates, seed)


def measure(said: Foretold, setup: Setup, fleet: Fleet, method: Strategy, updates: int, seed: int = 0) -> Foretold:
    """Run ``method`` on the experiment's sizes, without learning."""
    ((name, task),) = setup.tasks.items()
    bare = Task(name, task.schema, None, task.samples, task.local, task.cost)
    run = simulate(bare, fleet, method, Until(updates=updates), seed=seed, log=True)
    assert run.log is not None, "asked for"
    return Foretold.seen(said.in_flight, arrivals(run.log.table()), fleet, said.routing)
