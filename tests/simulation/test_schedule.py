"""Tasks that come, pause, go and change while the run goes on: budgets, cancelled work, exact resume, both drivers."""

from pathlib import Path

import numpy as np
import pytest

import hocket as hk
from hocket.experiment import parse
from hocket.record.log import KINDS
from hocket.service.clock import ScriptedClock
from hocket.service.loopback import run_loopback
from hocket.setup import Setup
from hocket.simulation import checkpoint
from hocket.simulation.run import Simulation, prepare

CLIENTS = 12
SCHEDULE = (
    hk.Change(20.0, "c", "add"),
    hk.Change(40.0, "a", "pause"),
    hk.Change(60.0, "a", "add"),
    hk.Change(80.0, "b", "end"),
    hk.Change(90.0, "a", cost=3.0),
)


def task(name: str) -> hk.Task:
    local = hk.LocalSGD(lr=0.05, batch_size=5, steps=2)
    return hk.reference_tasks.gaussian(CLIENTS, classes=3, dim=6, samples=12, held_out=50, local=local, name=name)


TASKS = [task(n) for n in "abc"]
FLEET = hk.Fleet.equal(CLIENTS, 0.2, 1e4, 5e3, compute_law=hk.fleet.Exponential())
FEDAST = hk.strategies.fedast(24, 4, allocation="static")


def ready(method: hk.Strategy = FEDAST, folder: Path | None = None, until: float = 120.0, **options) -> Simulation:
    options = {"schedule": SCHEDULE, "evaluation": hk.Evaluation(every=5), **options}
    setup = Setup.of(TASKS, method, hk.Until(time=until), seed=3, **options)
    return prepare(setup, FLEET, log=True, folder=folder)


def test_budgets_follow_who_is_there() -> None:
    """R is dealt to the tasks that take work, at every event; nobody gets work that is paused, absent or over."""
    sim = ready()
    state = sim.engine.server.state
    memory = state.memories["pacing"]
    expected = [(20, (12, 12, 0)), (40, (8, 8, 8)), (60, (0, 12, 12)), (80, (8, 8, 8)), (120, (12, 0, 12))]
    given = {n: 0 for n in "abc"}
    while not sim.engine.run(1):
        sim.engine.server.validate()
        now = sim.engine.now / 1e9
        for name, t in state.tasks.items():
            new = sum(t.ordinals)
            assert new == given[name] or t.status == "active", f"{name} got work at {now} while {t.status}"
            given[name] = new
        budget = next(b for until, b in expected if now < until)
        if all(abs(now - until) > 2 for until, _ in expected):
            assert tuple(memory.budget.values()) == budget, now
            assert sum(t.open for t in state.tasks.values()) == 24, "all requests are out"
    assert state.tasks["b"].open == 0 and state.tasks["b"].status == "ended"
    kinds = [KINDS[k] for k in sim.engine.log.table()["kind"].to_pylist()]
    assert [k for k in kinds if k.startswith("task_")] == [
        "task_paused", "task_added", "task_paused", "task_added", "task_ended"
    ]  # fmt: skip
    assert kinds.count("cancelled") >= 1, "the ended task's requests are cancelled"


def test_a_client_queues_jobs_of_three_tasks() -> None:
    """The event log shows it, and the story of that client reads so."""
    sim = ready()
    rows = sim.engine.log.table
    sim.engine.run()
    table = rows().to_pydict()
    held: dict[int, set[tuple[int, int]]] = {}
    most = 0
    for kind, of, client, lease in zip(*(table[c] for c in ("kind", "task", "client", "lease")), strict=True):
        name = KINDS[kind]
        if name == "assigned":
            held.setdefault(client, set()).add((lease, of))
        elif name in ("arrived", "cancelled"):
            held[client] = {x for x in held[client] if x[0] != lease}
        most = max([most, *(len({t for _, t in h}) for h in [held.get(client, ())])])
    assert most == 3


def test_a_run_with_a_schedule_resumes_bit_for_bit(tmp_path: Path) -> None:
    """Stopped before, amid and after the changes."""
    method = hk.strategies.fedast(24, 4, period=0.5)
    whole = ready(method, tmp_path / "whole")
    events = 0
    while not whole.engine.run(50):
        events += 1
    for part in (0.05, 0.3, 0.55, 0.8, 0.95):
        folder = tmp_path / str(part)
        half = ready(method, folder)
        for _ in range(int(part * events)):
            half.engine.run(50)
        checkpoint.save(folder, half.engine, half.curve, half.name)
        again = ready(method, folder)
        assert checkpoint.load(folder, again.engine, again.curve, again.name)
        again.engine.run()
        assert again.engine.server.snapshot() == whole.engine.server.snapshot()
        assert again.engine.log.table().equals(whole.engine.log.table())
        for n in "abc":
            assert again.engine.book.model(n).tobytes() == whole.engine.book.model(n).tobytes()


