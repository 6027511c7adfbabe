"""Small tasks with real learning, uneven fleets, and both drivers side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hocket import Fleet, Task, Until, reference_tasks, strategies
from hocket.events import Arrived
from hocket.fleet.law import Exponential
from hocket.learning import LocalSGD
from hocket.store import SQLiteStore, read
from hocket.store.journal import Journal, decode
from hocket.strategy import Strategy

CLIENTS = 16
METHODS: dict[str, Strategy] = {
    "fedavg": strategies.fedavg(5, overcommit=1.6),
    "fedavg-deadline": strategies.fedavg(6, overcommit=1.5, deadline=40.0),
    "fedavg-timeout": strategies.fedavg(4, timeout=30.0),
    "fedasync": strategies.fedasync(6),
    "fedbuff": strategies.fedbuff(3, 8),
    "fedbuff-limit": strategies.fedbuff(3, 9, staleness_limit=2),
    "asyncsgd": strategies.asyncsgd(10),
}


def gaussian(name: str = "gaussian", seed: int = 0, clients: int = CLIENTS) -> Task:
    local = LocalSGD(lr=0.1, batch_size=16, steps=6)
    return reference_tasks.gaussian(
        clients, classes=4, dim=8, samples=30, held_out=100, alpha=0.5, seed=seed, local=local, name=name
    )


@pytest.fixture(scope="session")
def task() -> Task:
    return gaussian()


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    return Fleet.synthetic(CLIENTS, seed=3, compute_law=Exponential(), latency=0.05)


@pytest.fixture
def until() -> Until:
    return Until(updates=60)


def entries(path: Path) -> list[tuple[int, Any]]:
    """Times and events of a journal that has no checkpoint, the header first."""
    return [(e.now, e.event) for e in (decode(r, "journal") for r in read(path).records)]


def rewrite(path: Path, records: Sequence[tuple[int, Any]]) -> Path:
    """A copy of a journal that says something else after its header; bodies stay with their lease."""
    found = list(read(path).records)
    header, *rest = (decode(r, "journal") for r in found)
    bodies = {e.event.lease: r.bodies[e.body] for e, r in zip(rest, found[1:], strict=True) if e.body}
    to = path.with_name(f"{path.name}-{len(list(path.parent.iterdir()))}")
    store = SQLiteStore(to)
    journal = Journal(store, header.event.run)
    journal.begin()
    for now, event in records:
        journal.append(now, event, bodies.get(event.lease, b"") if isinstance(event, Arrived) else b"")
    journal.sync()
    store.close()
    return to
