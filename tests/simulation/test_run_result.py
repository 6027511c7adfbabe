"""What a run hands over: a line about itself, models by name, a state that torch loads."""

import numpy as np
import pytest
import torch
from torch import nn

import hocket as hk
from hocket.errors import InvalidInput
from hocket.learning import ClientData, Examples


class Residual(nn.Module):
    """Batch norm (running statistics travel, the count of batches does not) and a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x + torch.relu(self.norm(self.first(x))))


def task_of(model, name="task") -> hk.Task:
    rng = np.random.default_rng(0)
    known = Examples(rng.normal(size=(80, 4)).astype(np.float32), rng.integers(0, 2, 80))
    data = ClientData.divided(
        known, [np.arange(i, i + 10) for i in range(0, 60, 10)], np.arange(60, 70), np.arange(70, 80)
    )
    learner = hk.TorchLearner(model, data, trainable=["norm*", "last*"], threads=1)
    return hk.Task.of(learner, hk.LocalSGD(lr=0.5, batch_size=5), name=name)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Residual()


@pytest.fixture(scope="module")
def run(model):
    until = hk.Until(updates=60)
    return hk.simulate(task_of(model), hk.Fleet.synthetic(6), hk.strategies.fedbuff(buffer=1, in_flight=6), until)


def test_torch_loads_the_whole_state(run, model):
    fresh = Residual()
    fresh.load_state_dict(run.state_dict())
    assert torch.equal(fresh.first.weight, model.first.weight), "what is frozen is as it was"
    assert not torch.equal(fresh.last.weight, model.last.weight)
    np.testing.assert_array_equal(fresh.norm.running_var.numpy(), run.model()["norm.running_var"])


def test_every_evaluation_is_finite_although_updates_are_stale(run):
    assert run.summary["staleness"]["mean"] > 3
    assert all(np.isfinite(p.metrics["loss"]) for p in run.curve.points)
    assert (run.model()["norm.running_var"] > 0).all()


def test_a_line_says_what_it_is(run):
    assert repr(run).startswith("<Run fedbuff: 60 updates in ") and "; task: accuracy " in repr(run)
    assert repr(run.tasks["task"]).startswith("<Task task: 26 parameters, 6 clients with 10 to 10 samples; LocalSGD(")
    assert repr(hk.Fleet.equal(3, compute=0.1, down=1e6, up=5e5)) == (
        "<Fleet of 3: 3 device; medians: compute 0.1 s/sample, down 1e+06 B/s, up 5e+05 B/s>"
    )


@pytest.mark.parametrize(
    "ask", [lambda r: r.model("tusk"), lambda r: r.time_to(0.5, "tusk"), lambda r: r.bytes_to(1, "tusk")]
)
def test_a_task_that_is_not_there(run, ask):
    with pytest.raises(InvalidInput, match=r"^this run has no task 'tusk'; it has task$"):
        ask(run)


@pytest.mark.parametrize("seed", [-1, 0.5])
def test_a_seed_is_a_whole_number(model, seed):
    with pytest.raises(InvalidInput, match=f"^seed = {seed}: must be a whole number"):
        hk.simulate(task_of(model), hk.Fleet.synthetic(6), hk.strategies.fedbuff(2, 4), hk.Until(updates=1), seed=seed)


def test_arrays_in_place_of_client_data():
    with pytest.raises(InvalidInput, match=r"^data: is a tuple; give ClientData, as ClientData\.divided"):
        hk.TorchLearner(nn.Linear(4, 2), (np.zeros((5, 4)), np.zeros(5)))
