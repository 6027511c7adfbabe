"""A :class:`~hocket.store.Store` on a model disk: a journal in segments, checkpoints, and a note of what is durable.

A record is length, checksum and (number, term, data, bodies) in MessagePack. ``note`` says twice which term
is under way and how many records are durable, so that a record that was durable and is gone is told from one
that was torn. A segment ends at a checkpoint and is dropped when the older of two checkpoints covers it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise

from hocket.errors import Damaged, Fenced, InvalidInput, StoreFailed
from hocket.faults.disk import Disk
from hocket.snapshot import digest, pack, unpack
from hocket.store.store import Checkpoint, Hook, Record, Recovered

SUM = 16  # bytes of a checksum
HEAD = 4 + SUM
SLOT = SUM + 16  # bytes of each copy of the note


class DiskStore:
    """The store on a disk, opened for writing; ``hook`` is called before every step that changes the disk.

    Raises:
        Damaged: something durable is missing or changed.
        StoreFailed: the disk takes no writes.
    """

    def __init__(self, disk: Disk, *, hook: Hook = lambda step: None) -> None:
        self._disk, self._hook = disk, hook
        self._queue: list[Record] = []
        self._failure: StoreFailed | None = None
        self._fresh_segment = True
        term, durable = _noted(disk)
        found = _read(disk)
        if found.last < durable:
            raise Damaged(
                f"store: records {found.last + 1} to {durable} were durable and are gone; take it from a copy"
            )
        self.term, self._last, self._durable = term + 1, found.last, found.last
        with self._guard():
            self._hook("cut")
            _cut_tail(disk, durable)
            for name in disk.names():  # what survived a crash unsynced is made durable before it is believed
                disk.sync(name)
            self._hook("take term")
            if "note" not in disk.names():
                disk.create("note")
            disk.sync_folder()
            self._note()

    def append(self, record: bytes, bodies: Mapping[str, bytes] = {}) -> int:
        """See :class:`~hocket.store.Store`; so for the other methods."""
        self._usable()
        self._last += 1
        self._queue.append(Record(self._last, self.term, record, dict(bodies)))
        return self._last

    def sync(self) -> int:
        self._check_term()
        if self._queue:
            with self._guard():
                disk = self._disk
                if self._fresh_segment:
                    self._hook("new segment")
                    disk.create(_segment(self._queue[0].number))
                    disk.sync_folder()
                    self._fresh_segment = False
                name = _segments(disk)[-1]
                self._hook("write")
                disk.append(name, b"".join(_frame(r) for r in self._queue))
                self._hook("sync")
                disk.sync(name)
                self._durable = self._last
                self._queue.clear()
                self._hook("note")
                self._note()
        return self._durable

    def save(self, covers: int, state: Mapping[str, bytes]) -> None:
        self._check_term()
        disk, kept = self._disk, _checkpoints(self._disk)
        if not (kept[-1] if kept else 0) <= covers <= self._durable:
            raise InvalidInput(f"store: a checkpoint of records 1 to {covers}; durable are {self._durable}")
        name, body = _checkpoint(covers), pack(Checkpoint(covers, dict(state)))
        with self._guard():
            self._hook("checkpoint: write")
            disk.create("checkpoint.new")
            disk.append("checkpoint.new", bytes.fromhex(digest(body)) + body)
            self._hook("checkpoint: sync")
            disk.sync("checkpoint.new")
            self._hook("checkpoint: rename")
            disk.rename("checkpoint.new", name)
            self._hook("checkpoint: sync folder")
            disk.sync_folder()
            self._fresh_segment = True
            self._hook("checkpoint: drop")
            self._drop([*(c for c in kept[-1:] if c != covers), covers])

    def _drop(self, kept: list[int]) -> None:
        """Drop all checkpoints but these, and segments that the older of two covers."""
        for covers in _checkpoints(self._disk, whole=False):
            if covers not in kept:
                self._disk.remove(_checkpoint(covers))
        if len(kept) == 2:
            starts = [_number(n) for n in _segments(self._disk)]
            for start, following in pairwise(starts):
                if following <= kept[0] + 1:
                    self._disk.remove(_segment(start))

    def recover(self) -> Recovered:
        return _read(self._disk)

    def close(self) -> None:
        self._failure = self._failure or StoreFailed("store is closed; open it again")

    def _note(self) -> None:
        """Two copies, one synced before the other is touched: a torn or changed one leaves the other."""
        data = self.term.to_bytes(8, "little") + self._durable.to_bytes(8, "little")
        sealed = bytes.fromhex(digest(data)) + data
        for at in (0, SLOT):
            self._disk.write("note", at, sealed)
            self._disk.sync("note")

    def _usable(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _check_term(self) -> None:
        self._usable()
        if (term := _noted(self._disk)[0]) != self.term:
            self._failure = Fenced(f"store: term {term} has begun, this writer's is {self.term}; stop this one")
            raise self._failure

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Any failure inside is the store's last."""
        try:
            yield
        except OSError as e:
            self._failure = StoreFailed(f"store: {e.strerror}; make room or repair the disk, then start again")
            raise self._failure from e


