"""A run with a torch learner that stops and goes on from its checkpoint ends with the bits of one that did not."""

import numpy as np
import pytest

import hocket as hk
from hocket.learning import ClientData, Examples
from hocket.setup import Setup
from hocket.simulation import checkpoint
from hocket.simulation.run import prepare

torch = pytest.importorskip("torch")


def small() -> "torch.nn.Module":
    nn = torch.nn
    return nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def chain() -> "torch.nn.Module":
    nn = torch.nn
    return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))


def convolution() -> "torch.nn.Module":
    nn = torch.nn
    head = (nn.Unflatten(1, (1, 3, 4)), nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*head, nn.Flatten(), nn.Dropout(0.2), nn.Linear(3, 3))


def residual() -> "torch.nn.Module":
    nn = torch.nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.drop = nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(0.2)
            self.branch, self.last = nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            x = torch.relu(self.norm(self.first(x)))
            return self.last(x + self.drop(self.branch(x)))

    return Residual()


@pytest.mark.parametrize("build", [small, chain, convolution, residual])
def test_resume(build, tmp_path) -> None:
    draw = np.random.default_rng(0)
    rows = Examples(draw.standard_normal((200, 12), dtype=np.float32), draw.integers(0, 3, 200))
    data = ClientData(rows, np.arange(11) * 20, rows.take(slice(0, 50)), rows.take(slice(50, 90)))

    def simulation(name: str):
        learner = hk.TorchLearner(build, data, threads=2, path="vmap" if build is residual else "auto")
        task = hk.Task.of(learner, hk.LocalSGD(lr=0.05, batch_size=4 if build is residual else 5, momentum=0.5))
        setup = Setup.of(task, hk.strategies.fedbuff(buffer=3, in_flight=6), hk.Until(updates=40), seed=1)
        return prepare(setup, hk.Fleet.synthetic(10, seed=0), log=True, folder=tmp_path / name / "events")

    whole = simulation("whole")
    whole.engine.run()
    first = simulation("cut")
    first.engine.run(61)
    checkpoint.save(tmp_path / "cut", first.engine, first.curve, first.name)
    again = simulation("cut")
    assert checkpoint.load(tmp_path / "cut", again.engine, again.curve, again.name)
    assert first.engine.training.kernels["task"]
    if build is residual:
        assert set(first.engine.training.kernels["task"].values()) == {"vmap"}
    again.engine.run()
    assert again.engine.book.model("task").tobytes() == whole.engine.book.model("task").tobytes()
    assert again.curve == whole.curve
    assert again.engine.training.kernels == first.engine.training.kernels


def test_resume_computes_as_before(tmp_path) -> None:
    """The kernels come from the checkpoint, whatever another process would measure."""
    draw = np.random.default_rng(0)
    rows = Examples(draw.standard_normal((60, 12), dtype=np.float32), draw.integers(0, 3, 60))
    data = ClientData(rows, np.arange(7) * 10, rows, rows)

    def simulation(path: str):
        task = hk.Task.of(hk.TorchLearner(chain, data, path=path), hk.LocalSGD(lr=0.05, batch_size=5))
        setup = Setup.of(task, hk.strategies.fedbuff(buffer=3, in_flight=4), hk.Until(updates=20), seed=1)
        return prepare(setup, hk.Fleet.synthetic(6, seed=0), log=True, folder=tmp_path / "cut" / "events")

    first = simulation("single")
    first.engine.run(40)
    checkpoint.save(tmp_path / "cut", first.engine, first.curve, first.name)
    again = simulation("auto")
    assert checkpoint.load(tmp_path / "cut", again.engine, again.curve, again.name)
    again.engine.run()
    assert again.engine.training.kernels == {"task": {"width 5": "single"}}
