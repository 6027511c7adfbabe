"""Throughput and staleness of an asynchronous run, foretold by formula and observed in a short simulation."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.fleet import Fleet
from hocket.learning.task import Task
from hocket.plan.calibrate import Calibration
from hocket.queueing import Objective, Solution, optimize, solve
from hocket.record.log import KINDS
from hocket.setup import Setup
from hocket.simulation.run import simulate
from hocket.strategies import generalized_asyncsgd
from hocket.strategy import Strategy, TaskPart, compose
from hocket.until import Until


class Foretold(Struct, frozen=True, eq=False):
    """Updates per second, and mean staleness in versions: of all updates, and of each kind of device (NaN: none)."""

    in_flight: int
    throughput: float
    staleness: float
    by_kind: NDArray[np.float64]
    routing: NDArray[np.float64]

    @classmethod
    def of(cls, solution: Solution, calibration: Calibration, fleet: Fleet) -> "Foretold":
        """From a solved network; ``routing`` is float64[clients]."""
        p, stale = solution.routing[calibration.classes], solution.staleness[calibration.classes]
        kinds = np.broadcast_to(fleet.kind, len(fleet))
        shares = np.bincount(kinds, p, len(fleet.kinds))
        with np.errstate(invalid="ignore"):
            by_kind = np.bincount(kinds, p * stale, len(fleet.kinds)) / shares
        return cls(solution.in_flight, solution.throughput, float(p @ stale), by_kind, p)


def foretell(
    calibration: Calibration, fleet: Fleet, in_flight: int, objective: Objective, most: int
) -> tuple[Foretold, Foretold]:
    """Uniform routing at ``in_flight`` jobs, and the best routing with 1 to ``most`` jobs."""
    today = solve(calibration.network, calibration.network.uniform(), in_flight)
    best = optimize(calibration.network, objective, (1, most)).solution
    return Foretold.of(today, calibration, fleet), Foretold.of(best, calibration, fleet)


def observe(said: Foretold, setup: Setup, fleet: Fleet, updates: int, seed: int = 0) -> Foretold:
    """The same, measured in a simulation without learning; the first half of the updates is thrown away.

    The fleet's own laws of service times, queues at links and availability are used, so what differs from ``said``
    is what the formulas assume: exponential training times, transfers that do not wait, everybody there.
    """
    ((name, task),) = setup.tasks.items()
    bare = Task(name, task.schema, None, task.samples, task.local, task.cost)
    method = generalized_asyncsgd(said.routing.tolist(), said.in_flight, steps=None)
    part = setup.strategy.tasks[name]
    links = Strategy("links", task=TaskPart(uplink=part.uplink, downlink=part.downlink))
    run = simulate(bare, fleet, compose(method, links), Until(updates=updates), seed=seed, log=True)
    assert run.log is not None, "asked for"
    table = run.log.table()
    kind, client, lease, value, time = (table[c].to_numpy() for c in ("kind", "client", "lease", "value", "time_ns"))
    given, arrived = kind == KINDS.index("assigned"), kind == KINDS.index("arrived")
    start = np.zeros(int(lease.max()) + 1, np.int64)
    start[lease[given]] = value[given]
    half = len(client[arrived]) // 2
    stale = (np.arange(arrived.sum()) - start[lease[arrived]])[half:].astype(np.float64)
    took = (time[arrived][-1] - time[arrived][half]) / 1e9
    of_kind = np.broadcast_to(fleet.kind, len(fleet))[client[arrived][half:]]
    counts = np.bincount(of_kind, minlength=len(fleet.kinds))
    with np.errstate(invalid="ignore"):
        by_kind = np.bincount(of_kind, stale, len(fleet.kinds)) / counts
    return Foretold(said.in_flight, (len(stale) - 1) / took, float(stale.mean()), by_kind, said.routing)
