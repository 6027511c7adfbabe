"""Faults of real disks and processes on real files, numbered as in the fault model: T02 to T07."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from hocket.errors import Damaged, StoreFailed
from hocket.store import SQLiteStore
from hocket.store.sqlite import JOURNAL, NOTE
from hocket.testing.store import Writer, check, history

LENGTH = 60
SCALE = int(os.environ.get("HOCKET_FAULTS", "1"))  # of the long tests: 10 is what a release runs
LOG = JOURNAL + "-wal"
_numbers = count()


def copy(place: Path) -> Path:
    """The files as a kill leaves them; shared memory is lost."""
    to = place.with_name(f"copy-{next(_numbers)}")
    shutil.copytree(place, to, ignore=shutil.ignore_patterns("*-shm"))
    return to


def outcome(place: Path) -> list[bytes] | None:
    """What a store holds, or None if it says that it is damaged; the copy is removed."""
    try:
        store = SQLiteStore(place)
        try:
            found = store.recover()
            check(found)
            return history(found)
        finally:
            store.close()
    except Damaged as e:
        assert str(place) in str(e)
        return None
    finally:
        shutil.rmtree(place)


class Timeline:
    """A run of which it is known how long each file was, and what the note said, after each sync."""

    def __init__(self, place: Path, checkpoints: bool) -> None:
        self.place, self.writer = place, Writer(0, checkpoints)
        self.after: list[tuple[int, int, bytes]] = []  # acknowledged, length of the log, note
        store = SQLiteStore(place)
        while self.writer.acknowledged < LENGTH:
            self.writer.write(store, self.writer.acknowledged + 3)
            note = (place / NOTE).read_bytes()
            self.after.append((self.writer.acknowledged, (place / LOG).stat().st_size, note))
        self.image = copy(place)
        store.close()

    def cut(self, length: int) -> tuple[int, Path]:
        """The image of a power cut that tears the log there, and how much was acknowledged by then."""
        to = copy(self.image)
        os.truncate(to / LOG, length)
        acknowledged, note = 0, b""
        for n, size, said in self.after:
            if size <= length:
                acknowledged, note = n, said
        (to / NOTE).write_bytes(note)
        return acknowledged, to


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    return Timeline(tmp_path_factory.mktemp("faults") / "store", True)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Timeline:
    return Timeline(tmp_path_factory.mktemp("faults") / "bare", False)


def lengths(size: int, every: int) -> Iterator[int]:
    yield from range(0, max(size - (64 << 10), 0), 512 * every)
    yield from range(max(size - (64 << 10), 0), size, every)


def torn(line: Timeline, every: int) -> None:
    """A torn log recovers to the last whole commit; a durable commit that is gone is named."""
    for length in lengths((line.image / LOG).stat().st_size, every):
        acknowledged, place = line.cut(length)
        told = outcome(place)
        assert told is not None and told == line.writer.written[: len(told)] and len(told) >= acknowledged
        if length % 64 == 0:
            late = copy(line.image)  # cut after the last sync: what is gone was acknowledged
            os.truncate(late / LOG, length)
            assert outcome(late) is None, "acknowledged records vanished silently"
    for junk in (b"\0" * 5000, random.Random(0).randbytes(40_000)):
        place = copy(line.image)
        with open(place / LOG, "ab") as f:
            f.write(junk)
        assert outcome(place) == line.writer.written


def test_t03_a_torn_journal_recovers_to_the_last_commit(bare: Timeline) -> None:
    torn(bare, 3072)


@pytest.mark.soak
def test_t03_a_torn_journal_recovers_to_the_last_commit_everywhere(bare: Timeline) -> None:
    torn(bare, max(8 // SCALE, 1))


def test_t03_a_torn_checkpoint_is_passed_over(line: Timeline) -> None:
    newest = max(line.image.glob("checkpoint-*")).name
    for length in range(0, (line.image / newest).stat().st_size, 97):
        place = copy(line.image)
        os.truncate(place / newest, length)
        assert outcome(place) == line.writer.written


def rotten(line: Timeline, flips: int, closed: bool) -> None:
    """1 to 8 flipped bits of one file are noticed, or make no difference."""
    source = line.place if closed else line.image
    files = [p.name for p in sorted(source.iterdir()) if p.stat().st_size]
    draw, noticed = random.Random(closed), 0
    for _ in range(flips):
        place = copy(source)
        path = place / draw.choice(files)
        data = bytearray(path.read_bytes())
        for _ in range(draw.randint(1, 8)):
            bit = draw.randrange(8 * len(data))
            data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        told = outcome(place)
        noticed += told is None
        assert told in (None, line.writer.written), f"flipped bits of {path.name} went unnoticed"
    assert noticed


@pytest.mark.parametrize("closed", [False, True])
def test_t04_bit_rot_is_named_or_harmless(line: Timeline, closed: bool) -> None:
    rotten(line, 50, closed)


@pytest.mark.soak
@pytest.mark.parametrize("closed", [False, True])
def test_t04_bit_rot_is_named_or_harmless_in_many_copies(line: Timeline, closed: bool) -> None:
    rotten(line, 5_000 * SCALE, closed)


CHILD = """
import json, resource, sys
from pathlib import Path
from hocket.errors import StoreFailed
from hocket.store import SQLiteStore
from hocket.testing.store import Writer, history

