"""PR-FL against its own ablations and its baselines: a small network charged as a large one, on ten unequal links.

Fashion-MNIST, the first 20,000 training images (the next 1,500 are the validation split), 1,500 of test; an MLP
784-128-64-10 whose full model is charged as 25.19 MiB; ten links thirteen-fold apart with jitter, at most 10 MB/s from
the server; 0.5 s of computing for everybody, whatever the density, since zeros are computed too; Dirichlet(1), clients
with less data on faster links; pixels from 0 to 1 unless said otherwise; 5 local steps of SGD at 0.1 on 20 images. An
accuracy at the end is the mean over the last tenth of the time; a time to an accuracy is that of the first of three
evaluations in a row.
"""

from functools import cache

import numpy as np

from hocket.fleet import Fleet, ten_links
from hocket.guard import Polynomial, Staleness
from hocket.keyed import key
from hocket.learning.data import ClientData, Examples
from hocket.learning.loaders import catalog
from hocket.learning.local import LocalSGD
from hocket.learning.mlp import MLP
from hocket.learning.numpy_learner import NumpyLearner
from hocket.learning.partition import dirichlet, iid
from hocket.learning.reference_tasks.images import idx_images
from hocket.learning.task import Task
from hocket.matching import Uniform
from hocket.merge import MaskedModels
from hocket.pacing import InFlight, Rounds, Windows
from hocket.record.log import KINDS
from hocket.reproduce.claim import claim
from hocket.simulation.run import Run, simulate
from hocket.strategies import fedasync, heterofl, prfl
from hocket.strategy import Strategy, TaskPart
from hocket.until import Evaluation, Until

PAPER = "Ma, Federated Learning based on Pruning and Recovery, 2024 (arXiv 2403.15439)"
SETTING = "the acceptance list of PR-FL, small scale"
SECONDS, CHARGED, NEAR = 2500.0, 25.19 * 2**20, 0.8
WINDOW = 0.5
MEAN, SPREAD = np.float32(0.286), np.float32(0.353)
"""Of the pixels of Fashion-MNIST, 0 to 1."""
OURS = {"window": WINDOW, "least": 0.05, "interval": 10, "patience": 5}
PAPER_DENSITIES = (1.0, 1.0, 0.6, 0.6, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1)


def whole(name: str, pacing: object, latest: bool = False) -> Strategy:
    """Full models, mixed in with the weight of what has arrived among all clients, as in the released code."""
    part = TaskPart(merge=MaskedModels(latest=latest), guard=Staleness(Polynomial(0.6)))
    return Strategy(name, pacing, Uniform("skip"), task=part)  # type: ignore[arg-type]


METHODS: dict[str, Strategy] = {
    "PR-FL": prfl(**OURS),  # type: ignore[arg-type]
    "no recovery": prfl(**OURS, recovery=False),  # type: ignore[arg-type]
    "no buffer": prfl(**OURS, buffer=False),  # type: ignore[arg-type]
    "plain average": prfl(**OURS, average="plain"),  # type: ignore[arg-type]
    "synchronous": prfl(**OURS, cohort=10),  # type: ignore[arg-type]
    "rebalanced": prfl(**OURS, rebalance=True),  # type: ignore[arg-type]
    "updates": prfl(**OURS, of="updates"),  # type: ignore[arg-type]
    "no waiting": prfl(**{**OURS, "window": 0.0}, of="updates"),  # type: ignore[arg-type]
    "FedAsyn": whole("fedasyn", InFlight(10, buffer=1)),
    "FedFIX": whole("fedfix", Windows(WINDOW, opened=True)),
    "FedAvg": whole("fedavg", Rounds(10)),
    "FedAsync": fedasync(in_flight=10),
    "fixed densities": heterofl(10, densities=PAPER_DENSITIES, interval=10),
}
"""The first eight are PR-FL, its ablations and the two that add updates; FedAsyn and FedFIX mix as the paper's code
does, FedAsync as its own does."""


@cache
def images(standard: bool = False) -> tuple[Examples, Examples, Examples]:
    """Training, validation and test images as rows of 784 numbers from 0 to 1; ``standard``: of mean 0 and spread 1."""
    sets = [idx_images(catalog.FASHION_MNIST, part, None) for part in ("train", "t10k")]
    rows = [(s.pixels.reshape(len(s.classes), -1) / np.float32(255), s.classes) for s in sets]
    if standard:
        rows = [((x - MEAN) / SPREAD, y) for x, y in rows]
    (x, y), (tx, ty) = rows
    return (
        Examples(x[:20_000], y[:20_000], "fashion train"),
        Examples(x[20_000:21_500], y[20_000:21_500], "fashion validation"),
        Examples(tx[:1500], ty[:1500], "fashion test"),
    )


@cache
def task(seed: int, clients: int = 10, alpha: float | None = 1.0, standard: bool = False) -> Task:
    """The images divided among clients, fewest first; ``alpha`` None: alike."""
    train, validation, test = images(standard)
    parts = (
        iid(len(train), clients, key(seed, "prfl"))
        if alpha is None
        else dirichlet(train.labels, clients, alpha, key(seed, "prfl"), 20)
    )
    data = ClientData.partitioned(train, sorted(parts, key=len), validation, test)
    learner = NumpyLearner(MLP(784, (128, 64), 10), data)
    return Task.of(learner, LocalSGD(lr=0.1, batch_size=20, steps=5), name="fashion")


