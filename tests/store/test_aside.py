"""What a thread writes aside keeps no sync waiting, and nothing counts on it before it is there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path
from threading import Event

import pytest

from hocket.errors import Fenced, StoreFailed
from hocket.snapshot import digest
from hocket.store import SQLiteStore, read, sqlite
from hocket.store.aside import Aside
from hocket.store.sqlite import JOURNAL, LATEST, PAGE
from hocket.store.store import Recovered


@contextmanager
def writing(folder: Path, **options: object) -> Iterator[tuple[SQLiteStore, Aside]]:
    aside = Aside()
    store = SQLiteStore(folder, aside=aside, **options)  # type: ignore[arg-type]
    try:
        yield store, aside
    finally:
        store.close()
        aside.close()


def copied(folder: Path) -> Recovered:
    """What a kill now would leave."""
    image = folder.with_name("image")
    shutil.rmtree(image, ignore_errors=True)
    shutil.copytree(folder, image, ignore=shutil.ignore_patterns("*-shm"))
    return read(image)


def append(store: SQLiteStore, count: int) -> None:
    for _ in range(count):
        store.append(b"record")
    store.sync()


def test_no_sync_waits_for_a_checkpoint(tmp_path: Path) -> None:
    """The thread is held up; records become durable all the same, and a kill loses none of them."""
    release = Event()
    with writing(tmp_path / "run") as (store, aside):
        append(store, 3)
        aside.give(release.wait)
        store.save(3, {"model": b"..."})
        append(store, 4)
        found = copied(tmp_path / "run")
        assert found.checkpoint is None and found.last == 7
        release.set()
    found = read(tmp_path / "run")
    assert found.checkpoint is not None and found.checkpoint.covers == 3 and found.last == 7


def test_a_checkpoint_counts_from_the_first_sync_after_it_is_written(tmp_path: Path) -> None:
    with writing(tmp_path / "run") as (store, aside):
        append(store, 3)
        store.save(3, {})
        aside.give(lambda: None).result()
        assert copied(tmp_path / "run").checkpoint is None, "nobody has looked at the term since"
        store.sync()
        found = copied(tmp_path / "run")
        assert found.checkpoint is not None and found.checkpoint.covers == found.last == 3
        append(store, 2)
        store.save(5, {})
        store.save(5, {})  # one at a time: the one before is waited for
        assert copied(tmp_path / "run").checkpoint.covers == 5  # type: ignore[union-attr]
        append(store, 1)
    with writing(tmp_path / "run") as (store, aside):
        assert store.recover().last == 6
    assert sorted(p.name for p in (tmp_path / "run").glob("checkpoint*")) == ["checkpoint-000000000000005"]


def test_a_checkpoint_of_a_writer_whose_term_is_over_never_counts(tmp_path: Path) -> None:
    with writing(tmp_path / "run") as (store, aside):
        append(store, 3)
        store.save(3, {"model": b"old"})
        aside.give(lambda: None).result()
        with writing(tmp_path / "run") as (other, _):
            append(other, 1)
            with pytest.raises(Fenced):
                store.sync()
    assert read(tmp_path / "run").checkpoint is None and read(tmp_path / "run").last == 4


def test_a_failure_aside_is_the_stores_last(tmp_path: Path) -> None:
    """What was written before it is there; nothing is acknowledged after it."""
    full = OSError(ENOSPC, "No space left on device")

    def hook(step: str) -> None:
        if step == "sync file":
            raise full

    with writing(tmp_path / "run", hook=hook) as (store, aside):
        append(store, 3)
        store.save(3, {})
        with pytest.raises(OSError, match="No space"):
            aside.give(lambda: None).result()
        with pytest.raises(StoreFailed, match="No space"):
            store.sync()
        with pytest.raises(StoreFailed, match="No space"):
            store.append(b"later")
    found = read(tmp_path / "run")
    assert found.checkpoint is None and found.last == 3


def test_the_write_ahead_log_is_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays bounded, with a thread that keeps up and with one that is held up."""
    monkeypatch.setattr(sqlite, "LOG_PAGES", 64)
    most, body = LATEST * 64 * PAGE, b"u" * (1 << 16)
    count = 4 * most // len(body)
    for release in (None, Event()):
        folder = tmp_path / f"run-{release is None}"
        with writing(folder) as (store, aside):
            if release is not None:
                aside.give(release.wait)
            for at in range(count):
                store.append(b"record", {digest(body): body})
                if at % 4 == 3:
                    store.sync()
            assert (folder / f"{JOURNAL}-wal").stat().st_size < 1.5 * most
            if release is not None:
                release.set()
        assert read(folder).last == count