def test_work_that_becomes_harder_takes_longer() -> None:
    """A change of cost holds for jobs that begin later, and changes nothing that is learned until then."""
    slow = ready(schedule=(hk.Change(60.0, "a", cost=4.0),))
    plain = ready(schedule=())
    for sim in (slow, plain):
        sim.engine.run()
    a, b = (s.engine.log.table().to_pylist() for s in (slow, plain))
    before = [[row for row in rows if row["time_ns"] < 60e9] for rows in (a, b)]
    assert before[0] and before[0] == before[1]
    arrived = KINDS.index("arrived")
    late = [sum(row["time_ns"] > 70e9 and row["kind"] == arrived for row in rows) for rows in (a, b)]
    assert late[0] < 0.8 * late[1], "a task of four times the work holds everybody up"


def test_the_other_driver_follows_the_same_schedule() -> None:
    """Scripted, a loopback run is the simulated one, row by row and bit by bit."""
    until, changes = hk.Until(time=120.0), SCHEDULE[:4]
    options = {"seed": 3, "schedule": changes}
    simulated = hk.simulate(TASKS, FLEET, FEDAST, until, log=True, **options)
    real = run_loopback(TASKS, FLEET, FEDAST, until, clock=ScriptedClock(FLEET, 3), workers=2, **options)
    assert real.log.table().equals(simulated.log.table())
    assert all(np.array_equal(x, real.models[n]) for n, x in simulated.models.items())
    with pytest.raises(hk.InvalidInput, match="schedule: the cost of task 'a' is its devices' own"):
        run_loopback(TASKS, FLEET, FEDAST, until, clock=ScriptedClock(FLEET, 3), schedule=SCHEDULE)


def test_a_journal_belongs_to_its_schedule(tmp_path: Path) -> None:
    """Another schedule is another run."""
    changes = (hk.Change(0.01, "c", "add"), hk.Change(1.0, "b", "end"))
    options = {"schedule": changes, "journal": tmp_path / "journal"}
    first = run_loopback(TASKS, CLIENTS, FEDAST, hk.Until(time=60.0, updates=40), **options)
    assert first.summary["updates"] == 40
    fresh = Setup.of(TASKS, FEDAST, hk.Until(updates=9), schedule=changes)
    other = Setup.of(TASKS, FEDAST, hk.Until(updates=9))
    assert fresh.digest() != other.digest(), "a journal belongs to its schedule"


def test_ask_and_tell() -> None:
    """The same without a driver: a paused task gives no jobs, an ended one takes no updates."""
    core = hk.Core(TASKS, hk.strategies.fedast(6, 2, allocation="static"), clients=range(CLIENTS))
    jobs = core.ask(now=0.0)
    assert {j.task for j in jobs} == {"a", "b", "c"}
    core.pause("a", now=1.0)
    core.end("b", now=1.0)
    zero = {n: np.zeros_like(v) for n, v in jobs[0].start.items()}
    assert not core.tell(next(j.lease for j in jobs if j.task == "b"), zero, 1, now=2.0).accepted
    assert core.tell(next(j.lease for j in jobs if j.task == "a"), zero, 1, now=2.0).accepted
    assert {j.task for j in core.ask(now=2.0)} == {"c"}
    core.add("a", now=3.0)
    for j in [j for j in jobs if j.task == "c"]:
        core.tell(j.lease, zero, 1, now=4.0)
    assert "a" in {j.task for j in core.ask(now=4.0)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"at": 1.0, "task": "z", "do": "end"}, "schedule: no task 'z'; this run has x, y"),
        ({"at": -1.0, "task": "x", "do": "end"}, r"schedule.*at = -1.0: must be from 0"),
        ({"at": 1.0, "task": "x"}, "schedule.*nothing changes for task 'x' at 1.0 s; give do or cost"),
        ({"at": 1.0, "task": "x", "cost": 0.0}, "schedule.*cost = 0.0: must be above 0"),
        ({"at": 1.0, "task": "x", "do": "stop"}, "schedule.*do"),
    ],
)
def test_a_wrong_change_is_one_line(change, message) -> None:
    with pytest.raises(hk.InvalidInput, match=message) as error:
        tree([change])
    assert "\n" not in str(error.value)


def test_an_experiment_file_has_a_schedule() -> None:
    """It is in the resolved file, which means the same; nothing happens to a task after its end."""
    e = tree([{"at": 5.0, "task": "y", "do": "end"}, {"at": 2.0, "task": "y", "do": "add"}])
    assert [c.at for c in e.schedule] == [2.0, 5.0]
    again = parse(e.table)
    assert again.schedule == e.schedule and again.toml() == e.toml()
    with pytest.raises(hk.InvalidInput, match=r"task 'y' is over before 3\.0 s"):
        tree([{"at": 2.0, "task": "y", "do": "end"}, {"at": 3.0, "task": "y", "do": "add"}])
    run = e.run()
    assert run.summary["updates"] == 60


def tree(schedule: list) -> "hk.experiment.Experiment":
    small = {"kind": "gaussian", "samples": 20, "held_out": 100}
    return parse(
        {
            "tasks": {"x": small, "y": small},
            "fleet": {"kind": "synthetic", "clients": 12},
            "strategy": {"use": "fedast", "in_flight": 8, "ratio": 2},
            "until": {"updates": 60},
            "schedule": schedule,
        }
    )
