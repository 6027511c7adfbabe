"""Planned routing on real images: MNIST and Fashion-MNIST on the hundred clients of Table 1, three laws of times.

A 784-64-10 network, one gradient of 32 samples per job, Dirichlet(0.2) label skew with 32 samples or more per client,
transfers and training of the same law. The constants of the planner are estimated from 80 gradients
(:mod:`hocket.planning.noise`). Each strategy has the learning rate of :data:`RATES` whose accuracy on the validation
split is best, on average over the first 120 units of an exponential run with a seed of its own. Accuracy is that of the
published model, about once a unit, on 10,000 test images (2,000 if quick); a target is reached by three evaluations in
a row, and a run that does not reach it is taken for its whole length.
"""

import gc
from collections.abc import Callable
from functools import cache, lru_cache

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
from hocket.until import Evaluation, Split, Until
from hocket.wire import FRAME

PAPER = "Alahyane, Comte, Jonckheere (arXiv 2603.26231), section 5 and Table 2, on other images and a smaller network"
FILES = {"mnist": catalog.MNIST, "fashion": catalog.FASHION_MNIST}
RATES = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""The grid, the same for every strategy; the rate that is chosen must be inside of it."""
MODEL = MLP(784, (64,), 10)
TARGET = {"mnist": 0.75, "fashion": 0.6}
"""The two test accuracies of the published table."""
TUNING = 1000
"""The seed of the runs that choose rates."""
TUNED = 120.0
"""Their units."""

METHODS: dict[str, Callable[[Learning], Strategy]] = {
    "time": lambda known: time_optimal(learning=known),
    "asyncsgd": lambda known: asyncsgd(in_flight=100),
    "rounds": lambda known: round_optimal(learning=known),
    "throughput": lambda known: max_throughput(),
}
EVERY = {"time": 20, "asyncsgd": 7, "rounds": 5, "throughput": 150}
"""Updates between two evaluations: about as many as come in a unit, so that every strategy is looked at as often."""


@lru_cache(maxsize=1)
def learner(name: str, seed: int, quick: bool) -> NumpyLearner:
    """A tenth of the training images is the validation split; the rest is divided among the clients."""
    gc.collect()  # engines of runs that ended are cycles, which hold the data of the seed before
    train, test = (idx_images(FILES[name], part, None) for part in ("train", "t10k"))
    order = generator(key(seed, "images", "split")).permutation(len(train.classes))
    validation, rows = np.split(order, [len(order) // 10])
    parts = dirichlet(train.classes[rows], 100, 0.2, key(seed, "images"), 32)
    known, held = Examples(_flat(train), train.classes), Examples(_flat(test), test.classes)
    held = held.take(slice(2000)) if quick else held
    split = ClientData.partitioned(known, [rows[part] for part in parts], known.take(validation[:2000]), held)
    return NumpyLearner(MODEL, split)


def _flat(images: Images) -> NDArray[np.float32]:
    flat: NDArray[np.float32] = images.pixels.reshape(len(images.pixels), -1).astype(np.float32) / np.float32(255)
    return flat


def task(name: str, rate: float, seed: int, quick: bool) -> Task:
    """The task at a learning rate."""
    return Task.of(learner(name, seed, quick), LocalSGD(lr=rate, batch_size=32, steps=1), name=name)


@cache
def constants(name: str) -> Learning:
    """Those of the planner, from the data of the tuning seed."""
    return learning(task(name, 0.03, TUNING, True), seed=TUNING)


def run(
    name: str, method: str, law: str, rate: float, seed: int, until: Until, quick: bool, split: Split = "test"
) -> Curve:
    """The evaluations of one run; none after the first if it diverged."""
    strategy = METHODS[method](constants(name))
    what = task(name, rate, seed, quick)
    fleet = table_1.fleet(what.schema.nbytes + FRAME.size, 32, table_1.LAWS[law])
    evaluation = Evaluation(every=EVERY[method], split=split)
    try:
        return simulate(what, fleet, strategy, until, seed=seed, evaluation=evaluation).curve
    except Diverged:
        return Curve(until.confirm, [Point(name, 0, 0, 0, 0, 0, {"accuracy": 0.1})])


@cache
def worth(name: str, method: str, rate: float) -> float:
    """What a learning rate is chosen by."""
    found = run(name, method, "exponential", rate, TUNING, Until(time=TUNED), True, "validation")
    return float(accuracy(found, np.arange(5.0, TUNED, 5.0)).mean())


def best(name: str, method: str) -> float:
    """The learning rate of a strategy."""
    return max(RATES, key=lambda rate: worth(name, method, rate))


@cache
def curve(name: str, method: str, law: str, seed: int, quick: bool) -> Curve:
    """A run at the strategy's rate: to its end for the two that are set side by side, else to the target."""
    whole = law == "exponential" and method in ("time", "asyncsgd")
    until = Until(time=longest(quick), confirm=3, accuracy=None if whole else TARGET[name])
    return run(name, method, law, best(name, method), seed, until, quick)


