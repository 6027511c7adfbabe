"""The model disk behaves as disks may, and the store on it as every store must."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from hocket.errors import Damaged, StoreFailed
from hocket.faults.disk import Disk
from hocket.faults.disk_store import DiskStore
from hocket.keyed import key
from hocket.store import Store
from hocket.store.store import Hook
from hocket.testing.store import StoreConformance, Writer, history, quiet


class TestDiskStore(StoreConformance):
    def place(self, tmp_path: Path) -> Disk:
        return Disk()

    def open(self, place: Disk, hook: Hook = quiet) -> Store:
        return DiskStore(place, hook=hook)

    def copy(self, place: Disk) -> Disk:
        out = place.clone()
        out.crash(key(0, "crash", place.size()))
        return out

    def damaged(self, place: Disk) -> Iterator[Disk]:
        for n in range(400):
            wrong = place.clone()
            wrong.flip(key(n, "flip"))
            yield wrong


def test_t03_unsynced_writes_may_vanish_tear_or_stay_and_synced_ones_stay() -> None:
    seen = set()
    for n in range(200):
        disk = Disk()
        disk.create("a")
        disk.sync_folder()
        disk.append("a", b"synced")
        disk.sync("a")
        disk.append("a", b"0123456789")
        disk.crash(key(n, "crash"))
        left = disk.read("a")
        assert left.startswith(b"synced") and (left + b"0123456789").startswith(b"synced")
        seen.add("none" if left == b"synced" else "all" if left == b"synced0123456789" else "torn")
    assert seen == {"none", "all", "torn"}


def test_a_name_is_durable_after_the_folder_is_synced() -> None:
    lost = 0
    for n in range(50):
        disk = Disk()
        disk.create("a")
        disk.append("a", b"x")
        disk.sync("a")
        disk.crash(key(n, "crash"))
        lost += "a" not in disk.names()
    assert 0 < lost < 50


def test_t05_a_full_disk_ends_the_store_and_space_does_not_revive_it() -> None:
    disk, writer = Disk(), Writer()
    store = DiskStore(disk)
    writer.write(store, 10)
    disk.full = True
    store.append(b"more")
    with pytest.raises(StoreFailed, match="No space left"):
        store.sync()
    disk.full = False
    with pytest.raises(StoreFailed):
        store.sync()
    again = DiskStore(disk)
    assert history(again.recover()) == writer.written


def test_t04_every_single_damage_is_named_or_outside_what_counts() -> None:
    disk, writer = Disk(), Writer()
    writer.write(DiskStore(disk), 40)
    named = 0
    for n in range(1500):
        wrong = disk.clone()
        wrong.flip(key(n, "rot"))
        try:
            assert history(DiskStore(wrong).recover()) == writer.written
        except Damaged:
            named += 1
            assert wrong.repair() == 1
            assert history(DiskStore(wrong).recover()) == writer.written
    assert named > 100


@pytest.mark.parametrize("what", ["full", "failing"])
def test_t05_a_disk_that_fails_at_any_step_loses_nothing_that_was_promised(what: str) -> None:
    steps = 0
    for at in range(1, 10_000):
        disk, writer, seen = Disk(), Writer(), count(1)

        def fail(step: str, disk: Disk = disk, seen: "count[int]" = seen, at: int = at) -> None:
            if next(seen) == at:
                setattr(disk, what, True)

        try:
            writer.write(DiskStore(disk, hook=fail), 40)
        except StoreFailed:
            setattr(disk, what, False)
            disk.crash(key(at, what))
            writer.resume(DiskStore(disk).recover())
            steps += 1
        else:
            break
    assert steps > 30
