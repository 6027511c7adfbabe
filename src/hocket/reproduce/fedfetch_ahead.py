"""Prefetch for asynchronous methods on FedFetch's devices: the wait between routing and training, and bytes.

2,800 devices, 40 jobs in flight, a step per 30 updates. A client cannot be helped by fetching ahead once the model
moves on faster than its link carries the messages, f s > T for f seconds to fetch the model, a message of a share s of
it, a step every T seconds: whatever it fetches is old by its turn. On these devices the slowest hundredth is half of
the mean, so how much is gained is decided by s; unless such a client trains on what it fetched (``hold``), which makes
the mean update older. What that does to learning is measured on a model so small, and links so much slower, that every
transfer takes as long.
"""

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from hocket.codec import QSGD, Coded, TopK
from hocket.downlink import Combined
from hocket.fleet import Fleet
from hocket.learning.local import LocalSGD
from hocket.learning.reference_tasks import gaussian
from hocket.learning.task import Task
from hocket.matching import RouteAhead
from hocket.prefetch import NextRoutes
from hocket.record.log import KINDS
from hocket.reproduce.claim import claim
from hocket.reproduce.fedfetch import PARAMETERS, devices
from hocket.simulation.run import Run, simulate
from hocket.snapshot import digest
from hocket.strategies import fedbuff, qafel
from hocket.strategy import Strategy, describe
from hocket.until import Evaluation, Until
from hocket.uplink import ErrorFeedback

CLIENTS, IN_FLIGHT, BUFFER, STEPS = 2800, 40, 30, 1000
ROUTES, MARGIN, HOLD = 4000, 3.0, 64
SPARSE, FIFTH = TopK(0.01), TopK(0.2)
FOUR_BITS = QSGD(bits=4)


class Waits(Struct, frozen=True):
    """Mean seconds between routing and training, bytes down per job begun, seconds per step, mean staleness."""

    wait: float
    bytes: float
    step: float
    staleness: float


def chain(down: Coded) -> Strategy:
    """QAFeL: 4 bits up, a chain of messages around the hidden state down."""
    return qafel(BUFFER, IN_FLIGHT, FOUR_BITS, down)


def combined(codec: Coded) -> Strategy:
    """FedBuff with compressed updates both ways, missed ones combined."""
    base = fedbuff(BUFFER, IN_FLIGHT)
    return replace(base, task=replace(base.task, downlink=Combined(codec), uplink=ErrorFeedback(codec)))


def ahead(strategy: Strategy, routes: int = ROUTES, margin: float = MARGIN, hold: int = 0) -> Strategy:
    """The same with routes drawn ahead and fetched for."""
    return replace(strategy, matching=RouteAhead(routes=routes), prefetch=NextRoutes(margin, hold=hold))


def waits(run: Run) -> tuple[float, int]:
    """Mean seconds from routing to the start of training, over so many jobs begun."""
    assert run.log is not None, "the run keeps its log"
    table = run.log.table()
    time, kind, lease = (table[c].to_numpy() for c in ("time_ns", "kind", "lease"))
    routed, began = np.full(lease.max() + 1, -1.0), np.full(lease.max() + 1, -1.0)
    for name, into in (("assigned", routed), ("started", began)):
        rows = kind == KINDS.index(name)
        into[lease[rows]] = time[rows]
    both = (routed >= 0) & (began >= 0)
    return float((began - routed)[both].mean()) / 1e9, int(both.sum())


_KNOWN: dict[str, Waits] = {}


def measured(strategy: Strategy) -> Waits:
    """What came out of a strategy, run once."""
    name = digest(describe(strategy))
    if name not in _KNOWN:
        _KNOWN[name] = _run(strategy)
    return _KNOWN[name]


