"""Seeds: whatever is drawn, every invariant holds, and the same seed is the same run to the last bit."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hocket import Fleet, Until, reference_tasks, strategies
from hocket.errors import InvalidInput
from hocket.faults.__main__ import main, one
from hocket.faults.outcome import Outcome
from hocket.faults.shrink import Case, shrink
from hocket.faults.stub import workload
from hocket.faults.swarm import RATES, Plan, everything, plan
from hocket.faults.world import World, run
from hocket.fleet import Renewal
from hocket.setup import Setup

FAST = 24
SCALE = int(os.environ.get("HOCKET_FAULTS", "1"))  # of the long tests: 10 is what a release runs
SOURCE = Path(__file__).parents[2] / "src"


def held(seed: int, updates: int = 80) -> Outcome:
    outcome = one(Case(seed), updates)
    assert not outcome.violated, f"seed {seed}: {outcome.violated}; python -m hocket.faults {seed}"
    assert outcome.finished == "updates" and outcome.updates >= updates
    return outcome


def test_t40_after_any_mix_of_faults_the_run_goes_on_to_its_end() -> None:
    outcomes = [held(seed, 60) for seed in range(FAST)]
    seen = set().union(*(o.faults for o in outcomes))
    kinds = {kind for rates in RATES.values() for kind in rates}
    assert len(seen) > 0.8 * len(kinds), f"never seen: {sorted(kinds - seen)}"
    assert sum(o.crashes for o in outcomes) > 30 and any(not o.classes for o in outcomes)


@pytest.mark.soak
def test_t40_ten_thousand_seeds() -> None:
    for seed in range(1000, 1000 + 10_000 * SCALE):
        held(seed)


def test_everything_at_once_at_full_strength() -> None:
    for seed in range(3):
        setup, fleet = workload(seed, 40)
        outcome = run(setup, fleet, everything(seed))
        assert not outcome.violated and outcome.updates >= 40, f"seed {seed}: {outcome.violated}"


def test_a_calm_world_has_no_faults_and_changes_nothing() -> None:
    for seed in range(2):
        setup, fleet = workload(seed, 40)
        outcomes = [run(setup, fleet, Plan(world, {}, (), 10)) for world in (1, 1)]
        assert outcomes[0] == outcomes[1]
        assert not outcomes[0].violated and not outcomes[0].faults and not outcomes[0].crashes


def test_m1_the_same_seed_gives_the_same_bytes_under_two_hash_seeds() -> None:
    code = (
        "import sys, msgspec; from hocket.faults.__main__ import one; from hocket.faults.shrink import Case\n"
        "sys.stdout.buffer.write(b''.join(msgspec.msgpack.encode(one(Case(s))) for s in range(3)))"
    )

    def bytes_under(hash_seed: str) -> bytes:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(SOURCE)}
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout

    first = bytes_under("1")
    assert first == bytes_under("2") == b"".join(msgspec.msgpack.encode(one(Case(s))) for s in range(3))
    assert len(first) > 1000


def test_the_oracles_change_nothing() -> None:
    for seed in (1, 3, 8):
        setup, fleet = workload(seed)
        watched, alone = run(setup, fleet, plan(seed)), run(setup, fleet, plan(seed), checks=False)
        assert watched == alone


def test_leaving_faults_out_leaves_the_others_as_they_are() -> None:
    whole = one(Case(8))
    crashes = frozenset(n for n in whole.happened if n.startswith("crash before"))
    some = one(Case(8, crashes))
    assert crashes and set(some.happened) <= crashes and not some.violated
    assert one(Case(8, frozenset())).faults == {}


def test_a_failure_is_shrunk_to_what_makes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A world that breaks at its second lost message is shrunk to two of them; the printed command shows it again."""

    def fragile(self: World) -> Outcome:
        outcome = original(self)
        broken = "broken" * (outcome.faults.get("message lost", 0) >= 2)
        return msgspec.structs.replace(outcome, violated=broken)

    original = World.run
    monkeypatch.setattr(World, "run", fragile)
    monkeypatch.setattr("hocket.faults.__main__.workload", lambda seed, updates: workload(seed, 10))
    seed = next(s for s in range(50) if "message lost" in plan(s).rates)
    assert main([str(seed)]) == 9
    command = capsys.readouterr().out.splitlines()[-1]
    case = Case.parse(command.split("'")[1], "test")
    assert case.only is not None and len(case.only) == 2 and all(n.startswith("message lost") for n in case.only)
    assert main([case.text()]) == 9


def test_shrinking_stops_at_its_number_of_tries() -> None:
    tried: list[frozenset[str]] = []

    def fails(names: frozenset[str]) -> bool:
        tried.append(names)
        return False

    names = [f"a:{i}" for i in range(100)]
    assert shrink(names, fails, tries=20) == names and len(tried) <= 20


def test_tasks_that_learn_and_reach_their_targets_one_after_the_other() -> None:
    tasks = [reference_tasks.gaussian(clients=20, samples=40, name=n, seed=i) for i, n in enumerate("ab")]
    until = Until(updates=1500, tasks={"a": Until(accuracy=0.5), "b": Until(accuracy=0.62)})
    for seed in range(3):
        fleet = Fleet.synthetic(20, seed=seed, latency=0.05, failure=0.05, dropout=0.05)
        setup = Setup.of(tasks, strategies.fedbuff(4, 8), until, seed=seed, measure=("finite",))
        outcome = run(setup, fleet, everything(seed))
        assert not outcome.violated and outcome.finished == "target", f"seed {seed}: {outcome.violated}"
        assert outcome.crashes and outcome.lost


def test_a_fleet_that_comes_and_goes_is_refused_by_name() -> None:
    setup, _ = workload(0)
    fleet = Fleet.synthetic(len(setup.tasks["a"].samples), seed=0, availability=Renewal(on=10.0, off=10.0))
    with pytest.raises(InvalidInput, match=r"fleet\.availability = Renewal"):
        World(setup, fleet, plan(0))
