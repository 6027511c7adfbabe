"""The planner: networks from experiments, and formulas that the simulator bears out."""

import sys
from pathlib import Path

import numpy as np
import pytest

import hocket as hk
from hocket.cli.main import main
from hocket.codec import QSGD
from hocket.errors import InvalidInput
from hocket.fleet.law import Exponential
from hocket.planner import Calibration
from hocket.planner import calibrate as calibrated
from hocket.planning import observe, plan_for
from hocket.queueing import Goal
from hocket.setup import Setup
from hocket.simulation.run import prepare

FILE = """
[task]
kind = "sized"
parameters = 1000
clients = 30
[fleet]
kind = "synthetic"
compute_law = {{ kind = "exponential" }}
[strategy]
use = "{use}"
[until]
updates = 100
"""


def setup(clients: int, method: hk.Strategy, parameters: int = 1000) -> Setup:
    task = hk.Task.sized(parameters=parameters, clients=clients, samples=10)
    return Setup.of(task, method, hk.Until(updates=100))


def fleet(clients: int = 60, **options) -> hk.Fleet:
    """Three kinds of devices, equal within a kind."""
    kind = np.arange(clients) % 3
    compute, rate = np.array([0.01, 0.03, 0.1])[kind], np.array([1e5, 4e4, 1e4])[kind]
    return hk.Fleet(
        compute, rate, rate / 2, kind=kind, kinds=("fast", "mid", "slow"), compute_law=Exponential(), **options
    )


def calibrate(experiment: Setup, devices: hk.Fleet) -> Calibration:
    return calibrated(experiment, devices, prepare(experiment, devices).engine.book)


def test_the_network_of_an_experiment():
    """Compute by samples and cost, transfers by latency and the bytes of the codecs; devices alike in one class."""
    method = hk.strategies.qafel(up=QSGD(4, None), down=QSGD(8, None))
    found = calibrate(setup(60, method), fleet(latency=0.5))
    assert (found.up, found.down) == (28 + 4 + 500, 56 + 4000)
    assert found.network.size == 60 and len(found.network.compute) == 3
    order = np.argsort(found.network.compute)
    assert np.allclose(np.array(found.network.compute)[order], [0.1, 0.3, 1.0])
    assert np.allclose(np.array(found.network.download)[order], 0.5 + 4056 / np.array([1e5, 4e4, 1e4]))
    assert np.allclose(np.array(found.network.upload)[order], 0.5 + 532 / np.array([5e4, 2e4, 5e3]))
    assert np.bincount(found.classes).tolist() == [20, 20, 20]


def test_simulation_bears_the_formulas_out():
    """With queues and transfers, uniform and best routing: within 3 % after 30,000 updates, also kind by kind."""
    experiment, devices = setup(60, hk.strategies.asyncsgd(in_flight=30)), fleet(links="parallel")
    found = plan_for(experiment, devices, Goal(most=60), today=30, details=False)
    plans = found.uniform, found.best
    assert plans[0].staleness == pytest.approx(29) and plans[1].throughput > plans[0].throughput
    for said in plans:
        seen = observe(said, experiment, devices, 30_000)
        assert seen.throughput == pytest.approx(said.throughput, rel=0.03)
        assert seen.staleness == pytest.approx(said.staleness, rel=0.03)
        assert seen.by_kind == pytest.approx(said.by_kind, rel=0.08)


def test_many_devices_are_put_together_within_a_percent(monkeypatch):
    near = fleet(200)
    devices = hk.Fleet(near.compute * (1 + 1e-4 * np.arange(200) / 200), near.down, near.up, compute_law=Exponential())
    experiment = setup(200, hk.strategies.asyncsgd(in_flight=30))
    exact = plan_for(experiment, devices, Goal(most=30), today=30, details=False).uniform
    monkeypatch.setattr(sys.modules["hocket.planner"], "FINEST", 10)
    rough = calibrate(experiment, devices)
    assert len(rough.network.compute) < 10
    about = plan_for(experiment, devices, Goal(most=30), today=30, details=False).uniform
    assert about.throughput == pytest.approx(exact.throughput, rel=0.01)


def test_the_command(tmp_path: Path, capsys):
    (tmp_path / "e.toml").write_text(FILE.format(use="asyncsgd"))
    assert main(["plan", str(tmp_path / "e.toml"), "--simulate", "1000"]) == 0
    out = capsys.readouterr().out
    assert "30 devices in 30 classes; 4.03 kB down, 4.03 kB up per job" in out
    assert "uniform" in out and "best for time" in out and "simulated / foretold" in out


@pytest.mark.parametrize(
    ("use", "more", "message"),
    [
        ("asyncsgd", ["--objective", "speed"], "--objective speed: must be one of time, rounds, throughput, energy"),
        ("asyncsgd", ["--simulate", "7"], "--simulate 7: must be 100 or more"),
        ("asyncsgd", ["--most", "0"], "most = 0; give 1 or more jobs in flight"),
        ("asyncsgd", ["--objective", "energy"], "no watts are given; set power"),
        ("asyncsgd", ["--watts", "3"], "--watts 3: give three numbers"),
        ("fedavg", [], "keeps no fixed number of jobs in flight"),
    ],
)
def test_bad_input(use, more, message, tmp_path: Path, capsys):
    (tmp_path / "e.toml").write_text(FILE.format(use=use))
    assert main(["plan", str(tmp_path / "e.toml"), *more]) == 2
    assert message in capsys.readouterr().err


def test_devices_that_take_no_time_are_refused():
    idle = hk.Fleet(np.zeros(3), np.ones(3), np.ones(3), undefined_is_free=True)
    with pytest.raises(InvalidInput, match="client 0 takes no time to train"):
        calibrate(setup(3, hk.strategies.asyncsgd(in_flight=2)), idle)