def longest(quick: bool) -> float:
    """Units of a run."""
    return 160.0 if quick else 400.0


def accuracy(of: Curve, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Accuracy at some seconds, on straight lines between evaluations."""
    at = np.array([p.time_ns / 1e9 for p in of.points])
    found: NDArray[np.float64] = np.interp(times, at, np.array([p.metrics["accuracy"] for p in of.points]))
    return found


def seconds(name: str, method: str, law: str, seed: int, quick: bool) -> float:
    """Seconds until three evaluations in a row are at the target, or all there are."""
    reached = curve(name, method, law, seed, quick).first(name, TARGET[name])
    return longest(quick) if reached is None else reached.time_ns / 1e9


def seeds(quick: bool) -> range:
    """Of the data and of the runs."""
    return range(2 if quick else 5)


def faster(name: str, law: str, quick: bool, than: str = "asyncsgd") -> float:
    """The share of the seconds to the target that the time-optimal routing saves, over seeds."""
    times = [[seconds(name, m, law, s, quick) for m in ("time", than)] for s in seeds(quick)]
    ours, theirs = np.mean(times, axis=0).tolist()
    return float(1.0 - ours / theirs)


def mean_curve(name: str, method: str, quick: bool, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Accuracy at some seconds of exponential runs, averaged over seeds."""
    each = [accuracy(curve(name, method, "exponential", s, quick), times) for s in seeds(quick)]
    found: NDArray[np.float64] = np.mean(each, axis=0)
    return found


def moment(name: str, share: float, quick: bool) -> tuple[float, float, float]:
    """When AsyncSGD, averaged over seeds, is at a share of its last accuracy (the mean of ten units); and by how much
    of accuracy time-optimal routing is ahead then, and its accuracy."""
    times = np.arange(0.5, longest(quick), 0.5)
    ours, theirs = (mean_curve(name, m, quick, times) for m in ("time", "asyncsgd"))
    at = int(np.flatnonzero(theirs >= share * theirs[-20:].mean())[0])
    return float(times[at]), float(ours[at] - theirs[at]), float(ours[at])


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
    return moment("mnist", 0.6, quick)[1]


@claim(PAPER, "the same, Fashion-MNIST", 0.1, 0.1, 1.0)
def async_queueing_fashion_ahead(quick: bool) -> float:
    return moment("fashion", 0.6, quick)[1]


@claim(PAPER, "share of the time saved over fewest rounds, Fashion-MNIST, exponential times", 0.57, 0.0, 1.0)
def async_queueing_fashion_rounds(quick: bool) -> float:
    return faster("fashion", "exponential", quick, "rounds")


@claim(PAPER, "share saved over most updates per second, the same", 0.79, 0.0, 1.0)
def async_queueing_fashion_throughput(quick: bool) -> float:
    return faster("fashion", "exponential", quick, "throughput")
