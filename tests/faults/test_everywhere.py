"""T01, T06, T07: a crash anywhere, in recovery too, comes to the state of the run that was not interrupted."""

import os
from pathlib import Path

import msgspec
import pytest

from hocket.archive import Archive
from hocket.book import Book
from hocket.errors import Damaged, Differs
from hocket.faults.disk import Disk, DiskFile
from hocket.faults.disk_store import DiskStore
from hocket.faults.everywhere import Count, Everywhere, Item, Recorder, record, state, take
from hocket.faults.reference import Wrong
from hocket.faults.stub import METHODS, Rewinding, task, workload
from hocket.faults.swarm import Plan, plan
from hocket.faults.world import Crash
from hocket.fleet import Exponential, Fleet
from hocket.keyed import key
from hocket.merge import MaskedModels
from hocket.pacing import InFlight
from hocket.received import Received
from hocket.record.account import Account
from hocket.record.curve import Curve
from hocket.record.ledger import Ledger
from hocket.service.host import Host
from hocket.setup import Setup
from hocket.simulation.replay import carry_on, replay
from hocket.snapshot import pack, unpack
from hocket.store import SQLiteStore
from hocket.store.journal import FORMAT, Header, Journal, state_digest
from hocket.store.recovery import recover
from hocket.store.spill import beside
from hocket.store.store import Checkpoint, Record, Recovered
from hocket.strategies import fedbuff
from hocket.strategy import Strategy, TaskPart
from hocket.until import Until

SCALE = int(os.environ.get("HOCKET_FAULTS", "1"))  # of the long tests: 10 is what a release runs
GOLDEN = Path(__file__).parent / "golden" / "run-1.bin"


def everywhere(seed: int, updates: int, cache: int = 0, nested: int = 0, stride: int = 1) -> Count:
    setup, fleet = workload(seed, updates)
    script = record(setup, fleet, plan(seed))
    return Everywhere(setup, script, every=plan(seed).checkpoint, seed=cache, nested=nested).run(stride)


@pytest.mark.parametrize("first", range(0, 32, 8))
def test_t01_a_crash_at_every_effect_boundary_comes_to_the_same_state(first: int) -> None:
    """Ten thousand points in all."""
    counts = [everywhere(seed, 30) for seed in range(first, first + 8)]
    assert sum(c.recoveries for c in counts) > 2500 and all(c.recoveries == c.points for c in counts)
    assert all(c.ends > 3 for c in counts)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(4))
def test_t01_a_million_crash_points(part: int) -> None:
    """A quarter each, so that two processes (``-n 2``) share them."""
    runs = points = 0
    while points < 250_000 * SCALE:
        seed = 4 * runs + part
        points += everywhere(seed % 248, 40, cache=seed).recoveries
        runs += 1
    assert runs >= 50


def test_t06_a_crash_during_recovery_ten_deep_comes_to_the_same_state() -> None:
    count = everywhere(3, 20, nested=10, stride=9)
    assert count.recoveries > 20


def test_t06_recovery_does_not_grow_with_its_attempts() -> None:
    setup, fleet = workload(2, 30)
    script = record(setup, fleet, plan(2))
    disk, sizes = Disk(), list[int]()

    def life(step: int) -> Host:
        left = iter(range(step))

        def crash(name: str) -> None:
            if next(left, None) is None:
                raise Crash

        return Host(
            setup, DiskStore(disk, hook=crash), lambda m: None, Recorder(), step=crash, every=7, patience=1 << 60
        )

    host = life(10**9)
    for item in script[:60]:
        take(host, item)
    host.commit()
    for attempt in range(40):
        disk.crash(key(attempt, "crash"))
        with pytest.raises(Crash):
            life(attempt % 3)
        sizes.append(disk.size())
    assert max(sizes) == min(sizes)
    again = life(10**9)
    assert state_digest(again.server, again.book) == state_digest(host.server, host.book)


def test_crash_everywhere_sees_a_journal_that_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    original = DiskStore.sync

    def lazy(self: DiskStore) -> int:
        return original(self) if self._last % 3 else self._durable

    monkeypatch.setattr(DiskStore, "sync", lazy)
    with pytest.raises(Wrong, match=r"I3|I4"):
        everywhere(0, 20)


# --- latest models in a file ------------------------------------------------------------------------------

BUFFERED = {
    "models": Strategy("models", InFlight(6, 2, timeout=60.0), task=TaskPart(merge=MaskedModels(resum=5))),
    "kept": Strategy("kept", Rewinding(6, 2, timeout=60.0), task=TaskPart(merge=MaskedModels(most=7))),
}


def buffered(name: str) -> tuple[Setup, list[Item]]:
    """A run whose merge keeps models of clients, and what its server is told."""
    fleet = Fleet.synthetic(12, seed=5, compute_law=Exponential(), latency=0.05)
    setup = Setup.of(task("a", 12, 5), BUFFERED[name], Until(updates=60), seed=5, measure=("finite",))
    return setup, record(setup, fleet, plan(5))