def _read(disk: Disk) -> Recovered:
    """The newest whole checkpoint and the records after it, up to the first that is not whole.

    Raises:
        Damaged: there is a gap.
    """
    start = None
    for covers in reversed(_checkpoints(disk)):
        start = unpack(disk.read(_checkpoint(covers))[SUM:], Checkpoint)
        break
    number = covered = 0 if start is None else start.covers
    records: list[Record] = []
    segments = _segments(disk)
    for at, name in enumerate(segments):
        data, length = disk.read(name), 0
        for record, end in _frames(data):
            length = end
            if record.number <= covered:
                continue
            number += 1
            if record.number != number:
                raise Damaged(f"store: record {number} is missing, the next is {record.number}; take it from a copy")
            records.append(record)
        if length < len(data) and at + 1 < len(segments) and _number(segments[at + 1]) > covered + 1:
            raise Damaged(f"store: {name} is damaged after {length} bytes; take it from a copy")
    return Recovered(start, records)


def _cut_tail(disk: Disk, durable: int) -> None:
    """Cut what was torn; what was ``durable`` and is damaged, yet covered by a checkpoint, is left for its mirror."""
    segments = _segments(disk)
    if not segments:
        return
    name, length, last = segments[-1], 0, _number(segments[-1]) - 1
    data = disk.read(name)
    for record, end in _frames(data):
        last, length = record.number, end
    if length < len(data) and last >= durable:
        disk.cut(name, length)
    if not length and last >= durable:
        disk.remove(name)
        disk.sync_folder()


def _frame(record: Record) -> bytes:
    body = pack((record.number, record.term, record.data, record.bodies))
    return len(body).to_bytes(4, "little") + bytes.fromhex(digest(body)) + body


def _frames(data: bytes) -> Iterator[tuple[Record, int]]:
    """Whole records from the beginning, each with where it ends."""
    at = 0
    while at + HEAD <= len(data):
        end = at + HEAD + int.from_bytes(data[at : at + 4], "little")
        record = _record(data[at + 4 : at + HEAD], data[at + HEAD : end]) if end <= len(data) else None
        if record is None:
            return
        yield record, end
        at = end


@lru_cache(maxsize=4096)
def _record(seal: bytes, body: bytes) -> Record | None:
    """A record if its seal fits; remembered, since a crash everywhere reads the same journal again and again."""
    if bytes.fromhex(digest(body)) != seal:
        return None
    return Record(*unpack(body, tuple[int, int, bytes, dict[str, bytes]]))


def _noted(disk: Disk) -> tuple[int, int]:
    """Newest term and number of durable records that a whole copy of the note says; zeros if there is none.

    Raises:
        Damaged: there are records or checkpoints, and no copy of the note is whole.
    """
    data, found = disk.read("note"), [(0, 0)]
    for at in (0, SLOT):
        seal, said = data[at : at + SUM], data[at + SUM : at + SLOT]
        if len(said) == SLOT - SUM and bytes.fromhex(digest(said)) == seal:
            found.append((int.from_bytes(said[:8], "little"), int.from_bytes(said[8:], "little")))
    if len(found) == 1 and (_segments(disk) or _checkpoints(disk, whole=False)):
        raise Damaged("store: neither copy of the note is whole; take it from a copy")
    return max(found)


def _checkpoints(disk: Disk, whole: bool = True) -> list[int]:
    """How far each checkpoint covers, ascending; only those that are ``whole``."""
    names = [n for n in disk.names() if n.startswith("checkpoint-")]
    return [_number(n) for n in names if not whole or _whole(disk.read(n))]


def _whole(data: bytes) -> bool:
    return len(data) > SUM and bytes.fromhex(digest(data[SUM:])) == data[:SUM]


def _segments(disk: Disk) -> list[str]:
    return [n for n in disk.names() if n.startswith("journal-")]


def _segment(first: int) -> str:
    return f"journal-{first:015d}"


def _checkpoint(covers: int) -> str:
    return f"checkpoint-{covers:015d}"


def _number(name: str) -> int:
    return int(name.partition("-")[2])
