"""Compositions, codecs, worlds and schedules drawn at random: they run to their end, go on from any moment and count.

Where the composition matrix (``tests/core/test_matrix.py``) meets every pair of policies in one world, this draws
everything at once: several tasks with parts of their own, every codec, links, laws, availability and faults, tasks that
come and go. What is drawn is a function of a number, so a failure can be run again alone.
"""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import Struct
from msgspec.structs import replace

import hocket as hk
from hocket.errors import HocketError, InvalidInput
from hocket.fleet import Diurnal, Exponential, HalfNormal, Renewal
from hocket.record.ledger import Ledger
from hocket.record.summary import summarise
from hocket.service.clock import ScriptedClock
from hocket.service.loop import Loop
from hocket.service.loopback import run_loopback
from hocket.setup import Setup
from hocket.simulation import checkpoint
from hocket.simulation.run import Simulation, prepare
from hocket.strategy import FLEET, OPTIONAL, PER_TASK, Strategy, TaskPart, registry
from tests.core import composition

CLIENTS, UPDATES = 12, 90
AXES = composition.axes()
LOCAL = hk.LocalSGD(lr=0.05, batch_size=5, steps=2)
TASKS = [
    hk.reference_tasks.gaussian(CLIENTS, classes=3, dim=d, samples=12, held_out=50, local=LOCAL, name=name)
    for name, d in (("a", 6), ("b", 4), ("c", 3))
]


class Case(Struct):
    """One run, and the seed from which the moments of its interruptions are drawn."""

    setup: Setup
    fleet: hk.Fleet


def tag(policy: Any) -> str:
    return str(policy.__struct_config__.tag)


def part(rng: random.Random) -> TaskPart:
    """Policies of a task, mostly such as go together."""
    drawn = {level: rng.choice(AXES[level]) for level in PER_TASK}
    if tag(drawn["submodel"]) != "whole":
        for level, among in (("downlink", "bands hidden_bands"), ("uplink", "banded plain")):
            drawn[level] = rng.choice([p for p in AXES[level] if tag(p) in among.split()])
        drawn["merge"] = rng.choice([p for p in AXES["merge"] if tag(p).startswith("masked")])
    for level in ("downlink", "uplink"):
        codec = rng.choice(list(registry["codec"].values()))
        if "codec" in drawn[level].__struct_fields__ and rng.random() < 0.6:
            drawn[level] = type(drawn[level])(codec())
    return TaskPart(**drawn)


def strategy(rng: random.Random, names: list[str]) -> Strategy:
    fleet = {level: rng.choice(AXES[level]) for level in (*FLEET, "attach")}
    if "timeout" in fleet["pacing"].__struct_fields__ and rng.random() < 0.7:
        fleet["pacing"] = replace(fleet["pacing"], timeout=rng.choice([5.0, 30.0]))
    return Strategy("drawn", **fleet, tasks={n: part(rng) for n in names})


def world(rng: random.Random) -> hk.Fleet:
    """Uneven devices."""
    laws, draw = [hk.fleet.Deterministic(), Exponential(), HalfNormal()], np.random.default_rng(rng.getrandbits(32))
    available = [
        hk.fleet.Always(), Renewal(on=8.0, off=3.0), Renewal(on=2.0, off=1.0), Diurnal(0.3, 0.9, 40.0, jitter=1.0)
    ]  # fmt: skip
    return hk.Fleet(
        compute=0.1 * draw.lognormal(0, 1, CLIENTS),
        down=rng.choice([3e2, 1e3, 1e4]) * draw.lognormal(0, 1.2, CLIENTS),
        up=1e3 * draw.lognormal(0, 1, CLIENTS),
        latency=np.full(CLIENTS, rng.choice([0.0, 0.3])),
        compute_law=rng.choice(laws), down_law=rng.choice(laws), up_law=rng.choice(laws),
        links=rng.choice(["fifo", "parallel"]), availability=rng.choice(available), failure=rng.choice([0.0, 0.05]),
        dropout=rng.choice([0.0, 0.0, 0.05]), egress=rng.choice([None, None, 3e3]),
    )  # fmt: skip


def plain(fleet: hk.Fleet) -> hk.Fleet:
    """Without what real devices have of their own: presence, faults, a shared link."""
    return replace(fleet, availability=hk.fleet.Always(), failure=0.0, dropout=0.0, egress=None)


def changes(rng: random.Random, names: list[str]) -> list[hk.Change]:
    """What happens to the tasks but the first."""
    out = []
    for name in names[1:]:
        at = rng.uniform(0, 20)
        out += {
            "none": [], "cost": [hk.Change(at, name, cost=3.0)], "add": [hk.Change(at, name, "add")],
            "pause": [hk.Change(at, name, "pause"), hk.Change(at + 5, name, "add")],
            "end": [hk.Change(at, name, "end")],
        }[rng.choice(["none", "cost", "add", "pause", "end"])]  # fmt: skip
    return out


