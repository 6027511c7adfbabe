"""Entries come back as they were written; what is no entry is named."""

from pathlib import Path

import pytest

from hocket import events as on
from hocket.errors import Damaged
from hocket.lease import Cover, Node
from hocket.received import Sent
from hocket.snapshot import digest, pack, unpack
from hocket.store import Record
from hocket.store.journal import QUEUE, End, Header, Journal, decode
from hocket.testing.memory_store import Disk, MemoryStore

EVENTS: list[tuple[int, on.Event]] = [
    (0, on.Joined((0, 1, 2))),
    (1, on.Fetched(0, 2, Node("digits", 4), 1 << 40)),
    (2, on.Started(0, 2)),
    (2, on.Arrived(0, 2, 300, 20)),
    (2, on.Measured(0, {"norm": float("inf"), "loss": 0.1 + 0.2})),
    (3, on.Stepped("digits", Node("digits", 5, "hidden", 2, Cover(3, 7)), 1, 99, {"norm": 0.25})),
    (3, on.Evaluated("digits", 5, "kept", "test", {"accuracy": 1 / 3})),
    (4, on.Failed(1, 0, "gone")),
    (5, on.Durable(9)),
    (1 << 62, on.Woke()),
    (1 << 62, on.Planned("digits", (0.25, 0.75), 4)),
    (1 << 62, End("ab")),
]
BODY = pack(Sent(b"\1\2", 7, {"loss": 0.5}))


def test_round_trip() -> None:
    store = MemoryStore(Disk())
    journal = Journal(store, "run")
    journal.begin()
    for now, event in EVENTS:
        journal.append(now, event, BODY if isinstance(event, on.Arrived) else b"")
    journal.sync()
    records = list(store.recover().records)
    header, *rest = (decode(r, "here") for r in records)
    assert header.event == Header(1, "run")
    assert [(e.now, e.event) for e in rest] == EVENTS
    assert [e.body for e in rest if e.body] == [digest(BODY)]
    assert unpack(records[4].bodies[digest(BODY)], Sent) == Sent(b"\1\2", 7, {"loss": 0.5})


def test_what_waits_for_a_sync_is_bounded() -> None:
    store = MemoryStore(Disk())
    journal = Journal(store, "run")
    for n in range(2 * QUEUE + 5):
        journal.append(n, on.Woke())
    assert store.recover().last == 2 * QUEUE


@pytest.mark.parametrize(
    ("number", "data", "bodies", "said"),
    [
        (1, pack((0, on.Woke())), {}, "Woke; a journal has one header, and it comes first"),
        (2, pack((0, Header(1, "run"))), {}, "Header; a journal has one header"),
        (2, pack((0, ["Danced", 1])), {}, "Danced.*with the version of hocket that wrote it"),
        (2, b"\xc1", {}, "with the version of hocket that wrote it"),
        (2, pack((0, on.Woke(), digest(b"a"))), {}, "its body .* is missing or damaged"),
        (2, pack((0, on.Woke(), digest(b"a"))), {digest(b"a"): b"b"}, "its body .* is missing or damaged"),
    ],
)
def test_what_is_no_entry_is_named(number: int, data: bytes, bodies: dict[str, bytes], said: str) -> None:
    with pytest.raises(Damaged, match=f"here: .*{said}"):
        decode(Record(number, 1, data, bodies), "here")


def test_a_store_is_a_folder_that_can_be_moved(tmp_path: Path) -> None:
    from hocket.store import SQLiteStore, read

    store = SQLiteStore(tmp_path / "a")
    store.append(b"x")
    store.sync()
    store.close()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["durable", "journal.sqlite"]
    (tmp_path / "a").rename(tmp_path / "b")
    assert read(tmp_path / "b").last == 1
