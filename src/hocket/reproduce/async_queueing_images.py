"""Planned routing on real images: MNIST and Fashion-MNIST on the hundred clients of Table 1, three laws of times.

A 784-64-10 network, one gradient of 32 samples per job, Dirichlet(0.2) label skew with 32 samples or more per client,
transfers and training of the same law. The constants of the planner are estimated from 80 gradients
(:mod:`hocket.planning.noise`). Each strategy has the learning rate of :data:`RATES` whose accuracy on the validation
split is best, on average over the first 120 units (60 for most updates per second) of an exponential run with a seed of
its own. Accuracy is that of the published model, every 20 updates, on 10,000 test images (2,000 if quick); a target is
reached by three in a row, and a run that does not reach it is taken for its whole length.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hocket.errors import Diverged
from hocket.keyed import generator, key
from hocket.learning.data import ClientData, Examples
from hocket.learning.loaders import catalog
from hocket.learning.local import LocalSGD
from hocket.learning.mlp import MLP
from hocket.learning.numpy_learner import NumpyLearner
from hocket.learning.partition import dirichlet
from hocket.learning.reference_tasks.images import Images, idx_images
from hocket.learning.task import Task
from hocket.planning.noise import learning
from hocket.queueing import Learning
from hocket.record.curve import Curve, Point
from hocket.reproduce import table_1
from hocket.reproduce.claim import claim
from hocket.simulation.run import simulate
from hocket.strategies import asyncsgd, max_throughput, round_optimal, time_optimal
from hocket.strategy import Strategy
from hocket.until import Evaluation, Until
from hocket.wire import FRAME

PAPER = "Alahyane, Comte, Jonckheere (arXiv 2603.26231), section 5 and Table 2, on other images and a smaller network"
FILES = {"mnist": catalog.MNIST, "fashion": catalog.FASHION_MNIST}
RATES = (0.001, 0.003, 0.01, 0.03)
TARGET = {"mnist": 0.75, "fashion": 0.6}
"""The two test accuracies of the published table."""
SHORT = 60.0
"""Units that runs with most updates per second are given: they make eight times as many."""
TUNING = 1000
"""The seed of the runs that choose rates."""

METHODS: dict[str, Callable[[Learning], Strategy]] = {
    "time": lambda known: time_optimal(learning=known),
    "asyncsgd": lambda known: asyncsgd(in_flight=100),
    "rounds": lambda known: round_optimal(learning=known),
    "throughput": lambda known: max_throughput(),
}


@cache
def data(name: str, seed: int, quick: bool) -> ClientData:
    """A tenth of the training images is the validation split; the rest is divided among the clients."""
    train, test = (idx_images(FILES[name], part, None) for part in ("train", "t10k"))
    order = generator(key(seed, "images", "split")).permutation(len(train.classes))
    validation, rows = np.split(order, [len(order) // 10])
    parts = dirichlet(train.classes[rows], 100, 0.2, key(seed, "images"), 32)
    known, held = Examples(_flat(train), train.classes), Examples(_flat(test), test.classes)
    held = held.take(slice(2000)) if quick else held
    return ClientData.partitioned(known, [rows[part] for part in parts], known.take(validation[:2000]), held)


def _flat(images: Images) -> NDArray[np.float32]:
    flat: NDArray[np.float32] = images.pixels.reshape(len(images.pixels), -1).astype(np.float32) / np.float32(255)
    return flat


def task(name: str, rate: float, seed: int, quick: bool) -> Task:
    """The task at a learning rate."""
    learner = NumpyLearner(MLP(784, (64,), 10), data(name, seed, quick))
    return Task.of(learner, LocalSGD(lr=rate, batch_size=32, steps=1), name=name)


@cache
def constants(name: str, quick: bool) -> Learning:
    """Those of the planner, from the data of the tuning seed."""
    return learning(task(name, RATES[-1], TUNING, quick), seed=TUNING)


def run(
    name: str, method: str, law: str, rate: float, seed: int, time: float, quick: bool, split: str = "test"
) -> Curve:
    """The evaluations of one run; none after the first if it diverged."""
    what = task(name, rate, seed, quick)
    fleet = table_1.fleet(what.schema.nbytes + FRAME.size, 32, table_1.LAWS[law])
    strategy = METHODS[method](constants(name, quick))
    evaluation = Evaluation(every=20, split=split)  # type: ignore[arg-type]
    try:
        return simulate(what, fleet, strategy, Until(time=time), seed=seed, evaluation=evaluation).curve
    except Diverged:
        return Curve(points=[Point(name, 0, 0, 0, 0, 0, {"accuracy": 0.1})])


@cache
def rate(name: str, method: str, quick: bool) -> float:
    """The learning rate of a strategy."""
    longest = SHORT if method == "throughput" else 120.0
    grid = np.arange(5.0, longest, 5.0)

    def worth(r: float) -> float:
        return float(accuracy(run(name, method, "exponential", r, TUNING, longest, quick, "validation"), grid).mean())

    return max(RATES, key=worth)


@cache
def curve(name: str, method: str, law: str, seed: int, quick: bool) -> Curve:
    """A run at the strategy's rate."""
    longest = SHORT if method == "throughput" else _longest(quick)
    return run(name, method, law, rate(name, method, quick), seed, longest, quick)