def case(number: int, real: bool = False) -> Case:
    """The first draw that is not refused; whatever is refused is refused in one line.

    ``real``: of what real devices can do.
    """
    rng = random.Random(number)
    tasks = TASKS[: rng.choice([1, 1, 2, 3])]
    names = [t.name for t in tasks]
    while True:
        try:
            setup = Setup.of(
                tasks, strategy(rng, names), hk.Until(updates=UPDATES), seed=rng.choice([number, 2**64 - 1 - number]),
                evaluation=hk.Evaluation(every=rng.choice([1, 5]), subject=rng.choice(["published", "kept"])),
                schedule=changes(rng, names),
            )  # fmt: skip
            fleet = plain(world(rng)) if real else world(rng)
            if real and any(c.cost is not None for c in setup.schedule):
                continue
            prepare(setup, fleet)
        except InvalidInput as error:
            assert "\n" not in str(error)
        else:
            return Case(setup, fleet)


def drive(sim: Simulation, slices: int | None = None) -> tuple[int, str]:
    """Go on for so many slices of events, or to the end; how many there were, and what ended them."""
    done = 0
    while slices is None or done < slices:
        try:
            over = sim.engine.run(7)
        except HocketError as error:
            return done, f"{type(error).__name__}: {error}"
        done += 1
        sim.engine.server.validate()
        if over:
            return done, "over"
        assert done < 6000, "never comes to an end"
    return done, "stopped"


def outcome(sim: Simulation) -> tuple[Any, ...]:
    engine = sim.engine
    models = {n: engine.book.model(n).tobytes() for n in sim.tasks}
    summary = summarise(
        engine.server, engine.ledger, engine.totals(), sim.curve, engine.now, hk.Until(updates=UPDATES), 0
    )
    return models, engine.server.snapshot(), engine.now, summary, sim.curve.points


def check(number: int, folder: Path, patch: pytest.MonkeyPatch) -> None:
    drawn = case(number)
    whole = prepare(drawn.setup, drawn.fleet, folder=folder / "whole", log=True)
    opened: dict[Any, int] = {}
    count = Ledger.open_edge
    with patch.context() as context:
        context.setattr(
            Ledger, "open_edge", lambda s, e: (opened.setdefault((e.target, e.source, e.band), e.size), count(s, e))
        )
        slices, how = drive(whole)
    left = outcome(whole)
    moved = left[3]["bytes"]
    assert moved["published"] == sum(opened.values())
    assert moved["down"] == sum(moved[k] for k in ("critical", "prefetched", "overcommitted", "wasted"))
    assert min(moved.values()) >= 0 and moved["refused"] <= moved["up"]
    for name, shelf in whole.engine.book.shelves.items():
        at_work = [w.node or w.lease for w in whole.engine.world.work.values()]
        read = [x.version for x in (*at_work, *(lease for lease, _ in shelf.pending)) if x.task == name]
        assert shelf.readers == {v: read.count(v) for v in read}, "what nobody will read is let go"

    rng, done = random.Random(number), 0
    for stop in sorted(rng.choices(range(1, max(slices, 2)), k=2)):
        half = prepare(drawn.setup, drawn.fleet, folder=folder / "half", log=True)
        checkpoint.load(folder / "half", half.engine, half.curve, half.name)
        drive(half, stop - done)
        checkpoint.save(folder / "half", half.engine, half.curve, half.name)
        done = stop
    again = prepare(drawn.setup, drawn.fleet, folder=folder / "half", log=True)
    assert checkpoint.load(folder / "half", again.engine, again.curve, again.name)
    eager = prepare(drawn.setup, drawn.fleet, log=True, eager=True)
    for other in (again, eager):
        assert drive(other)[1] == how
        assert outcome(other) == left
        assert other.engine.log.table().equals(whole.engine.log.table())


@pytest.mark.parametrize("number", range(8))
def test_what_is_drawn_runs_resumes_and_counts(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(number, tmp_path, monkeypatch)


def check_real(number: int, patch: pytest.MonkeyPatch) -> None:
    """Devices that decode what they are sent do what the simulation says; none refuses what it is sent."""
    drawn, failed = case(number, real=True), []
    fail = Loop._fail
    patch.setattr(Loop, "_fail", lambda *args: (failed.append(args[-1]), fail(*args)))
    s = drawn.setup
    simulated = prepare(s, drawn.fleet, log=True)
    _, how = drive(simulated)
    if how != "over":
        return
    real = run_loopback(
        list(s.tasks.values()), drawn.fleet, given(s), s.until, seed=s.seed, evaluation=s.evaluation,
        schedule=s.schedule, clock=ScriptedClock(drawn.fleet, s.seed), workers=1,
    )  # fmt: skip
    assert not failed
    assert real.log.table().equals(simulated.engine.log.table())
    models, snapshot, _, summary, points = outcome(simulated)
    assert {n: x.tobytes() for n, x in real.models.items()} == models
    assert real.snapshot == snapshot and real.curve.points == points
    assert {**real.summary, "seed": 0} == summary


def given(s: Setup) -> Strategy:
    """A strategy with every part set, as one that leaves nothing to fill."""
    f = s.strategy
    parts = {n: TaskPart(**{level: getattr(t, level) for level in (*PER_TASK, *OPTIONAL)}) for n, t in f.tasks.items()}
    return Strategy(f.name, f.pacing, f.matching, f.prefetch, f.attach, tasks=parts)


@pytest.mark.parametrize("number", [*range(4), 65, 177])
def test_real_devices_do_what_the_simulation_says(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_real(number, monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(100, 400))
def test_many_real_devices(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    check_real(number, monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(100, 400))
def test_many_are_drawn(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(number, tmp_path, monkeypatch)
