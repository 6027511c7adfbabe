"""Stores that earlier versions wrote are read, or refused by their format's number: T07.

``python -m tests.store.test_golden FOLDER`` writes one with this version; it is kept when the format changes.
"""

import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

from hocket import events as on
from hocket.errors import Damaged
from hocket.lease import Cover, Node
from hocket.received import Sent
from hocket.snapshot import digest, pack, unpack
from hocket.store import SQLiteStore, read
from hocket.store.journal import End, Entry, Header, Journal, decode
from hocket.store.sqlite import JOURNAL

GOLDEN = Path(__file__).parent / "golden" / "format-1"
BODY = pack(Sent(bytes(range(256)) * 4, 7, {"loss": 0.5}))
NODE = Node("digits", 5, "hidden", 2, Cover(3, 7))
EVENTS: tuple[on.Event, ...] = (
    on.Joined((0, 1, 2)),
    on.Left(1),
    on.Fetched(0, 2, NODE, 1 << 40),
    on.Started(0, 2),
    on.Arrived(0, 2, 1024, 7),
    on.Measured(0, {"finite": 1.0, "norm": 0.25}),
    on.Stepped("digits", NODE, 1, 99, {"norm": 0.25}),
    on.Evaluated("digits", 5, "kept", "test", {"accuracy": 1 / 3}),
    on.Ranked("digits", 1),
    on.Kept("digits", 5),
    on.Restored("digits", NODE, 2),
    on.Planned("digits", (0.25, 0.75), 4),
    on.Failed(1, 0, "gone"),
    on.TaskAdded("digits"),
    on.TaskPaused("digits"),
    on.TaskEnded("digits", "target"),
    on.Durable(9),
    on.Woke(),
    on.Halted("interrupted"),
    End("ab" * 16),
)


def write(folder: Path) -> None:
    """A store of two lives: records, a body in each, a checkpoint after the first."""
    for life in range(2):
        store = SQLiteStore(folder)
        journal = Journal(store, "run")
        if not life:
            journal.begin()
        for now, event in enumerate(EVENTS):
            journal.append(now, event, BODY if isinstance(event, on.Arrived) else b"")
        journal.sync()
        if not life:
            store.save(5, {"server": b"after record 5"})
        store.close()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(GOLDEN, tmp_path / "golden")


def test_t07_format_1_is_read(copy: Path) -> None:
    found = read(copy)
    assert found.checkpoint is not None and found.checkpoint.covers == 5
    assert found.checkpoint.state == {"server": b"after record 5"}
    assert [r.number for r in found.records] == list(range(6, 2 * len(EVENTS) + 2))
    assert [r.term for r in found.records] == [1] * (len(EVENTS) - 4) + [2] * len(EVENTS)
    said = [decode(r, "golden") for r in found.records]
    told = [Entry(now, e, digest(BODY) if isinstance(e, on.Arrived) else "") for now, e in enumerate(EVENTS)]
    assert said == told[4:] + told
    arrived = next(r for r, e in zip(found.records, said, strict=True) if e.body)
    assert unpack(arrived.bodies[digest(BODY)], Sent) == Sent(bytes(range(256)) * 4, 7, {"loss": 0.5})


def test_t07_format_1_is_gone_on_with(copy: Path) -> None:
    store = SQLiteStore(copy)
    assert store.term == 3
    before = store.recover()
    number = store.append(pack((0, Header(1, "run"))))
    assert number == before.last + 1 == store.sync()
    store.save(number, {"server": b"later"})
    assert not store.recover().records
    store.close()


def test_t07_this_version_writes_format_1(tmp_path: Path) -> None:
    """What is written means what it meant: a field that an event gains at its end, with a default, changes nothing."""
    write(tmp_path / "again")
    made, golden = read(tmp_path / "again"), read(GOLDEN)
    assert made.checkpoint == golden.checkpoint
    for ours, theirs in zip(made.records, golden.records, strict=True):
        assert (ours.number, ours.term, ours.bodies) == (theirs.number, theirs.term, theirs.bodies)
        assert decode(ours, "again") == decode(theirs, "golden")


def test_t07_a_later_format_is_refused_by_its_number(copy: Path) -> None:
    with sqlite3.connect(copy / JOURNAL) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    for opening in (read, SQLiteStore):
        with pytest.raises(Damaged, match="format 2; this version of hocket reads format 1"):
            opening(copy)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