def _longest(quick: bool) -> float:
    return 160.0 if quick else 400.0


def accuracy(of: Curve, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Accuracy at some seconds: that of the newest evaluation."""
    at = np.array([p.time_ns / 1e9 for p in of.points])
    values = np.array([p.metrics["accuracy"] for p in of.points])
    return values[np.maximum(np.searchsorted(at, times, "right") - 1, 0)]


def seconds(of: Curve, target: float, longest: float) -> float:
    """Seconds until three evaluations in a row are at the target; ``longest`` if that never is."""
    held = np.array([p.metrics["accuracy"] >= target for p in of.points])
    first = np.flatnonzero(held[:-2] & held[1:-1] & held[2:])
    return of.points[int(first[0])].time_ns / 1e9 if len(first) else longest


def _seeds(quick: bool) -> range:
    return range(2 if quick else 5)


@cache
def faster(name: str, law: str, quick: bool, than: str = "asyncsgd") -> float:
    """The share of the seconds to the target that the time-optimal routing saves, over seeds."""
    times = [
        [seconds(curve(name, m, law, s, quick), TARGET[name], _longest(quick)) for s in _seeds(quick)]
        for m in ("time", than)
    ]
    ours, theirs = (float(np.mean(t)) for t in times)
    return 1.0 - ours / theirs


@cache
def ahead(name: str, law: str, quick: bool) -> float:
    """How much accuracy it is ahead when AsyncSGD, averaged over seeds, is at 60 % of its last value."""
    grid = np.arange(0.5, _longest(quick), 0.5)
    ours, theirs = (
        np.mean([accuracy(curve(name, m, law, s, quick), grid) for s in _seeds(quick)], axis=0)
        for m in ("time", "asyncsgd")
    )
    at = int(np.flatnonzero(theirs >= 0.6 * theirs[-20:].mean())[0])
    return float(ours[at] - theirs[at])


@claim(PAPER, "share of the time to 75% saved over AsyncSGD, MNIST, exponential times", 0.36, 0.29, 1.0)
def async_queueing_mnist(quick: bool) -> float:
    return faster("mnist", "exponential", quick)


@claim(PAPER, "share of the time to 60% saved over AsyncSGD, Fashion-MNIST, exponential times", 0.36, 0.29, 1.0)
def async_queueing_fashion(quick: bool) -> float:
    return faster("fashion", "exponential", quick)


@claim(PAPER, "the least such share over both and all laws: never slower", 0.3, 0.0, 1.0)
def async_queueing_laws(quick: bool) -> float:
    return min(faster(name, law, quick) for name in FILES for law in table_1.LAWS)


@claim(PAPER, "accuracy ahead of AsyncSGD where that is at 60% of its last, MNIST", 0.1, 0.1, 1.0)
def async_queueing_mnist_ahead(quick: bool) -> float:
    return ahead("mnist", "exponential", quick)


@claim(PAPER, "the same, Fashion-MNIST", 0.1, 0.1, 1.0)
def async_queueing_fashion_ahead(quick: bool) -> float:
    return ahead("fashion", "exponential", quick)


@claim(PAPER, "share of the time saved over fewest rounds, Fashion-MNIST, exponential times", 0.57, 0.0, 1.0)
def async_queueing_fashion_rounds(quick: bool) -> float:
    return faster("fashion", "exponential", quick, "rounds")


@claim(PAPER, "share saved over most updates per second, the same", 0.79, 0.0, 1.0)
def async_queueing_fashion_throughput(quick: bool) -> float:
    return faster("fashion", "exponential", quick, "throughput")
