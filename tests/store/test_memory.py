"""What a store needs of memory does not grow with its journal."""

import tracemalloc
from pathlib import Path

from hocket.snapshot import digest
from hocket.store import SQLiteStore, read

RECORDS, BODY = 400, 1 << 16


def long_journal(folder: Path) -> int:
    """Write a journal of 64 KiB updates; its bytes."""
    store = SQLiteStore(folder)
    for i in range(RECORDS):
        body = i.to_bytes(4, "big") * (BODY // 4)
        store.append(b"record", {digest(body): body})
        if i % 20 == 19:
            store.sync()
    store.close()
    return RECORDS * BODY


def test_records_are_gone_through_one_at_a_time(tmp_path: Path) -> None:
    total = long_journal(tmp_path / "run")
    store = SQLiteStore(tmp_path / "run")
    for found in (store.recover(), read(tmp_path / "run")):
        tracemalloc.start()
        try:
            assert sum(len(b) for r in found.records for b in r.bodies.values()) == total
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(found.records) == found.last == RECORDS
        assert peak < 16 * BODY, f"{peak} bytes to read {total}"
    store.close()


def test_a_reader_sees_what_was_there_when_it_began(tmp_path: Path) -> None:
    """However long it takes, and though the writer drops what checkpoints cover."""
    long_journal(tmp_path / "run")
    store = SQLiteStore(tmp_path / "run")
    found = read(tmp_path / "run")
    store.save(RECORDS, {})
    store.save(RECORDS, {})
    store.append(b"later")
    store.sync()
    assert [r.number for r in found.records] == list(range(1, RECORDS + 1))
    assert [r.data for r in read(tmp_path / "run").records] == [b"later"]
    store.close()
