"""A run that was killed anywhere recovers to the state it had, and goes on to its end."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hocket import Fleet, Task, Until
from hocket import events as on
from hocket.book import Book
from hocket.errors import Differs, StoreFailed
from hocket.received import Received
from hocket.record.account import Account
from hocket.record.curve import Curve
from hocket.record.ledger import Ledger
from hocket.service.clock import ScriptedClock
from hocket.service.loop import Loop
from hocket.service.loopback import run_loopback
from hocket.setup import Setup
from hocket.simulation.replay import carry_on, replay
from hocket.snapshot import pack
from hocket.store import SQLiteStore, read
from hocket.store.journal import Journal, decode
from hocket.store.recovery import recover
from tests.service.conftest import METHODS, entries

FACTS = ("finite",)


def arithmetic(book: Book) -> bytes:
    """A book's memory but for the paths that a downlink found already, which devices ask for."""
    return pack({t: replace(shelf, downlink=None) for t, shelf in book.shelves.items()})


class Camera:
    """Takes a picture of the journal, and of server, book and accounts, after some commits of a live run."""

    def __init__(self, path: Path, every: int = 1) -> None:
        self.path, self.every = path, every
        self.shots: list[tuple[Path, bytes, bytes, Any]] = []
        self.commits = 0

    def __call__(self, loop: Loop) -> None:
        assert loop.journal is not None
        loop.journal.sync()
        self.commits += 1
        if self.commits % self.every == 0:
            to = self.path.with_name(f"{self.path.name}-{self.commits}")
            shutil.copytree(self.path, to, ignore=shutil.ignore_patterns("*-shm"))
            curve = [(p.time_ns, p.metrics) for p in loop.account.curve.points]
            counts = {i: (x.down, x.up) for i, x in loop.account.open.items()}
            live = (loop.now, curve, counts, sorted(loop.received.sent))
            self.shots.append((to, loop.server.snapshot(), arithmetic(loop.book), live))


@pytest.fixture
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Camera:
    camera, acknowledge = Camera(tmp_path / "journal"), Loop._acknowledge

    def watched(loop: Loop) -> None:
        if loop.server.state.unacknowledged:
            camera(loop)
        acknowledge(loop)

    monkeypatch.setattr(Loop, "_acknowledge", watched)
    return camera


def recovered(path: Path, task: Task, method: Any, until: Until, seed: int = 4) -> tuple[Any, Any, Any, Any]:
    setup = Setup.of(task, method, until, seed=seed, measure=FACTS)
    received = Received(setup.strategy.tasks, setup.tasks)
    server, book = setup.build(received, journaled=True)
    at = recover(read(path), setup, server, book, received, Account(Curve(), Ledger()))
    return server, book, received, at


@pytest.mark.parametrize("checkpoint", [1000, 7])
@pytest.mark.parametrize("name", METHODS)
def test_recovery_comes_to_the_state_that_was_live(
    name: str, checkpoint: int, task: Task, fleet: Fleet, until: Until, camera: Camera
) -> None:
    clock = ScriptedClock(fleet, 4)
    run_loopback(
        task, fleet, METHODS[name], until, seed=4, clock=clock, measure=FACTS, journal=camera.path,
        checkpoint=checkpoint, workers=3,
    )  # fmt: skip
    assert len(camera.shots) > 20
    for path, server_state, book_state, (now, curve, counts, waiting) in camera.shots:
        server, book, received, at = recovered(path, task, METHODS[name], until)
        assert server.snapshot() == server_state and at.now == now
        assert sorted(received.sent) == waiting
        assert [(p.time_ns, p.metrics) for p in at.account.curve.points] == curve
        assert {i: (x.down, x.up) for i, x in at.account.open.items()} == counts
        assert arithmetic(book) == book_state
        server.validate()


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("name", ["fedavg", "fedavg-timeout", "fedbuff", "asyncsgd"])
def test_a_killed_run_goes_on_to_its_end(
    name: str, real: bool, task: Task, fleet: Fleet, until: Until, camera: Camera
) -> None:
    def run(path: Path, resume: bool) -> Any:
        clock = None if real else ScriptedClock(fleet, 4)
        return run_loopback(
            task, fleet, METHODS[name], until, seed=4, clock=clock, measure=FACTS, journal=path, resume=resume,
            checkpoint=25, workers=3,
        )  # fmt: skip

    run(camera.path, False)
    shots, camera.every = camera.shots[::9], 1000
    for path, *_, (now, *_) in shots:
        before = read(path).last
        resumed = run(path, True)
        assert resumed.summary["updates"] == 60 and resumed.summary["finished"] == "updates"
        assert resumed.summary["virtual_time_s"] * 1e9 >= now
        assert read(path).last > before
        again = replay(path, Setup.of(task, METHODS[name], until, seed=4, measure=FACTS))
        assert again.digest == resumed.digest and again.closed
        assert run(path, True).digest == resumed.digest  # a finished run has nothing left to do


def test_results_that_the_journal_lacks_are_told_after_recovery(
    task: Task, fleet: Fleet, until: Until, tmp_path: Path
) -> None:
    from tests.service.conftest import rewrite

    path = tmp_path / "journal"
    run_loopback(task, fleet, METHODS["fedbuff"], until, clock=ScriptedClock(fleet), measure=FACTS, journal=path)
    whole = entries(path)[1:]
    for kind in (on.Arrived, on.Measured, on.Stepped, on.Evaluated):
        at = next(i for i, (_, e) in enumerate(whole) if i > 50 and type(e) is kind)
        cut = rewrite(path, whole[: at + 1])
        done = run_loopback(
            task, fleet, METHODS["fedbuff"], until, clock=ScriptedClock(fleet), measure=FACTS, journal=cut, resume=True
        )
        assert done.summary["updates"] == 60
        assert entries(cut)[1 : at + 2] == whole[: at + 1]
        assert replay(cut, Setup.of(task, METHODS["fedbuff"], until, measure=FACTS)).digest == done.digest


