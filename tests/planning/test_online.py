"""Plans asked for while a run goes on: the first one, later ones when devices change, and what they leave alone."""

from pathlib import Path

import numpy as np
import pytest

import hocket as hk
from hocket.errors import InvalidInput
from hocket.events import Planned
from hocket.fleet.law import Exponential, LogNormal
from hocket.queueing import Goal, Network, Power, Seconds, optimize, solve
from hocket.setup import Setup
from hocket.simulation import checkpoint
from hocket.simulation.engine import Engine
from hocket.simulation.run import Simulation, prepare

CLIENTS = 60
EXPONENTIAL = Exponential()


def task(clients: int = CLIENTS) -> hk.Task:
    local = hk.LocalSGD(lr=0.1, batch_size=10, steps=1)
    return hk.Task.sized(parameters=1000, clients=clients, samples=10, local=local)


def devices(compute: np.ndarray, law=EXPONENTIAL) -> hk.Fleet:
    rate = np.full(len(compute), 4028 / 0.2)
    return hk.Fleet(compute / 10, rate, rate, compute_law=law, links="parallel")


def uneven(clients: int = CLIENTS) -> np.ndarray:
    return 10.0 ** np.linspace(-1.5, 0.3, clients)


def ready(method: hk.Strategy, fleet: hk.Fleet, updates: int, folder: Path | None = None, seed: int = 0) -> Simulation:
    return prepare(Setup.of(task(), method, hk.Until(updates=updates), seed=seed), fleet, log=True, folder=folder)


def until(engine: Engine, updates: int) -> None:
    while engine.server.state.updates < updates and not engine.run(50):
        pass


def in_force(engine: Engine) -> tuple[np.ndarray, int, int]:
    """p, m, and how many plans there were."""
    memories = engine.server.state.memories
    return memories["matching"].routing.p, memories["pacing"].in_flight["task"], memories["matching"].plans


@pytest.mark.parametrize("name", ["time_optimal", "round_optimal", "max_throughput"])
def test_a_preset_takes_the_optimum_of_its_fleet(name: str):
    engine = ready(getattr(hk.strategies, name)(), devices(uneven()), 500).engine
    until(engine, 400)
    p, m, plans = in_force(engine)
    network = Network(uneven(), 0.2, 0.2)
    best = engine.server.strategy.matching.goal.best(network).solution
    assert (m, plans) == (best.in_flight, 1) and m == (CLIENTS if name != "time_optimal" else m)
    assert p == pytest.approx(best.routing, rel=1e-3)
    assert engine.server.state.tasks["task"].open == m


def test_the_least_energy_is_serial():
    """m = 1 and p_i as 1/sqrt(E_i)."""
    watts = Power(compute=5.0, upload=1.0)
    engine = ready(hk.strategies.energy_optimal(watts), devices(uneven()), 200).engine
    engine.run()
    p, m, _ = in_force(engine)
    joules = 5.0 * uneven() + 0.2
    assert m == 1 and p == pytest.approx(joules**-0.5 / (joules**-0.5).sum(), rel=1e-3)
    assert engine.ledger.staleness == {0: 200}


def test_energy_beside_time_takes_fewer_jobs():
    found = []
    for share in (0.0, 0.3, 1.0):
        method = hk.strategies.time_optimal(most=40, energy=share, power=Power(compute=5.0))
        engine = ready(method, devices(uneven()), 50).engine
        engine.run()
        found.append(in_force(engine)[1])
    assert found[0] > found[1] > found[2] == 1


def test_jobs_of_the_first_version_are_drawn_uniformly_and_later_ones_weigh_by_p():
    engine = ready(hk.strategies.time_optimal(in_flight=40), devices(uneven()), 50).engine
    engine.run(1)
    first = list(engine.server.view.leases.values())
    assert {(x.probability, x.weight) for x in first} == {(1 / CLIENTS, 1.0)}
    until(engine, 40)
    p = in_force(engine)[0]
    later = [x for x in engine.server.view.leases.values() if x.version > 0]
    assert later and all(x.probability == pytest.approx(p[x.client]) for x in later)
    assert all(x.weight * CLIENTS * x.probability == pytest.approx(1.0) for x in later)


