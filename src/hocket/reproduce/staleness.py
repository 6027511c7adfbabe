"""Staleness of asynchronous methods: fixed by arithmetic, whatever the devices do."""

from hocket.fleet import Exponential, Fleet, LogNormal
from hocket.learning.task import Task
from hocket.reproduce.claim import claim
from hocket.setup import Setup
from hocket.simulation.run import prepare, simulate
from hocket.strategies import asyncsgd, fedbuff
from hocket.until import Until

FEDBUFF = "Nguyen et al., Federated Learning with Buffered Asynchronous Aggregation, AISTATS 2022"
ASYNCSGD = "Koloskova et al., Sharper Convergence Guarantees for Asynchronous SGD, NeurIPS 2022"


@claim(FEDBUFF, "mean staleness (m - 1)/K of FedBuff, 100 in flight, buffer 10", 9.9, 9.801, 9.999)
def fedbuff_staleness(quick: bool) -> float:
    return _mean_staleness(False, quick)


@claim("QAFeL's released code", "mean staleness m/K where slots are refilled first", 10.0, 9.9, 10.1)
def refill_first_staleness(quick: bool) -> float:
    return _mean_staleness(True, quick)


@claim(ASYNCSGD, "staleness of the applied + ages of the outstanding, by (m - 1) x updates", 1.0, 1.0, 1.0)
def asyncsgd_staleness(quick: bool) -> float:
    m, updates = 40, 3000 if quick else 30_000
    fleet = Fleet.synthetic(100, seed=2, compute_law=LogNormal(1.0))
    setup = Setup.of(Task.sized(parameters=100, clients=100), asyncsgd(in_flight=m), Until(updates=updates), seed=4)
    engine = prepare(setup, fleet).engine
    engine.run()
    version = engine.server.view.tasks["task"].version
    applied = sum(s * n for s, n in engine.ledger.staleness.items())
    ages = sum(version - lease.version for lease in engine.server.view.leases.values())
    return (applied + ages) / ((m - 1) * updates)


def _mean_staleness(refill_first: bool, quick: bool) -> float:
    task = Task.sized(parameters=100, clients=500)
    fleet = Fleet.equal(500, compute=0.01, down=1e6, up=1e6, compute_law=Exponential())
    method = fedbuff(buffer=10, in_flight=100, refill_first=refill_first)
    updates = 120_000 if quick else 1_000_000
    return float(simulate(task, fleet, method, Until(updates=updates)).summary["staleness"]["mean"])
