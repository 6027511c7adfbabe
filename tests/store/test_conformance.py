"""The SQLite store and the reference store pass the suite that every store passes."""

import copy
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from hocket.keyed import key, mix
from hocket.store import SQLiteStore, Store
from hocket.store.store import Hook
from hocket.testing.memory_store import Disk, MemoryStore
from hocket.testing.store import StoreConformance, quiet

FLIPS = 100


class TestMemoryStore(StoreConformance):
    def place(self, tmp_path: Path) -> Disk:
        return Disk()

    def open(self, place: Disk, hook: Hook = quiet) -> Store:
        return MemoryStore(place, hook=hook)

    def copy(self, place: Disk) -> Disk:
        return copy.deepcopy(place)

    def damaged(self, place: Disk) -> Iterator[Disk]:
        for table in ("records", "checkpoints"):
            for number, (data, seal) in getattr(place, table).items():
                for at in range(len(data)):
                    wrong = copy.deepcopy(place)
                    getattr(wrong, table)[number] = (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], seal)
                    yield wrong


class TestSQLiteStore(StoreConformance):
    numbers = count()

    def place(self, tmp_path: Path) -> Path:
        return tmp_path / f"store-{next(self.numbers)}"

    def open(self, place: Path, hook: Hook = quiet) -> Store:
        return SQLiteStore(place, hook=hook)

    def copy(self, place: Path) -> Path:
        to = place.with_name(f"store-{next(self.numbers)}")
        shutil.copytree(place, to, ignore=shutil.ignore_patterns("*-shm")) if place.exists() else None
        return to

    def damaged(self, place: Path) -> Iterator[Path]:
        files = sorted(p for p in place.iterdir() if p.stat().st_size)
        for n in range(FLIPS):
            wrong = self.copy(place)
            path = wrong / files[n % len(files)].name
            at = mix(key(n, "flip")) % path.stat().st_size
            with open(path, "rb+") as f:
                value = os.pread(f.fileno(), 1, at)[0]
                os.pwrite(f.fileno(), bytes([value ^ (1 << n % 8)]), at)
            yield wrong
            shutil.rmtree(wrong)