place, length, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

class Loud(Writer):
    def sync(self, store):
        super().sync(store)
        print(self.acknowledged, flush=True)

writer = Loud()
try:
    store = SQLiteStore(place)
    told = history(store.recover())
    writer.written, writer.acknowledged = told, len(told)
    writer.write(store, length)
except StoreFailed as e:
    print("failed", flush=True)
"""


def child(place: Path, length: int, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(place), str(length), str(limit)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def all_of(length: int) -> Writer:
    """The writer of a whole run, to compare with."""
    from hocket.testing.memory_store import Disk, MemoryStore

    writer = Writer()
    writer.write(MemoryStore(Disk()), length)
    return writer


def reopen(place: Path, acknowledged: int, whole: Writer, going_on: Callable[[SQLiteStore, Writer], None]) -> None:
    """Everything acknowledged is there, and the run can go on."""
    store, writer = SQLiteStore(place), Writer()
    writer.written, writer.acknowledged = list(whole.written), acknowledged
    writer.resume(store.recover())
    going_on(store, writer)
    store.close()


def killed(place: Path, kills: int, length: int) -> None:
    draw, acknowledged, whole, most = random.Random(0), 0, all_of(length), 0
    for _ in range(kills):
        with child(place, length) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            time.sleep(draw.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            said = [first, *process.stdout.readlines()]
        acknowledged = max([acknowledged, *(int(x) for x in said if x.endswith("\n"))])
        reopen(place, acknowledged, whole, lambda store, writer: None)
        most = max(most, acknowledged)
        if acknowledged == length:
            shutil.rmtree(place)
            acknowledged = 0
    assert most, "every writer was killed before it began"


def test_t02_killed_at_random_times_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    killed(tmp_path / "store", 3, 400)


@pytest.mark.soak
def test_t02_killed_many_times_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    killed(tmp_path / "store", 100 * SCALE, 2000)


def full(tmp_path: Path, limits: list[int]) -> None:
    """The file system refuses to let files grow beyond a limit: no acknowledgement after it, and no loss."""
    whole, failed = all_of(LENGTH), 0
    for limit in limits:
        place = tmp_path / f"limit-{limit}"
        with child(place, LENGTH, limit) as process:
            assert process.stdout is not None
            said = process.stdout.read().split()
        failed += "failed" in said
        assert "failed" not in said[:-1] and process.returncode == 0
        acknowledged = max([0, *(int(x) for x in said if x != "failed")])
        reopen(place, acknowledged, whole, lambda store, writer: writer.write(store, LENGTH))
    assert failed


def test_t05_a_full_disk_ends_the_writer_and_loses_nothing(tmp_path: Path) -> None:
    full(tmp_path, [100, 50_000, 150_000])


@pytest.mark.soak
def test_t05_a_full_disk_anywhere_ends_the_writer_and_loses_nothing(tmp_path: Path) -> None:
    full(tmp_path, list(range(1, 1_200_000, 40_009 // SCALE)))


def test_t05_a_failed_commit_is_never_taken_for_a_durable_one(tmp_path: Path) -> None:
    store, writer = SQLiteStore(tmp_path / "store"), Writer()
    writer.write(store, 10)
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    store.append(os.urandom(1 << 20))
    for _ in range(3):
        with pytest.raises(StoreFailed, match="full"):
            store.sync()
    with pytest.raises(StoreFailed):
        store.append(b"more")
    assert history(store.recover()) == writer.written
    store.close()
    reopen(tmp_path / "store", 10, all_of(LENGTH), lambda store, writer: writer.write(store, LENGTH))


def test_a_store_that_is_damaged_is_left_as_it_is(line: Timeline) -> None:
    place = copy(line.image)
    os.truncate(place / LOG, (place / LOG).stat().st_size - 40_000)
    before = {p.name: p.read_bytes() for p in place.iterdir()}
    with pytest.raises(Damaged, match=r"records \d+ to 60 were durable and are gone"):
        SQLiteStore(place)
    assert {p.name: p.read_bytes() for p in place.iterdir() if not p.name.endswith("-shm")} == before
    shutil.rmtree(place)


def test_the_disk_used_is_bounded(tmp_path: Path) -> None:
    store, writer = SQLiteStore(tmp_path / "store"), Writer()
    for n in range(1, 31):
        writer.write(store, 20 * n)
        store.save(writer.acknowledged, {"all": b"x" * 1000})
    (rows,) = store._db.execute("SELECT count(*) FROM record").fetchone()
    assert rows <= 41 and len(list((tmp_path / "store").glob("checkpoint-*"))) == 2
    store.close()
    closed = sum(p.stat().st_size for p in (tmp_path / "store").iterdir())
    assert closed < 1 << 20