def test_an_answer_from_somebody_else_does_not_stand_for_the_update(
    task: Task, fleet: Fleet, until: Until, tmp_path: Path
) -> None:
    path, copy = tmp_path / "journal", tmp_path / "copy"
    run_loopback(task, fleet, METHODS["fedbuff"], until, clock=ScriptedClock(fleet), measure=FACTS, journal=path)
    found = [(decode(r, "journal"), r.bodies) for r in read(path).records][:-1]
    at = next(i for i, (e, _) in enumerate(found) if i > 50 and isinstance(e.event, on.Arrived))
    honest, body = found[at][0], found[at][1][found[at][0].body]
    foreign = replace(honest.event, client=(honest.event.client + 1) % len(fleet))
    store = SQLiteStore(copy)
    journal = Journal(store, found[0][0].event.run)
    journal.begin()
    for i, (entry, bodies) in enumerate(found[1:], 1):
        if i == at:
            journal.append(entry.now, foreign)
        journal.append(entry.now, entry.event, bodies.get(entry.body, b""))
    journal.sync()
    store.close()
    server, book, *_ = recovered(copy, task, METHODS["fedbuff"], until, 0)
    assert body and server.state.updates == 60 and server.state.events == len(found)
    replayed = replay(path, Setup.of(task, METHODS["fedbuff"], until, measure=FACTS))
    assert (book.model("gaussian") == replayed.book.model("gaussian")).all()


def test_a_checkpoint_after_recovery_holds_what_was_still_to_be_told(
    task: Task, fleet: Fleet, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.service.conftest import rewrite

    path = tmp_path / "journal"

    def run(journal: Path) -> Any:
        return run_loopback(
            task, fleet, METHODS["fedbuff"], until, clock=ScriptedClock(fleet), measure=FACTS, journal=journal,
            resume=True, checkpoint=3,
        )  # fmt: skip

    run_loopback(task, fleet, METHODS["fedbuff"], until, clock=ScriptedClock(fleet), measure=FACTS, journal=path)
    whole = entries(path)[1:]
    at = next(i for i, (_, e) in enumerate(whole) if i > 50 and isinstance(e, on.Stepped))
    cut = rewrite(path, whole[:at])  # the last update is accepted, its step is not told
    save = SQLiteStore.save

    def killed(store: SQLiteStore, covers: int, state: Any) -> None:
        save(store, covers, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(SQLiteStore, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        run(cut)
    monkeypatch.undo()
    assert run(cut).summary["updates"] == 60


def test_another_model_than_the_journaled_one_is_refused(
    task: Task, fleet: Fleet, until: Until, tmp_path: Path
) -> None:
    from tests.service.conftest import rewrite

    path = tmp_path / "journal"
    run_loopback(task, fleet, METHODS["fedbuff"], until, clock=ScriptedClock(fleet), journal=path)
    records = entries(path)[1:-1]
    at = next(i for i, (_, e) in enumerate(records) if isinstance(e, on.Stepped))
    now, e = records[at]
    records[at] = now, replace(e, facts={**e.facts, "norm": 0.0})
    copy = rewrite(path, records)
    with pytest.raises(Differs, match=f"record {at + 2}"):
        run_loopback(task, fleet, METHODS["fedbuff"], until, clock=ScriptedClock(fleet), journal=copy, resume=True)


def test_a_full_disk_ends_the_run_and_what_was_acknowledged_is_there(
    task: Task, fleet: Fleet, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, done = tmp_path / "journal", []
    sync = SQLiteStore.sync

    def filling(store: SQLiteStore) -> int:
        if len(done) == 1:
            (pages,) = store._db.execute("PRAGMA page_count").fetchone()
            store._db.execute(f"PRAGMA max_page_count = {pages + 1}")
        done.append(sync(store))
        return done[-1]

    monkeypatch.setattr(SQLiteStore, "sync", filling)
    with pytest.raises(StoreFailed, match="full"):
        run_loopback(task, fleet, METHODS["fedbuff"], until, clock=ScriptedClock(fleet), journal=path)
    monkeypatch.undo()
    assert read(path).last == done[-1]
    run = run_loopback(
        task, fleet, METHODS["fedbuff"], until, clock=ScriptedClock(fleet), journal=path, resume=True
    )  # fmt: skip
    assert run.summary["updates"] == 60


@pytest.mark.parametrize("name", ["fedavg-timeout", "fedbuff"])
def test_a_killed_run_is_carried_on_as_a_simulation(
    name: str, task: Task, fleet: Fleet, until: Until, camera: Camera
) -> None:
    clock, method = ScriptedClock(fleet, 4), METHODS[name]
    run_loopback(task, fleet, method, until, seed=4, clock=clock, measure=FACTS, journal=camera.path, checkpoint=25)
    for path, *_, (now, *_) in camera.shots[::7]:
        replayed = replay(path, Setup.of(task, method, until, seed=4, measure=FACTS))
        summaries = [carry_on(replayed, fleet) for _ in range(2)]
        assert summaries[0] == summaries[1]
        assert summaries[0]["updates"] == 60 and summaries[0]["virtual_time_s"] * 1e9 >= now
