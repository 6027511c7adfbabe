"""Routing and concurrency by queueing formulas: closed forms, a quadratic problem, devices that change."""

from functools import cache
from math import sqrt

import numpy as np

from hocket.fleet import Exponential, Fleet
from hocket.learning.local import LocalSGD
from hocket.learning.reference_tasks import quadratics
from hocket.learning.task import Task
from hocket.queueing import Interval, Learning, Network, Rounds, Seconds, optimize, solve
from hocket.reproduce import table_1
from hocket.reproduce.claim import claim
from hocket.setup import Setup
from hocket.simulation.run import prepare, simulate
from hocket.strategies import generalized_asyncsgd, time_optimal
from hocket.until import Evaluation, Until
from hocket.wire import FRAME

PAPER = "Alahyane, Comte, Jonckheere, Optimization trade-offs in asynchronous federated learning (arXiv 2603.26231)"
DERIVED = "reference values derived from its formulas"


def ratio(r: float) -> Learning:
    """Constants with (4 + B/eps)/sqrt(C/eps) = r, which is all that p and m depend on."""
    return Learning(noise=1.0, dissimilarity=sqrt(((r * sqrt(6.0) - 4.0) / 6.0 - 1.0) / 2.0), gradient=0.0)


@claim(DERIVED, "updates per second of Table 1, uniform routing, a job per client", 7.405947, 7.405946, 7.405948)
def async_queueing_throughput(quick: bool) -> float:
    net = table_1.network()
    return solve(net, net.uniform(), 100).throughput


@claim(PAPER, "jobs in flight of least time, Table 1, r = 41", 91, 90, 92)
def async_queueing_in_flight(quick: bool) -> float:
    return _optimum()[0]


@claim(DERIVED, "largest relative difference of its routing from Table 2's", 0.0, 0.0, 0.01)
def async_queueing_routing(quick: bool) -> float:
    return float(np.abs(_optimum()[1] / (np.array([1.307, 0.515, 1.752, 0.340, 2.403]) / 100) - 1).max())


@cache
def _optimum() -> tuple[int, np.ndarray]:
    best = optimize(table_1.network(), Seconds(ratio(41.0)), (1, 150)).solution
    return best.in_flight, best.routing


# --- the engine against the formulas


@cache
def _case_a(updates: int) -> tuple[float, float, float]:
    """Case A on the engine: throughput, worst staleness of a client, mean staleness, each by what is foretold."""
    p, m = np.array([0.2, 0.3, 0.5]), 4
    task = Task.sized(parameters=1, clients=3, samples=1, local=LocalSGD(lr=1.0, batch_size=1, steps=1))
    fleet = Fleet(np.array([1.0, 0.5, 0.25]), np.full(3, np.inf), np.full(3, np.inf), compute_law=Exponential())
    run = simulate(task, fleet, generalized_asyncsgd(p.tolist(), m), Until(updates=updates), log=True)
    from hocket.planning.history import arrivals

    assert run.log is not None, "asked for"
    found = arrivals(run.log.table())
    said = solve(Network([1.0, 0.5, 0.25]), p, m)
    counts = np.bincount(found.client)
    own = np.bincount(found.client, found.staleness) / counts
    rate = len(found.client) / float(found.time[-1])
    worst = float(np.abs(own / said.staleness - 1).max())
    return rate / said.throughput, worst, float(found.staleness.mean()) / (m - 1)


@claim(DERIVED, "updates per second on the engine by the formula, three clients, four jobs", 1.0, 0.995, 1.005)
def async_queueing_engine_throughput(quick: bool) -> float:
    return _case_a(400_000 if quick else 1_000_000)[0]


@claim(DERIVED, "largest relative error of a client's staleness on the engine", 0.0, 0.0, 0.01)
def async_queueing_engine_staleness(quick: bool) -> float:
    return _case_a(400_000 if quick else 1_000_000)[1]


@claim(DERIVED, "mean staleness on the engine by (m - 1)", 1.0, 0.9999, 1.0001)
def async_queueing_engine_conservation(quick: bool) -> float:
    return _case_a(400_000 if quick else 1_000_000)[2]


# --- a quadratic problem: twenty clients of Table 1's types

SMALL = (3, 3, 4, 8, 2)
RATES = (0.005, 0.01, 0.02, 0.04)
ENOUGH = 0.05
"""Squared norm of the gradient, smoothed over the last 100 versions."""
AWAY = 1.0
"""Standard deviation of the coordinates of the optima of the five types; gradient noise has sigma = 1. The source
prints neither the optima nor what it takes unit noise for."""
LOUD, LOWER = 20**0.5, 0.0025
"""Noise of a unit per coordinate, and a rate below the grid that it asks for: at a constant rate eta the squared
gradient settles around eta/2 sum_j h_j Q_j, with Q_j the mean over p of (1/(n p_i))^2 times the second moment of a
client's gradient. At 0.005 that is 0.043 under uniform routing, just below the target of 0.05, and 0.079 under the
time-optimal one, whose weights have a second moment of 1.98: it crosses the target by chance, if at all."""