@pytest.mark.parametrize("law", [Exponential(), LogNormal(1.0)], ids=["exponential", "lognormal"])
def test_devices_that_change_are_planned_for_anew(law):
    """The faster half becomes four times slower: at most 50 updates per client later the plan is within 10 %."""
    before, after = uneven(), uneven() * np.where(np.arange(CLIENTS) < CLIENTS // 2, 4.0, 1.0)
    engine = ready(hk.strategies.time_optimal(most=60, every=200), devices(before, law), 20_000).engine
    until(engine, 3000)
    assert in_force(engine)[2] <= (1 if isinstance(law, Exponential) else 3), "nothing has changed yet"
    engine.change(devices(after, law))
    until(engine, 3000 + 50 * CLIENTS)
    true = Network(after, 0.2, 0.2)
    p, m, plans = in_force(engine)
    assert plans > 1
    assert Seconds().at(solve(true, p, m)).value < 1.1 * optimize(true, Seconds(), (1, 200)).value


def test_leases_under_way_keep_their_probability_and_fewer_jobs_are_not_recalled():
    engine = ready(hk.strategies.time_optimal(in_flight=30), devices(uneven()), 500).engine
    until(engine, 100)
    kept = {i: (x.probability, x.weight) for i, x in engine.server.view.leases.items()}
    p = np.linspace(1, 2, CLIENTS)
    engine.server.handle(Planned("task", tuple(p / p.sum()), 5), engine.now)
    assert {i: (x.probability, x.weight) for i, x in engine.server.view.leases.items()} == kept
    until(engine, 400)
    assert len(engine.server.view.leases) == 5
    assert all(x.probability == pytest.approx((p / p.sum())[x.client]) for x in engine.server.view.leases.values())


def test_a_run_that_plans_again_resumes_bit_for_bit(tmp_path: Path):
    def start(name: str) -> Simulation:
        return ready(
            hk.strategies.time_optimal(most=60, every=250), devices(uneven(), LogNormal(2.5)), 1500, tmp_path / name
        )

    whole, half, again = start("whole"), start("half"), start("half")
    whole.engine.run()
    assert in_force(whole.engine)[2] > 1
    until(half.engine, 800)
    checkpoint.save(tmp_path / "half", half.engine, half.curve, half.name)
    assert checkpoint.load(tmp_path / "half", again.engine, again.curve, again.name)
    again.engine.run()
    assert again.engine.server.snapshot() == whole.engine.server.snapshot()
    assert again.engine.now == whole.engine.now


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hk.strategies.energy_optimal(), "no watts are given; set power"),
        (lambda: hk.strategies.time_optimal(energy=1.5), "energy = 1.5; its weight beside time is from 0 to 1"),
        (lambda: hk.strategies.time_optimal(most=0), "most = 0; give 1 or more"),
        (lambda: hk.strategies.time_optimal(every=-1), "every = -1"),
        (lambda: hk.strategies.time_optimal(buffer=0), "buffer = 0: must be 1 or more"),
        (lambda: Goal("rounds", energy=0.5, power=Power(1.0)), "it is weighed with time"),
        (lambda: Goal(floor=1.0), "floor = 1.0"),
        (lambda: Power(compute={"phone": -1.0}), "compute of phone is -1.0"),
        (lambda: Power(compute={"phone": 1.0}).joules(("tv",), [0], 1.0, 1.0, 1.0), "compute has no watts for tv"),
        (lambda: Power().joules(("tv",), [0], 1.0, 1.0, 1.0), "a job of a tv takes no energy"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()


def test_two_tasks_are_refused():
    tasks = [hk.Task.sized(name=n, parameters=10, clients=4) for n in "ab"]
    with pytest.raises(InvalidInput, match="matching planned: 2 tasks; its formulas are for one"):
        hk.simulate(tasks, hk.Fleet.equal(4, 1.0, 1.0, 1.0), hk.strategies.time_optimal(), hk.Until(updates=5))


def test_a_file_names_a_preset(tmp_path: Path):
    from hocket.experiment.document import load

    (tmp_path / "e.toml").write_text(
        '[task]\nkind = "sized"\nparameters = 100\nclients = 20\n[fleet]\nkind = "synthetic"\n[until]\nupdates = 50\n'
        '[strategy]\nuse = "time_optimal"\nenergy = 0.2\npower = { compute = 4.0 }\n'
        "learning = { noise = 1.0, dissimilarity = 2.0 }\n"
    )
    run = load(tmp_path / "e.toml").run()
    assert run.summary["updates"] == 50