def fleet(clients: int = 10) -> Fleet:
    """The links, slower by what the network is smaller than the one it stands for."""
    return ten_links(clients, scale=task(0).schema.nbytes / CHARGED)


@cache
def run(method: str, seed: int, standard: bool = False) -> Run:
    """One run of a method."""
    return simulated(METHODS[method], seed, standard)


def simulated(
    strategy: Strategy,
    seed: int,
    standard: bool = False,
    alpha: float | None = 1.0,
    clients: int = 10,
    seconds: float = SECONDS,
    target: float | None = None,
    steps: int = 4,
) -> Run:
    """A run of 2,500 virtual seconds, or until it has got to ``target``, measured every few steps or every round."""
    every = Evaluation(every=1 if isinstance(strategy.pacing, Rounds) else steps)
    until = Until(time=seconds, accuracy=target, confirm=3)
    return simulate(
        task(seed, clients, alpha, standard), fleet(clients), strategy, until, seed=seed, evaluation=every, log=True
    )


def final(done: Run) -> float:
    """Mean accuracy over the last tenth of the time."""
    points = done.curve.points
    after = 0.9 * points[-1].time_ns
    return float(np.mean([p.metrics["accuracy"] for p in points if p.time_ns >= after]))


@cache
def reached(method: str, seed: int, target: float, standard: bool, whole_run: bool) -> float:
    """Virtual seconds to an accuracy, the whole length if a run does not get there; a run that ends there says the
    same."""
    if whole_run:
        return run(method, seed, standard).time_to(target) or SECONDS
    return simulated(METHODS[method], seed, standard, target=target).time_to(target) or SECONDS


def jobs(done: Run) -> list[int]:
    """Updates that each client delivered."""
    assert done.log is not None, "runs of claims keep their log"
    table = done.log.table()
    arrived = table["client"].to_numpy()[table["kind"].to_numpy() == KINDS.index("arrived")]
    return [int(n) for n in np.bincount(arrived, minlength=len(done.tasks["fashion"].samples))]


def participation(done: Run) -> float:
    """Rounds of the client with the fewest, by those of the one with the most."""
    each = jobs(done)
    return min(each) / max(each)


def seeds(quick: bool) -> range:
    return range(1 if quick else 3)


def sooner(method: str, quick: bool, target: float = NEAR, standard: bool = False) -> float:
    """Mean time to an accuracy over three seeds, by PR-FL's; seeds differ by a factor of two, so fewer say little. A
    quick run ends at the accuracy."""
    times = {m: sum(reached(m, s, target, standard, not quick) for s in range(3)) for m in ("PR-FL", method)}
    return times[method] / times["PR-FL"]


def better(method: str, quick: bool) -> float:
    """Points of accuracy at the end that PR-FL is ahead."""
    each = [100 * (final(run("PR-FL", s)) - final(run(method, s))) for s in seeds(quick)]
    return float(np.mean(each))


@claim(PAPER, "time to 0.80 by FedAsyn's mixing of full models, by PR-FL's", 1.62, 1.3, float("inf"), tier="soak")
def prfl_fedasyn(quick: bool) -> float:
    return sooner("FedAsyn", quick)


@claim(PAPER, "time to 0.80 by FedFIX's windows of full models, by PR-FL's", 1.56, 1.3, float("inf"), tier="soak")
def prfl_fedfix(quick: bool) -> float:
    return sooner("FedFIX", quick)


@claim(PAPER, "time to 0.80 by FedAvg, by PR-FL's", 3.0, 1.5, float("inf"), tier="soak")
def prfl_fedavg(quick: bool) -> float:
    return sooner("FedAvg", quick)


@claim(SETTING, "time to 0.80 without masks in the average, by PR-FL's", 2.38, 1.5, float("inf"), tier="soak")
def prfl_plain_time(quick: bool) -> float:
    return sooner("plain average", quick)


@claim(SETTING, "points at the end that masks in the average are worth", 2.9, 1.5, float("inf"), tier="soak")
def prfl_plain(quick: bool) -> float:
    return better("plain average", quick)


@claim(SETTING, "points at the end that recovery is worth", 2.2, 1.0, float("inf"), tier="soak")
def prfl_recovery(quick: bool) -> float:
    return better("no recovery", quick)


@claim(SETTING, "points at the end ahead of FedAsyn", 1.2, 0.0, float("inf"), tier="soak")
def prfl_final(quick: bool) -> float:
    return better("FedAsyn", quick)


@claim(PAPER, "rounds of the rarest client by the most frequent's, no recovery", 0.99, 0.9, 1.0)
def prfl_participation(quick: bool) -> float:
    return float(np.mean([participation(run("no recovery", s)) for s in seeds(quick)]))


@claim(PAPER, "the same for FedAsyn with full models", 0.2, 0.0, 0.25)
def prfl_participation_fedasyn(quick: bool) -> float:
    return float(np.mean([participation(run("FedAsyn", s)) for s in seeds(quick)]))


@claim(SETTING, "time to 0.80 by FedAsyn's mixing on standardised pixels, by PR-FL's", 1.62, 1.3, 9.0, tier="soak")
def prfl_fedasyn_standardised(quick: bool) -> float:
    return sooner("FedAsyn", quick, standard=True)


@claim(SETTING, "time to 0.80 in synchronous rounds, by PR-FL's (below 1: sooner)", 0.7, 0.3, 1.5, tier="soak")
def prfl_synchronous(quick: bool) -> float:
    return sooner("synchronous", quick)
