"""What every store must do: lose nothing that was synced, wherever it is killed, and never lie about damage."""

from collections.abc import Iterator
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest

from hocket.errors import Damaged, Fenced, InvalidInput, StoreFailed
from hocket.keyed import key, mix
from hocket.snapshot import digest, pack, unpack
from hocket.store.store import Hook, Recovered, Store


class Killed(BaseException):
    """Ends a process in the middle of a step."""


def quiet(step: str) -> None:
    """A hook that does nothing."""


def history(found: Recovered) -> list[bytes]:
    """All records ever written, those that a checkpoint covers included (see :class:`Writer`)."""
    covered = [] if found.checkpoint is None else unpack(found.checkpoint.state["all"], list[bytes])
    return covered + [r.data for r in found.records]


def check(found: Recovered) -> None:
    """Numbers are dense, terms ascend, bodies are those of their record and match their digests."""
    start = 0 if found.checkpoint is None else found.checkpoint.covers
    assert start == len(history(found)) - len(found.records)
    assert [r.number for r in found.records] == list(range(start + 1, start + 1 + len(found.records)))
    assert [r.term for r in found.records] == sorted(r.term for r in found.records)
    for r in found.records:
        assert r.bodies == bodies(r.data), f"record {r.number} came back with other bodies"


def bodies(record: bytes) -> dict[str, bytes]:
    """What a test's record refers to: every third one has two bodies."""
    if digest(record)[0] not in "05af":
        return {}
    each = [record * 40, record[::-1] * 9]
    return {digest(b): b for b in each}


class Writer:
    """Writes a seeded sequence of appends, syncs and checkpoints; ``acknowledged`` is what it was promised."""

    def __init__(self, seed: int = 0, checkpoints: bool = True) -> None:
        self._seed, self._checkpoints = seed, checkpoints
        self.written: list[bytes] = []
        self.acknowledged = 0
        self.saved = 0

    def resume(self, found: Recovered) -> None:
        """Go on from what a store gave back, which must be all that was promised and nothing else.

        Raises:
            AssertionError: something acknowledged is gone, or something was never written.
        """
        check(found)
        told = history(found)
        assert told == self.written[: len(told)], "a record was never written, or is out of order"
        assert len(told) >= self.acknowledged, f"{self.acknowledged} records were durable, {len(told)} are left"
        self.written = told
        self.acknowledged = len(told)

    def write(self, store: Store, length: int) -> None:
        """Go on until ``length`` records are written, then sync."""
        while len(self.written) < length:
            n = len(self.written)
            record = pack(["record", self._seed, n])
            self.written.append(record)
            assert store.append(record, bodies(record)) == n + 1
            draw = mix(key(self._seed, "store", n))
            if draw % 4 == 0:
                self.sync(store)
            if self._checkpoints and draw % 7 == 0 and self.acknowledged > self.saved:
                self.save(store)
        self.sync(store)

    def sync(self, store: Store) -> None:
        """Sync and remember the promise."""
        done = store.sync()
        assert done == len(self.written)
        self.acknowledged = done

    def save(self, store: Store) -> None:
        """Write a checkpoint of all that is durable."""
        store.save(self.acknowledged, {"all": pack(self.written[: self.acknowledged])})
        self.saved = self.acknowledged


