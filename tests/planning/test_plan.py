"""``hocket.plan``: what it finds, what it says, what it is made from, and what it leaves in a folder."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hocket as hk
from hocket.cli.main import main
from hocket.cli.plan import strategy_toml
from hocket.errors import InvalidInput
from hocket.experiment.document import load
from hocket.fleet.law import Exponential, LogNormal
from hocket.planning import Plan
from hocket.planning.assumptions import broken
from hocket.planning.noise import learning
from hocket.planning.page import charts, page
from hocket.queueing import Goal, Power
from hocket.service.loopback import run_loopback
from hocket.setup import Setup
from hocket.simulation.run import prepare

CLIENTS = 30


def task() -> hk.Task:
    local = hk.LocalSGD(lr=0.1, batch_size=10, steps=1)
    return hk.Task.sized(parameters=1000, clients=CLIENTS, samples=10, local=local)


def fleet(faster: float = 1.0, **options) -> hk.Fleet:
    """Three kinds, equal within each."""
    kind = np.arange(CLIENTS) % 3
    compute, rate = np.array([0.01, 0.03, 0.1])[kind] / faster, np.array([1e5, 4e4, 1e4])[kind]
    options = {"compute_law": Exponential(), "links": "parallel", **options}
    return hk.Fleet(compute, rate, rate, kind=kind, kinds=("fast", "mid", "slow"), **options)


@pytest.fixture(scope="module")
def found() -> Plan:
    return hk.plan(
        fleet(), task(), goal=Goal(energy=0.2, most=30, power=Power(compute=5.0, upload=1.0)), simulate=20_000
    )


def test_the_best_is_on_the_curve_and_is_its_least(found: Plan):
    least = min(found.curve, key=lambda p: p.value)
    assert least.in_flight == found.in_flight
    assert least.throughput == pytest.approx(found.throughput)
    assert np.allclose(least.shares, found.best.shares) and np.isclose(sum(least.shares), 1.0)
    joules = [p.joules for p in found.curve]
    assert min(joules) == joules[0], "one job at a time takes the least energy"


def test_what_was_foretold_is_seen(found: Plan):
    assert found.broken == ()
    # 10,000 updates: a standard error of 1.2 % in throughput
    assert found.seen["best"].throughput == pytest.approx(found.throughput, rel=0.05)
    assert found.seen["best"].by_kind == pytest.approx(list(found.staleness.values()), rel=0.08)
    assert found.seen["best"].shares == pytest.approx(found.best.shares, rel=0.05)


def test_faster_links_and_smaller_messages_save_time(found: Plan):
    """Twice as fast everywhere is half the time; half of it is less than all of it."""
    told = {w.change: w.seconds for w in hk.plan(fleet(), task(), goal=Goal(most=40)).what_if}
    assert told["4 bits both ways"] < told["updates at 4 bits"] < told["updates at 8 bits"] < 1
    assert 0.5 < told["links twice as fast"] < 1 and 0.5 < told["processors twice as fast"] < 1
    assert {w.change for w in found.what_if} == set(told)


def test_the_plan_is_a_strategy_in_python_and_in_a_file(found: Plan, tmp_path: Path):
    run = hk.simulate(task(), fleet(), found.strategy(), hk.Until(updates=50))
    (tmp_path / "e.toml").write_text(
        '[task]\nkind = "sized"\nparameters = 1000\nclients = 30\nsamples = 10\n[fleet]\nkind = "synthetic"\n'
        "[until]\nupdates = 50\n" + strategy_toml(found)
    )
    written = load(tmp_path / "e.toml").strategy
    assert written.matching == run.strategy.matching and written.pacing == run.strategy.pacing


def test_the_page_says_what_was_found(found: Plan):
    drawn = {c.name: c for c in charts(found)}
    assert list(drawn) == ["who", "time", "routing", "staleness", "throughput", "energy", "predicted"]
    assert f"best: {found.in_flight}" in drawn["time"].wide
    text = page(found)
    assert all(f"<h3>{c.title}</h3>" in text for c in drawn.values())
    assert "links twice as fast" in text and f"{found.throughput:.4g}" in text and "{{" not in text


def test_the_command_writes_a_page_and_a_strategy(tmp_path: Path, capsys):
    (tmp_path / "e.toml").write_text(
        '[task]\nkind = "sized"\nparameters = 1000\nclients = 12\n[fleet]\nkind = "synthetic"\n[strategy]\n'
        'use = "asyncsgd"\n[until]\nupdates = 20\n'
    )
    out = tmp_path / "out"
    assert main(["plan", str(tmp_path / "e.toml"), "--simulate", "0", "--out", str(out), "--watts", "5,1,1"]) == 0
    said = capsys.readouterr().out
    assert "training times are deterministic; the formulas take them for exponential" in said
    assert (out / "plan.html").exists() and (out / "figures" / "energy.svg").exists()
    assert '"generalized_asyncsgd"' in (out / "strategy.toml").read_text()


def test_the_command_takes_devices_alone(tmp_path: Path, capsys):
    names = ("compute_s_per_sample", "down_bytes_per_s", "up_bytes_per_s")
    columns = dict(zip(names, ([0.01, 0.02, 0.05] * 4, [1e6] * 12, [5e5] * 12), strict=True))
    pq.write_table(pa.table(columns), tmp_path / "devices.parquet")
    file = str(tmp_path / "devices.parquet")
    assert main(["plan", file, "--simulate", "0", "--set", "task.parameters=1000"]) == 0
    said = capsys.readouterr().out
    assert "12 devices in 3 classes; 4.03 kB down" in said and "--most" not in said
    assert main(["plan", file, "--simulate", "0", "--set", "task.parameters=1000", "--most", "2"]) == 0
    assert "2 jobs in flight are the most that were tried; --most M looks further" in capsys.readouterr().out
    (tmp_path / "no.parquet").write_text("nothing")
    assert main(["plan", str(tmp_path / "no.parquet")]) == 2
    assert "no.parquet: cannot be read as devices" in capsys.readouterr().err


def test_devices_change_for_as_many():
    engine = prepare(Setup.of(task(), hk.strategies.asyncsgd(5), hk.Until(updates=9)), fleet()).engine
    with pytest.raises(InvalidInput, match="a fleet of 3 devices in place of 30; give as many"):
        engine.change(hk.Fleet.equal(3, 1.0, 1.0, 1.0))


def test_a_run_says_how_fast_devices_are(tmp_path: Path):
    """Calibrated from the log of a run on devices twice as fast as thought: nearly the plan with the true ones."""
    hk.simulate(
        task(), fleet(faster=2.0), hk.strategies.asyncsgd(CLIENTS), hk.Until(updates=3000), out=tmp_path / "run"
    )
    seen = hk.plan(fleet(), task(), history=tmp_path / "run", details=False)
    true = hk.plan(fleet(faster=2.0), task(), details=False)
    times, right = seen.calibration.times, true.calibration.times
    assert times.compute.mean() == pytest.approx(right.compute.mean(), rel=0.1)
    assert times.download == pytest.approx(right.download, rel=0.05)
    p = seen.routing[np.unique(true.calibration.classes, return_index=True)[1]]
    assert p == pytest.approx(true.routing[:3][np.argsort(true.calibration.classes[:3])], rel=0.2)
    assert seen.throughput == pytest.approx(true.throughput, rel=0.1)
    with pytest.raises(InvalidInput, match="give its own fleet"):
        small = hk.Task.sized(parameters=1000, clients=3, samples=10)
        hk.plan(hk.Fleet.equal(3, 0.01, 1e5, 1e5), small, history=tmp_path / "run", details=False)


def test_constants_are_those_of_a_problem_in_which_they_are_known():
    """Quadratics: sigma = 1, M and L by their definitions, within what 400 gradients say."""
    known = hk.reference_tasks.quadratics((10, 10), dim=20, spread=1.0, noise=1.0, seed=1)
    centres, h = known.learner._c, np.linspace(0.2, 1.0, 20)
    own = -h * centres
    found = learning(known, clients=20, batches=20)
    assert found.noise == pytest.approx(1.0, rel=0.05)
    assert found.gradient == pytest.approx(np.sqrt((own**2).sum(1).mean()), rel=0.05)
    assert found.dissimilarity == pytest.approx(np.sqrt(((own - own.mean(0)) ** 2).sum() / 19), rel=0.05)
    assert 0.2 < found.smoothness <= 1.01
    assert found.epsilon == pytest.approx(0.1 * (own.mean(0) ** 2).sum(), rel=0.35)
    assert found.gap == pytest.approx(known.learner.evaluate(np.zeros(20), "test")["loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("what", "options", "says"),
    [
        (hk.strategies.asyncsgd(5), {}, []),
        (hk.strategies.asyncsgd(5), {"compute_law": LogNormal(1.0)}, ["lognormal"]),
        (hk.strategies.asyncsgd(5), {"egress": 1e6, "links": "fifo"}, ["wait for each other", "share 1e+06 B/s"]),
        (hk.strategies.asyncsgd(5), {"failure": 0.1}, ["10.0% of the jobs are lost"]),
        (hk.strategies.fedbuff(buffer=3, in_flight=5), {}, ["buffer of 3", "passed over"]),
        (hk.strategies.asyncsgd(5, steps=4), {}, ["more than one gradient"]),
    ],
)
def test_what_does_not_hold_is_said(what: hk.Strategy, options: dict, says: list[str]):
    told = broken(Setup.of(task(), what, hk.Until(updates=1)), fleet(**options))
    assert len(told) == len(says) and all(s in t for s, t in zip(says, told, strict=True))


def test_the_loopback_plans_as_the_simulator_does():
    known = hk.reference_tasks.gaussian(clients=12, samples=20, held_out=20)
    devices = hk.Fleet.equal(12, 1e-4, 1e8, 1e8)
    done = run_loopback(known, devices, hk.strategies.time_optimal(in_flight=3), hk.Until(updates=30))
    assert done.summary["updates"] == 30 and done.summary["staleness"]["max"] >= 1
    with pytest.raises(InvalidInput, match="give a Fleet, not their number"):
        run_loopback(known, 12, hk.strategies.time_optimal(), hk.Until(updates=5))


def test_quadratics_are_what_they_say():
    known = hk.reference_tasks.quadratics((3, 5), seed=2)
    best = known.learner._c.mean(0).astype(np.float32)
    assert known.learner.evaluate(best, "test")["gradient"] == pytest.approx(0.0, abs=1e-9)
    run = hk.simulate(known, hk.Fleet.equal(8, 1.0, 1e9, 1e9), hk.strategies.fedavg(8, lr=1.0), hk.Until(steps=600))
    assert run.curve.points[-1].metrics["gradient"] < 0.01


def test_energy_without_watts_and_few_updates_are_refused():
    with pytest.raises(InvalidInput, match="--simulate 5: must be 100 or more"):
        hk.plan(fleet(), task(), simulate=5)
    with pytest.raises(InvalidInput, match="size-only; it has no gradients"):
        learning(task())


def test_a_simulation_that_is_too_short_for_a_device_says_so(monkeypatch):
    """A device at the far end of a slow link has not been heard of in the half that is thrown away."""
    monkeypatch.setattr(sys.modules["hocket.planning.plan"], "FEWEST", 100)
    slow = np.where(np.arange(CLIENTS) == 7, 500.0, 1e5)
    far = hk.Fleet(fleet().compute, slow, slow, compute_law=Exponential(), links="parallel")
    short, none, enough = (hk.plan(far, task(), goal=Goal(most=8), simulate=n, details=False) for n in (200, 0, None))
    assert short.unsettled is not None and short.unsettled[1:] in page(short) and none.unsettled is None
    need = int(short.unsettled.split()[-1].strip(")"))
    seconds = need / 2 / max(short.throughput, short.uniform.throughput)
    assert seconds == pytest.approx(short.calibration.times.longest, rel=0.01)
    assert enough.unsettled is None and need <= enough.simulated < 10_000


def test_a_model_that_goes_down_whole_asks_what_fewer_bits_would_buy():
    method = hk.compose(hk.strategies.asyncsgd(5), hk.Strategy("4 bits", task=hk.TaskPart(uplink=hk.uplink.Plain(hk.codec.QSGD(4)))))  # fmt: skip # noqa: E501
    assert "4 bits both ways" in {w.change for w in hk.plan(fleet(), task(), method, Goal(most=40)).what_if}
