"""A journal replays to the digest of the run that wrote it, and the first difference is named."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from hocket import Evaluation, Fleet, InvalidInput, Task, Until, strategies
from hocket import events as on
from hocket.errors import Differs
from hocket.service.clock import ScriptedClock
from hocket.service.loopback import run_loopback
from hocket.setup import Setup
from hocket.simulation.replay import replay
from hocket.store.journal import End
from tests.service.conftest import CLIENTS, METHODS, entries, gaussian, rewrite

FACTS = ("finite", "norm")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_replay_comes_to_the_same_digest(
    name: str, real: bool, task: Task, fleet: Fleet, until: Until, path: Path
) -> None:
    clock = None if real else ScriptedClock(fleet, 4)
    lived = run_loopback(task, fleet, METHODS[name], until, seed=4, clock=clock, measure=FACTS, journal=path, workers=4)
    again = replay(path, Setup.of(task, METHODS[name], until, seed=4, measure=FACTS))
    assert again.digest == lived.digest and again.closed
    assert again.server.snapshot() == lived.snapshot
    assert again.server.finished == "updates"
    assert np.array_equal(again.book.model("gaussian"), lived.models["gaussian"])  # type: ignore[arg-type]
    assert again.events == len(entries(path)) - 2
    kinds = {type(e) for _, e in entries(path)}
    assert {on.Measured, on.Stepped, on.Evaluated, on.Durable, End} <= kinds


def test_two_tasks_and_failures_replay(fleet: Fleet, path: Path) -> None:
    both = [gaussian("one"), gaussian("two", seed=5)]
    sick = both[1].learner

    class Unwell:
        def __getattr__(self, name: str) -> Any:
            return getattr(sick, name)

        def train(self, jobs: Any) -> Any:
            if jobs[0].client % 5 == 0:
                raise ValueError("no")
            return sick.train(jobs)  # type: ignore[union-attr]

    method, until = strategies.fedbuff(3, 5), Until(updates=80)
    lived = run_loopback(
        [both[0], msgspec.structs.replace(both[1], learner=Unwell())], CLIENTS, method, until, journal=path
    )
    assert lived.summary["lost"] > 0
    assert replay(path, Setup.of(both, method, until)).digest == lived.digest


def test_an_unfinished_journal_replays_as_far_as_it_goes(task: Task, fleet: Fleet, until: Until, path: Path) -> None:
    run_loopback(task, fleet, METHODS["fedbuff"], until, clock=ScriptedClock(fleet), journal=path)
    whole = entries(path)[1:]
    for length in (0, 1, 40, len(whole) - 1):
        copy = rewrite(path, whole[:length])
        again = replay(copy, Setup.of(task, METHODS["fedbuff"], until))
        assert not again.closed and again.events == length
        again.server.validate()


def changed(record: tuple[int, Any]) -> tuple[int, Any]:
    """A record with another result or another fact from outside."""
    now, e = record
    match e:
        case on.Measured():
            return now, on.Measured(e.lease, {**e.facts, "norm": float(np.nextafter(e.facts["norm"], 9))})
        case on.Stepped():
            return now, msgspec.structs.replace(e, facts={**e.facts, "norm": e.facts["norm"] + 1e-9})
        case on.Evaluated():
            return now, msgspec.structs.replace(e, metrics={**e.metrics, "accuracy": 0.5000001})
        case End():
            return now, End("0" * 32)
    raise AssertionError(f"{e} is not changed here")


@pytest.mark.parametrize("kind", [on.Measured, on.Stepped, on.Evaluated, End])
def test_the_first_record_that_differs_is_named(kind: type, task: Task, fleet: Fleet, until: Until, path: Path) -> None:
    method = METHODS["fedavg"]
    run_loopback(task, fleet, method, until, clock=ScriptedClock(fleet), measure=FACTS, journal=path)
    records = entries(path)[1:]
    at = next(i for i, (_, e) in enumerate(records) if type(e) is kind)
    for i in range(at, len(records)):
        if type(records[i][1]) is kind:
            records[i] = changed(records[i])
    copy = rewrite(path, records)
    with pytest.raises(Differs, match=rf"record {at + 2}: "):
        replay(copy, Setup.of(task, method, until, measure=FACTS))


def test_missing_and_extra_results_are_noticed(task: Task, fleet: Fleet, until: Until, path: Path) -> None:
    method = METHODS["fedavg"]
    run_loopback(task, fleet, method, until, clock=ScriptedClock(fleet), journal=path)
    whole = entries(path)[1:]
    at = next(i for i, (_, e) in enumerate(whole) if type(e) is on.Stepped)
    copy = rewrite(path, [*whole[: at + 1], *whole[at:]])
    with pytest.raises(Differs, match=rf"record {at + 3}: .*has not asked for it"):
        replay(copy, Setup.of(task, method, until))
    last = max(i for i, (_, e) in enumerate(whole) if type(e) is on.Evaluated)
    copy = rewrite(path, [*whole[:last], *whole[last + 1 :]])
    with pytest.raises(Differs, match="still to come"):
        replay(copy, Setup.of(task, method, until))
    first = next(i for i, (_, e) in enumerate(whole) if type(e) is on.Fetched)
    now, e = whole[first]
    copy = rewrite(path, [*whole[:first], (now, msgspec.structs.replace(e, size=1)), *whole[first + 1 :]])
    with pytest.raises(Differs, match=r"the run ended in state .{32}; replayed, it is"):
        replay(copy, Setup.of(task, method, until))


def test_a_journal_of_another_run_is_refused(task: Task, fleet: Fleet, until: Until, path: Path) -> None:
    run_loopback(task, fleet, METHODS["fedbuff"], until, clock=ScriptedClock(fleet), journal=path)
    for change in (
        {"seed": 1},
        {"measure": FACTS},
        {"evaluation": Evaluation(every=2)},
        {"until": Until(updates=61)},
        {"method": METHODS["fedavg"]},
        {"task": msgspec.structs.replace(task, objective="samples")},
    ):
        options: dict[str, Any] = {"task": task, "method": METHODS["fedbuff"], "until": until, **change}
        with pytest.raises(InvalidInput, match="belongs to another run"):
            replay(path, Setup.of(**options))
