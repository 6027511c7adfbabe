"""Every policy meets every other one in a short training that runs to its end, and resumes bit for bit.

The compositions are a pairwise covering array over the registry (``tests/core/composition.py``).
"""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from msgspec import Struct

import hocket as hk
from hocket.errors import InvalidInput
from hocket.fleet.law import Exponential
from hocket.lease import Lease
from hocket.pacing import JointRounds
from hocket.policies import Facts
from hocket.setup import Setup
from hocket.simulation import checkpoint
from hocket.simulation.engine import Engine
from hocket.simulation.run import Simulation, prepare
from hocket.strategy import FullStrategy, FullTask, fill, policy, registry
from tests.core import composition

CLIENTS, UPDATES = 30, 300
COVERING = composition.cover(composition.axes())


@cache
def task() -> hk.Task:
    local = hk.LocalSGD(lr=0.05, batch_size=5, steps=2)
    return hk.reference_tasks.gaussian(CLIENTS, classes=3, dim=6, samples=12, held_out=50, local=local)


def fleet() -> hk.Fleet:
    """Uneven devices that sometimes fail."""
    return hk.Fleet.equal(CLIENTS, 0.1, 1e4, 5e3, compute_law=Exponential(), failure=0.03)


def ready(row: composition.Row, folder: Path) -> Simulation:
    until = hk.Until(updates=UPDATES)
    setup = Setup.of(task(), composition.strategy(row), until, evaluation=hk.Evaluation(every=5))
    return prepare(setup, fleet(), folder=folder, log=True)


def run(engine: Engine, slices: int | None = None) -> int:
    """Go on for so many slices of events, or to the end, and look at the server after each; how many there were."""
    done = 0
    while slices is None or done < slices:
        over = engine.run(40)
        engine.server.validate()
        done += 1
        if over:
            break
        assert done < 2000, "never comes to an end"
    return done


def label(row: composition.Row) -> str:
    return "-".join(composition.name(row[a]) for a, n in composition.axes().items() if len(n) > 1)