def _small_methods() -> dict[str, tuple[np.ndarray, int]]:
    """p by client and m of each strategy, with the published ratio r = 15.7 of this problem."""
    net, n = table_1.network(SMALL), sum(SMALL)
    known = ratio(15.7)
    soonest = optimize(net, Seconds(known), (1, 60)).solution
    fewest = optimize(net, Rounds(known), n).solution
    most = optimize(net, Interval(), n, floor=5e-3).solution
    plans = {"time": (soonest.routing, soonest.in_flight), "uniform": (net.uniform(), n)}
    plans |= {"rounds": (fewest.routing, n), "throughput": (most.routing, n)}
    return {name: (np.repeat(p, SMALL), m) for name, (p, m) in plans.items()}


@cache
def small_time(method: str, rate: float, seed: int, longest: float, noise: float) -> float:
    """Seconds until the smoothed squared gradient is below 0.05; ``longest`` if it never is."""
    p, m = _small_methods()[method]
    task = quadratics(
        SMALL, dim=20, spread=AWAY, noise=noise, seed=seed, local=LocalSGD(lr=rate, batch_size=1, steps=1)
    )
    fleet = table_1.fleet(task.schema.nbytes + FRAME.size, 1, Exponential(), SMALL)
    run = simulate(
        task,
        fleet,
        generalized_asyncsgd(p.tolist(), m),
        Until(time=longest),
        seed=seed,
        evaluation=Evaluation(every=10),
    )
    points = run.curve.points
    values = np.array([x.metrics["gradient"] for x in points])
    smooth = np.convolve(values, np.full(10, 0.1), "valid")
    reached = np.flatnonzero(smooth < ENOUGH)
    return points[int(reached[0]) + 9].time_ns / 1e9 if len(reached) else longest


@cache
def small(method: str, quick: bool, noise: float = 1.0, rates: tuple[float, ...] = RATES) -> float:
    """Mean seconds over seeds at the best rate of the grid."""
    seeds, longest = range(5 if quick else 10), 1000.0 if method != "throughput" else 500.0
    return min(float(np.mean([small_time(method, rate, s, longest, noise) for s in seeds])) for rate in rates)


@claim(PAPER, "seconds to the target by those of uniform routing, quadratic losses, 20 clients", 0.43, 0.0, 0.6)
def async_queueing_quadratic(quick: bool) -> float:
    return small("time", quick) / small("uniform", quick)


@claim(DERIVED, "the same, fewest rounds by uniform routing (slower)", 1.57, 1.0, float("inf"))
def async_queueing_quadratic_rounds(quick: bool) -> float:
    return small("rounds", quick) / small("uniform", quick)


@claim(DERIVED, "the first with a unit of noise per coordinate", 0.43, 0.0, 0.6)
def async_queueing_quadratic_loud(quick: bool) -> float:
    return small("time", quick, LOUD) / small("uniform", quick, LOUD)


@claim(DERIVED, "the same with the rate 0.0025 in the grid", 0.43, 0.0, 0.6)
def async_queueing_quadratic_loud_lower(quick: bool) -> float:
    rates = (LOWER, *RATES)
    return small("time", quick, LOUD, rates) / small("uniform", quick, LOUD, rates)


# --- devices that change

CHANGED = 3000
"""Updates after the change when the plan is looked at: 30 per client; a look every 200."""


@cache
def _replanned(seed: int, again: bool) -> float:
    """Predicted time of the plan in force by the least, once every other of 100 devices is 4 times slower."""
    before = np.geomspace(0.05, 2.0, 100)
    after = before * np.where(np.arange(100) % 2 == 0, 4.0, 1.0)
    task = Task.sized(parameters=1000, clients=100, samples=1, local=LocalSGD(lr=0.1, batch_size=1, steps=1))
    rate = np.full(100, (task.schema.nbytes + FRAME.size) / 0.2)
    here, there = (Fleet(c, rate, rate, compute_law=Exponential(), links="parallel") for c in (before, after))
    setup = Setup.of(task, time_optimal(every=200 if again else 0), Until(updates=100_000), seed=seed)
    engine = prepare(setup, here).engine
    while engine.server.state.updates < 5000:
        engine.run(50)
    engine.change(there, seed)
    while engine.server.state.updates < 5000 + CHANGED:
        engine.run(50)
    memories = engine.server.state.memories
    true = Network(after, 0.2, 0.2)
    now = solve(true, memories["matching"].routing.p, memories["pacing"].in_flight["task"])
    return Seconds().at(now).value / optimize(true, Seconds(), (1, 300)).value


@claim(DERIVED, "predicted time by the least, 3,000 updates after half of 100 devices slow down 4x", 1.0, 1.0, 1.1)
def async_queueing_replanned(quick: bool) -> float:
    return max(_replanned(seed, True) for seed in range(2 if quick else 5))


@claim(DERIVED, "the same without planning again", 1.0, 1.0, float("inf"))
def async_queueing_not_replanned(quick: bool) -> float:
    return _replanned(0, False)