def _run(strategy: Strategy) -> Waits:
    """A run without arrays, ten steps of twenty samples per job."""
    local = LocalSGD(lr=0.01, batch_size=20, steps=10)
    task = Task.sized(parameters=PARAMETERS, clients=CLIENTS, local=local)
    run = simulate(task, devices(CLIENTS), strategy, Until(steps=STEPS), log=True)
    wait, jobs = waits(run)
    summary = run.summary
    return Waits(wait, summary["bytes"]["down"] / jobs, summary["virtual_time_s"] / STEPS, summary["staleness"]["mean"])


def gain(strategy: Strategy, hold: int = 0) -> float:
    """How many times shorter the wait is."""
    return measured(strategy).wait / measured(ahead(strategy, hold=hold)).wait


LEARNERS, LEARNING_STEPS = 700, 300


def learned(strategy: Strategy, seed: int) -> float:
    """Mean accuracy over the last two thirds of the steps; an MLP 32-64-10 on a mixture of Gaussians."""
    local = LocalSGD(lr=0.05, batch_size=20, steps=10)
    task = gaussian(LEARNERS, 10, 32, samples=40, alpha=0.3, seed=seed, hidden=(64,), local=local)
    world, smaller = devices(LEARNERS), task.schema.size / PARAMETERS
    fleet = Fleet(world.compute, world.down * smaller, world.up * smaller)
    run = simulate(task, fleet, strategy, Until(steps=LEARNING_STEPS), seed=seed, evaluation=Evaluation(every=10))
    return float(np.mean([p.metrics["accuracy"] for p in run.curve.points if 3 * p.version >= LEARNING_STEPS]))


SOURCE = "the acceptance list of FedFetch; the devices are its authors'"


@claim(SOURCE, "wait before training by that with prefetch, FedBuff over combined updates, top 1%", 3.0, 3.0, 20.0)
def fedfetch_ahead_fedbuff(quick: bool) -> float:
    return gain(combined(SPARSE))


@claim(SOURCE, "the same, QAFeL, 4 bits up and top 1% down", 3.0, 3.0, 20.0)
def fedfetch_ahead_qafel(quick: bool) -> float:
    return gain(chain(SPARSE))


@claim(SOURCE, "bytes down per job with prefetch by those without, the larger of the two", 1.1, 0.9, 1.2)
def fedfetch_ahead_bytes(quick: bool) -> float:
    each = [(measured(ahead(s)), measured(s)) for s in (combined(SPARSE), chain(SPARSE))]
    return max(with_it.bytes / without.bytes for with_it, without in each)


DENSE = chain(FOUR_BITS), combined(FIFTH)
HELD = "who cannot follow trains on what it fetched (at most 64 versions old)"


@claim(
    SOURCE,
    f"the same where messages are larger: the lesser of QAFeL, 4 bits down, and FedBuff, top 20%; {HELD}",
    3.0,
    3.0,
    20.0,
)
def fedfetch_ahead_dense(quick: bool) -> float:
    return min(gain(s, HOLD) for s in DENSE)


@claim(SOURCE, f"bytes down per job with prefetch by those without, the larger of these two; {HELD}", 1.1, 0.9, 1.2)
def fedfetch_ahead_dense_bytes(quick: bool) -> float:
    return max(measured(ahead(s, hold=HOLD)).bytes / measured(s).bytes for s in DENSE)


@claim("what holding costs, measured here", "mean staleness added by holding, the larger of these two", 0.1, 0.0, 0.2)
def fedfetch_ahead_held_staleness(quick: bool) -> float:
    return max(measured(ahead(s, hold=HOLD)).staleness - measured(ahead(s)).staleness for s in DENSE)


@claim(
    "what holding costs, measured here",
    "accuracy lost by holding at equal updates, mean of three seeds, the larger of these two",
    0.0,
    -0.005,
    0.005,
)
def fedfetch_ahead_held_accuracy(quick: bool) -> float:
    seeds = range(1 if quick else 3)
    each = [[learned(ahead(s, 1000, hold=h), seed) for h in (0, HOLD) for seed in seeds] for s in DENSE]
    return max(float(np.mean(a[: len(seeds)]) - np.mean(a[len(seeds) :])) for a in each)