@pytest.fixture
def spilling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept in memory."""
    monkeypatch.setattr(Archive.spill, "__defaults__", (0,))


@pytest.mark.usefixtures("spilling")
@pytest.mark.parametrize("name", BUFFERED)
def test_models_in_a_file_are_there_after_a_crash_anywhere(name: str) -> None:
    setup, script = buffered(name)
    count = Everywhere(setup, script, every=9, nested=2, to_the_end=4, spill=True).run(stride=3)
    assert count.recoveries > 200 and count.ends > 50


@pytest.mark.usefixtures("spilling")
def test_it_is_seen_if_places_are_used_again_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Archive, "guard", lambda archive, *names: archive._find_free())
    setup, script = buffered("models")
    with pytest.raises((Wrong, Differs)):
        Everywhere(setup, script, every=9, to_the_end=1, spill=True).run(stride=7)


@pytest.mark.usefixtures("spilling")
@pytest.mark.parametrize("cut", [70, 110, 150, 190])
def test_both_checkpoints_count_on_the_file(cut: int) -> None:
    """The newest one is damaged: the one before it and its records lead to the same models."""
    setup, script = buffered("models")
    disk = Disk()

    def life() -> Host:
        return Host(
            setup, DiskStore(disk), lambda m: None, Recorder(), step=lambda s: None, every=6, patience=1 << 60,
            spill=lambda t: DiskFile(disk, f"latest-{t}", lambda s: None),
        )  # fmt: skip

    host = life()
    for item in script[:cut]:
        take(host, item)
    host.commit()
    names = [n for n in disk.names() if n.startswith("checkpoint-")]
    assert len(names) == 2 and "latest-a" in disk.names()
    before = state(host)
    disk.write(names[-1], 40, b"damaged")
    again = life()
    again.commit()
    assert state(again) == before


def models(book: Book) -> dict[int, bytes]:
    """Clients' latest models by client."""
    merge = book.shelves["a"].merge
    return {c: merge.archive.get(held.values).tobytes() for c, held in merge.held.items()}


@pytest.mark.usefixtures("spilling")
def test_a_replay_leaves_the_file_alone_and_is_carried_on(tmp_path: Path) -> None:
    setup, script = buffered("kept")
    fleet = Fleet.synthetic(12, seed=5, compute_law=Exponential(), latency=0.05)
    host = Host(
        setup, SQLiteStore(tmp_path), lambda m: None, Recorder(), step=lambda s: None, every=6, patience=1 << 60,
        spill=beside(tmp_path),
    )  # fmt: skip
    for item in script[:150]:
        take(host, item)
    host.commit()
    host.close()
    before = (tmp_path / "latest-a").read_bytes()
    again = replay(tmp_path, setup)
    assert again.digest == state_digest(host.server, host.book) and models(again.book) == models(host.book)
    one, other = (carry_on(again, fleet) for _ in range(2))
    assert one == other and one["updates"] >= 60
    assert models(again.book) == models(host.book) and (tmp_path / "latest-a").read_bytes() == before
    (tmp_path / "latest-a").unlink()
    with pytest.raises(Damaged, match=r"latest-a: No such file .* bring it along"):
        replay(tmp_path, setup)


# --- T07 -------------------------------------------------------------------------------------------------


class Kept(msgspec.Struct):
    """A journal as it was written once, and the digest it led to."""

    records: list[Record]
    checkpoint: Checkpoint | None
    digest: str


def fixed() -> tuple[Setup, Fleet]:
    """The run whose journal is kept; what seeds draw may change, this may not."""
    fleet = Fleet.synthetic(10, seed=2, compute_law=Exponential(), latency=0.05)
    method = fedbuff(2, 5, staleness_limit=2, normalise="weight")
    return Setup.of(task("a", 10, 2), method, Until(updates=30), seed=2, measure=("finite",)), fleet


def golden() -> tuple[Setup, Kept]:
    """The journal of a run, made now."""
    setup, fleet = fixed()
    lies = {"message lost": 0.1, "lie: not finite": 0.2, "lie: another's lease": 0.2, "lie: no samples": 0.1}
    disk = Disk()
    host = Host(setup, DiskStore(disk), lambda m: None, Recorder(), step=lambda s: None, every=12, patience=1 << 60)
    for item in record(setup, fleet, Plan(2, lies, (), 10)):
        take(host, item)
    host.commit()
    found = DiskStore(disk).recover()
    return setup, Kept(list(found.records), found.checkpoint, state_digest(host.server, host.book))


def lead(setup: Setup, kept: Kept) -> str:
    """Where the code comes to from a kept journal; every result is computed again and compared."""
    received = Received(setup.strategy.tasks, setup.tasks)
    server, book = setup.build(received, journaled=True)
    account = Account(Curve(), Ledger())
    recover(Recovered(kept.checkpoint, kept.records), setup, server, book, received, account, strict=True)
    return state_digest(server, book)


def test_t07_a_journal_of_an_earlier_version_leads_to_the_state_it_led_to_then() -> None:
    kept = unpack(GOLDEN.read_bytes(), Kept)
    assert kept.checkpoint is not None and len(kept.records) > 20
    assert lead(fixed()[0], kept) == kept.digest


def test_t07_a_journal_of_a_later_version_is_refused_by_its_version() -> None:
    setup, _ = fixed()
    disk = Disk()
    journal = Journal(DiskStore(disk), setup.digest())
    journal._header = Header(FORMAT + 1, setup.digest())
    journal.begin()
    with pytest.raises(Damaged, match=f"format {FORMAT + 1}; this version of hocket reads format {FORMAT}"):
        Host(setup, DiskStore(disk), lambda m: None, Recorder(), step=lambda s: None, every=5, patience=1)


def write_golden() -> None:
    """Keep the journal of today; from the repository: ``import tests.faults.test_everywhere`` and call this."""
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_bytes(pack(golden()[1]))


def test_every_method_is_drawn() -> None:
    names = {workload(seed)[0].strategy.name for seed in range(120)}
    assert names == {make().name for make in METHODS}
