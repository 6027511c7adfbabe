"""T38: the privacy ledger counts every noisy step before its model leaves, and no crash makes it forget one."""

import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from hocket.faults.everywhere import Everywhere, record
from hocket.faults.stub import task
from hocket.faults.swarm import everything, plan
from hocket.faults.world import run
from hocket.fleet import Exponential, Fleet
from hocket.privacy import Gaussian
from hocket.service.host import Host
from hocket.setup import Setup
from hocket.strategies import fedbuff
from hocket.strategy import Strategy, TaskPart, compose
from hocket.until import Until
from tests.faults.conftest import Table

Make = Callable[..., Table]
SCALE = int(os.environ.get("HOCKET_FAULTS", "1"))  # of the long tests: 10 is what a release runs


def noisy(**given: float) -> Strategy:
    hidden = Strategy("noisy", task=TaskPart(privacy=Gaussian(**given)))
    return compose(fedbuff(3, 6, timeout=40.0), hidden)


def noisy_run(seed: int, updates: int, names: tuple[str, ...] = ("a",)) -> tuple[Setup, Fleet]:
    tasks, clients = [task(n, 12, seed) for n in names], 12
    fleet = Fleet.synthetic(clients, seed=seed, compute_law=Exponential(), latency=0.05)
    method = noisy(clip=0.5, noise=0.7, participations=4)
    return Setup.of(tasks, method, Until(updates=updates), seed=seed, measure=("finite",)), fleet


def test_t38_a_crash_anywhere_leaves_ledger_noise_and_model_as_they_were() -> None:
    """Every write, sync and message around noisy steps; what was released is what would have been."""
    for seed, names in ((0, ("a",)), (1, ("a", "b"))):
        setup, fleet = noisy_run(seed, 24, names)
        count = Everywhere(setup, record(setup, fleet, plan(seed)), every=7, seed=seed).run()
        assert count.recoveries == count.points > 200


def test_t38_the_ledger_never_counts_less_than_what_left() -> None:
    """I7 before every message of worlds with crashes, copies, late and lost updates, tasks that share clients."""
    for seed in range(6):
        setup, fleet = noisy_run(seed, 60, ("a",) if seed % 2 else ("a", "b"))
        outcome = run(setup, fleet, everything(seed))
        assert not outcome.violated and outcome.updates >= 60, f"seed {seed}: {outcome.violated}"


@pytest.mark.soak
def test_t38_the_ledger_in_a_thousand_worlds() -> None:
    for seed in range(1000 * SCALE):
        setup, fleet = noisy_run(seed, 60, ("a",) if seed % 2 else ("a", "b"))
        outcome = run(setup, fleet, plan(seed))
        assert not outcome.violated, f"seed {seed}: {outcome.violated}"


@pytest.mark.parametrize(
    ("owner", "attribute", "make"),
    [
        (Gaussian, "observe", lambda old: lambda self, state, fact, view, now: ()),  # the ledger counts nothing
        (Host, "commit", lambda old: lambda self: self._speak() or old(self)),  # it speaks, and then it syncs
    ],
)
def test_t38_a_ledger_that_counts_less_is_found_out(
    owner: Any, attribute: str, make: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, attribute, make(getattr(owner, attribute)))
    setup, fleet = noisy_run(0, 60)
    assert re.match("I7 ledger|I3 ack", run(setup, fleet, plan(3)).violated)


def test_t38_copies_late_and_lost_updates_spend_nothing_more(table: Make) -> None:
    t = table(noisy(clip=0.5, noise=0.7))
    updates = [t.update(w) for w in t.work()]
    for update in (*updates[:3], *updates[:3] * 5):
        t.send(update)
    t.restart()
    t.send(*updates[:3])
    spent, taken = t.host.server.state.memories["privacy.a"], t.host.book.shelves["a"].privacy
    assert spent.releases == 1 == t.host.server.state.tasks["a"].version
    assert taken is not None and taken.steps.sum() == 3 and taken.steps.max() == 1
