"""Accuracy that each reference task reaches with FedAvg and FedBuff: 100 clients, Dirichlet 0.3, three seeds."""

from pathlib import Path

import numpy as np
import pytest

import hocket as hk
from hocket.learning import ClientData, Job, LocalSGD, Task

pytest.importorskip("hocket.learning.torch_learner", exc_type=ImportError)

METHODS = {
    "fedavg": hk.strategies.fedavg(cohort=20),
    "fedbuff": hk.strategies.fedbuff(buffer=10, in_flight=20),
}
FLOORS = {"mnist": 0.97, "fashion_mnist": 0.86, "shakespeare": 0.40}


def reached(task: Task, method: hk.Strategy, floor: float, updates: int, seed: int, every: int = 5) -> str:
    """How a run ends that stops at three evaluations in a row with this test accuracy, or after so many updates."""
    fleet = hk.Fleet.synthetic(task.clients, seed=seed)
    until = hk.Until(accuracy=floor, confirm=3, updates=updates)
    run = hk.simulate(task, fleet, method, until, seed=seed, evaluation=hk.Evaluation(every=every))
    print(f"{task.name} {method.name} seed {seed}: {run.curve.last(task.name)}")
    return run.summary["finished"]


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", FLOORS)
def test_floor(name: str, method: str, seed: int, data_dir: Path) -> None:
    own = {} if name == "shakespeare" else {"seed": seed}
    task = getattr(hk.reference_tasks, name)(clients=100, data=data_dir, **own)
    assert reached(task, METHODS[method], FLOORS[name], 6000, seed) == "target"


@pytest.mark.parametrize("method", METHODS)
def test_mnist_in_short(method: str, data_dir: Path) -> None:
    """3,000 training images and 50 clients, so that it takes seconds."""
    local = LocalSGD(lr=0.1, batch_size=10)
    task = hk.reference_tasks.mnist(clients=50, data=data_dir, samples=3000, local=local)
    assert reached(task, METHODS[method], 0.90, 1000, seed=0, every=10) == "target"


def auc_of_pooled(task: Task, passes: int) -> float:
    """Test AUC after training on the rows of all clients as those of one."""
    data = task.learner._data
    pooled = ClientData(data.train, np.array([0, len(data.train)]), data.validation, data.test)
    learner = type(task.learner)(task.learner._net._source, pooled, loss="bce")
    work = LocalSGD(lr=0.05, batch_size=16, epochs=passes)
    (done,) = learner.train([Job(0, 0, learner.initial(0), work, 0, 0)])
    return learner.evaluate(learner.initial(0) + done.delta, "test")["auc"]


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "method", [hk.strategies.fedavg(cohort=4), hk.strategies.fedbuff(buffer=2, in_flight=2)], ids=lambda m: m.name
)
def test_hospitals_together_are_as_good_as_pooled(method: hk.Strategy, seed: int, data_dir: Path) -> None:
    """With two of the four at work FedBuff asks them about equally often; with all four the fastest counts most."""
    task = hk.reference_tasks.heart_disease(data=data_dir, seed=seed)
    fleet = hk.Fleet.synthetic(4, seed=seed)
    run = hk.simulate(task, fleet, method, hk.Until(updates=400), seed=seed, evaluation=hk.Evaluation(every=10))
    together = run.curve.last(task.name).metrics["auc"]
    pooled = auc_of_pooled(task, 100)
    print(f"heart_disease {method.name} seed {seed}: auc {together:.4f}, pooled {pooled:.4f}")
    assert together > pooled - 0.02