class StoreConformance:
    """Inherit, override the four methods, and name the class ``Test...``; see :class:`hocket.testing.memory_store`."""

    length: int = 40
    """Records per run."""
    seeds: int = 5

    def place(self, tmp_path: Path) -> Any:
        """Where a new store will be; called several times per test."""
        raise NotImplementedError

    def open(self, place: Any, hook: Hook = quiet) -> Store:
        """Open the store at a place for writing."""
        raise NotImplementedError

    def copy(self, place: Any) -> Any:
        """A copy of the place as a kill at this moment leaves it."""
        raise NotImplementedError

    def damaged(self, place: Any) -> Iterator[Any]:
        """Copies of the place, each with one byte of what is durable changed."""
        raise NotImplementedError

    # --- order -------------------------------------------------------------------------------------------

    def test_what_is_synced_comes_back_in_order(self, tmp_path: Path) -> None:
        """Across closing and killing, for several sequences of appends, syncs and checkpoints."""
        for seed in range(self.seeds):
            place, writer = self.place(tmp_path), Writer(seed)
            for part in range(1, 4):
                store = self.open(place)
                assert store.term == part
                writer.resume(store.recover())
                writer.write(store, part * self.length // 3)
                assert history(store.recover()) == writer.written
                store.append(b"never synced")
                if part == 2:
                    place = self.copy(place)
                store.close()

    def test_a_new_store_is_empty(self, tmp_path: Path) -> None:
        """And syncing nothing is no error."""
        store = self.open(self.place(tmp_path))
        found = store.recover()
        assert found.checkpoint is None and not found.records and store.sync() == 0
        store.close()

    def test_two_checkpoints_are_kept(self, tmp_path: Path) -> None:
        """The newest counts; what the older one covers is dropped; records go on after both."""
        place, writer = self.place(tmp_path), Writer()
        store = self.open(place)
        for length in (5, 9, 9, 14):
            writer.write(store, length)
            writer.save(store)
        writer.write(store, 16)
        found = store.recover()
        assert found.checkpoint is not None and found.checkpoint.covers == 14
        assert [r.number for r in found.records] == [15, 16]
        store.close()
        store = self.open(place)
        writer.resume(store.recover())
        writer.write(store, 20)
        store.close()

    def test_a_checkpoint_covers_what_is_durable(self, tmp_path: Path) -> None:
        """Not more, and not less than the one before it."""
        store, writer = self.open(self.place(tmp_path)), Writer()
        writer.write(store, 8)
        writer.save(store)
        store.append(b"queued")
        for covers in (-1, 7, 9):
            with pytest.raises(InvalidInput, match=str(covers)):
                store.save(covers, {})
        assert store.sync() == 9
        store.close()

    # --- failures ----------------------------------------------------------------------------------------

    def test_a_writer_whose_term_is_over_is_fenced(self, tmp_path: Path) -> None:
        """It can neither sync nor save, and what it tried leaves no trace."""
        place, writer = self.place(tmp_path), Writer()
        old = self.open(place)
        writer.write(old, 6)
        new = self.open(place)
        assert new.term == old.term + 1
        old.append(b"too late")
        for call in (old.sync, lambda: old.save(6, {}), old.sync, lambda: old.append(b"")):
            with pytest.raises(Fenced):
                call()
        writer.resume(new.recover())
        writer.write(new, 9)
        old.close()
        assert history(new.recover()) == writer.written
        new.close()

    def test_a_closed_store_takes_nothing(self, tmp_path: Path) -> None:
        """Closing twice is no error."""
        store = self.open(self.place(tmp_path))
        store.close()
        store.close()
        with pytest.raises(StoreFailed):
            store.append(b"late")

    def test_kill_before_every_step(self, tmp_path: Path) -> None:
        """Open, recover and go on after each kill: the end is that of a run that was never killed."""
        whole = self._steps(tmp_path, self.length, None)
        assert len(whole) > 10
        for at in range(len(whole)):
            self._steps(tmp_path, self.length, Killed(), at)

    def test_kill_in_recovery_from_kills(self, tmp_path: Path) -> None:
        """Ten deep: every attempt to open gets one step further, and nothing grows with the attempts."""
        place, writer = self.place(tmp_path), Writer()
        store = self.open(place)
        writer.write(store, self.length)
        place = self.copy(place)
        store.close()
        for depth in range(10):
            try:
                store = self.open(place, _Fault(depth, Killed()))
            except Killed:
                place = self.copy(place)
                continue
            store.close()
        store = self.open(place)
        writer.resume(store.recover())
        assert len(writer.written) == self.length
        store.close()

    def test_disk_full_at_every_step(self, tmp_path: Path) -> None:
        """Every failing step ends the store; nothing after the last sync was promised, all before it is there."""
        for at in range(len(self._steps(tmp_path, self.length, None))):
            self._steps(tmp_path, self.length, OSError(ENOSPC, "No space left on device"), at)

    def test_damage_is_named_or_harmless(self, tmp_path: Path) -> None:
        """A changed byte ends in :class:`Damaged`, or everything is there; never in a shorter history."""
        place, writer = self.place(tmp_path), Writer()
        store = self.open(place)
        writer.write(store, self.length)
        image = self.copy(place)
        store.close()
        seen = 0
        for copy in self.damaged(image):
            seen += 1
            try:
                store = self.open(copy)
            except Damaged:
                continue
            try:
                found = store.recover()
                check(found)
                assert history(found) == writer.written, "a changed byte went unnoticed"
            except Damaged:
                pass
            finally:
                store.close()
        assert seen

    def _steps(self, tmp_path: Path, length: int, fault: BaseException | None, at: int = -1) -> list[str]:
        """Write ``length`` records with a fault at a step; start again after it; the steps taken before it."""
        place, writer, hook = self.place(tmp_path), Writer(), _Fault(at, fault)
        store: Store | None = None
        try:
            store = self.open(place, hook)
            writer.write(store, length)
        except (Killed, StoreFailed):
            if isinstance(fault, OSError) and store is not None:
                with pytest.raises(StoreFailed):
                    store.append(b"after the failure")
                    store.sync()
        else:
            assert fault is None, "a fault went by unseen"
        image = self.copy(place)
        if store is not None:
            store.close()
        store = self.open(image)
        writer.resume(store.recover())
        writer.write(store, length)
        assert len(history(store.recover())) == length
        store.close()
        return hook.steps


class _Fault:
    """A hook that raises once, at step ``at``."""

    def __init__(self, at: int, fault: BaseException | None) -> None:
        self._at, self._fault = at, fault
        self.steps: list[str] = []

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if self._fault is not None and len(self.steps) == self._at + 1:
            raise self._fault