@pytest.mark.parametrize("row", COVERING.rows, ids=label)
def test_every_pair_trains_and_resumes(row: composition.Row, tmp_path: Path):
    sim = ready(row, tmp_path / "whole")
    stepped: list[int] = []
    step = sim.engine.book.step
    sim.engine.book.step = lambda name, keep: stepped.append((e := step(name, keep)).count) or e
    discarded: list[int] = []
    discard, shelves = sim.engine.book.discard, sim.engine.book.shelves

    def discarding(lease: int, name: str) -> None:
        discarded.extend(waiting.id for waiting, _ in shelves[name].pending if waiting.id == lease)
        discard(lease, name)

    sim.engine.book.discard = discarding
    slices = run(sim.engine)
    state = sim.engine.server.state
    (t,) = state.tasks.values()
    assert (state.finished, state.updates) == ("updates", UPDATES)
    assert sum(stepped) + len(discarded) + len(t.buffer) == t.accepted == UPDATES
    assert not discarded or row["pacing"] == JointRounds(late="finish"), "only what comes late is discarded"
    assert len(stepped) == t.version > 0
    x = sim.engine.book.model("gaussian")
    assert x is not None and np.isfinite(x).all() and x.any(), "the model has moved and is finite"
    totals = sim.engine.world.totals()
    spent = sum(totals[k] for k in ("critical", "prefetched", "overcommitted", "wasted"))
    assert totals["down"] == spent > 0, "bytes down are of some kind"

    half = ready(row, tmp_path / "half")
    run(half.engine, slices // 2)
    checkpoint.save(tmp_path / "half", half.engine, half.curve, half.name)
    again = ready(row, tmp_path / "half")
    assert checkpoint.load(tmp_path / "half", again.engine, again.curve, again.name)
    run(again.engine)
    assert again.engine.book.model("gaussian").tobytes() == x.tobytes()
    assert again.engine.server.snapshot() == sim.engine.server.snapshot()
    assert (again.engine.now, again.engine.world.totals()) == (sim.engine.now, totals)
    assert again.curve.points == sim.curve.points


@pytest.mark.parametrize("case", COVERING.refused, ids=lambda c: f"{composition.name(c[0])}-{composition.name(c[1])}")
def test_every_other_pair_is_refused_with_a_sentence_that_names_both(case):
    one, other, sentence = case
    for p in (one, other):
        assert str(p.__struct_config__.tag) in sentence, f"does not name {composition.name(p)}: {sentence}"
    assert sentence.startswith("strategy composed: ") and "use" in sentence


def test_the_array_meets_every_pair():
    found = composition.axes()
    met = set()
    for row in COVERING.rows:
        met |= composition.pairs({a: found[a].index(v) for a, v in row.items()})
    total = sum(len(found[a]) * len(found[b]) for a in found for b in found if a < b)
    assert len(met) + len(COVERING.refused) == total
    assert len(COVERING.rows) <= 2 * max(  # sub-models go with one downlink only, which takes more rows
        len(a) * len(b) for a in found.values() for b in found.values() if a is not b
    )


def test_every_registered_policy_is_in_it():
    for level, classes in registry.items():
        if level in composition.axes():  # codecs are met through the uplinks that use them; privacy: test_privacy.py
            seen = {type(row[level]) for row in COVERING.rows}
            assert seen == set(classes.values())


@pytest.fixture
def register() -> Iterator[Any]:
    """Put a policy in the registry for one test."""
    added = []

    def add(level: str, cls: type) -> None:
        policy(level)(cls)
        added.append((level, str(cls.__struct_config__.tag)))

    yield add
    for level, tag in added:
        del registry[level][tag]


class Odd(Struct, frozen=True, tag="odd", tag_field="kind"):
    """Refuses every other client."""

    strict: bool = False
    needs: ClassVar[tuple[str, ...]] = ()

    def admit(self, lease: Lease, facts: Facts) -> str | None:
        return "odd" if lease.client % 2 and self.strict else None

    def weigh(self, lease: Lease, staleness: int) -> float:
        return 1.0

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        if strategy.pacing.__struct_config__.tag == "windows":
            return "guard odd does not know windows; use another pacing or guard"
        return None


def test_a_new_policy_is_met_by_all_others_and_its_objection_is_kept(register, tmp_path):
    before = COVERING
    register("guard", Odd)
    covering = composition.cover(composition.axes())
    rows = [r for r in covering.rows if type(r["guard"]) is Odd]
    assert {r["guard"].strict for r in rows} == {False, True}
    assert {composition.name(r["merge"]) for r in rows} == {composition.name(r["merge"]) for r in before.rows}
    assert all(r["pacing"].__struct_config__.tag != "windows" for r in rows)
    new = [c for c in covering.refused if Odd in map(type, c[:2])]
    windows = sum(v.__struct_config__.tag == "windows" for v in composition.axes()["pacing"])
    assert len(new) == 2 * windows and all("odd" in c[2] and "windows" in c[2] for c in new)
    strict = next(r for r in rows if r["guard"].strict)
    sim = ready(strict, tmp_path)
    run(sim.engine)
    assert sim.engine.server.state.refused > 0


def test_a_tag_is_registered_once_and_a_level_exists():
    with pytest.raises(InvalidInput, match="optimizer 'sgd' is registered twice; choose another tag"):
        policy("optimizer")(type("Other", (Struct,), {}, tag="sgd"))
    with pytest.raises(InvalidInput, match="policy level 'pace': must be one of pacing, matching"):
        policy("pace")
    assert policy("optimizer")(hk.optimizer.SGD) is hk.optimizer.SGD


def test_importing_hocket_registers_every_level():
    """What an experiment file may name does not depend on what was run before."""
    code = "import hocket.strategy as s; print(sum(not policies for policies in s.registry.values()))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "0"


def test_what_nobody_set_is_the_plain_choice():
    full = fill(hk.Strategy(), ("a", "b"))
    tags = [str(getattr(full.tasks["a"], level).__struct_config__.tag) for level in ("merge", "optimizer", "guard")]
    assert (tags, full.attach) == (["mean_by_count", "sgd", "staleness"], "issue")
