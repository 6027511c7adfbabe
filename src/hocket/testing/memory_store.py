"""A store that forgets everything with its process: the contract in its shortest form, to compare others with."""

from collections.abc import Mapping

from msgspec import Struct

from hocket.errors import Damaged, Fenced, InvalidInput, StoreFailed
from hocket.snapshot import digest, pack, unpack
from hocket.store.store import Checkpoint, Hook, Record, Recovered


class Disk(Struct):
    """What outlives a :class:`MemoryStore`: values with their digests, records and checkpoints by number."""

    term: int = 0
    durable: int = 0
    records: dict[int, tuple[bytes, str]] = {}
    checkpoints: dict[int, tuple[bytes, str]] = {}


class MemoryStore:
    """A :class:`~hocket.store.Store` on a :class:`Disk`; ``hook`` is called before every change of the disk."""

    def __init__(self, disk: Disk, *, hook: Hook = lambda step: None) -> None:
        self._disk, self._hook = disk, hook
        self._queue: list[Record] = []
        self._failure: StoreFailed | None = None
        self._last = self.recover().last
        self._change("take term", lambda: setattr(disk, "term", disk.term + 1))
        self.term = disk.term

    def append(self, record: bytes, bodies: Mapping[str, bytes] = {}) -> int:
        if self._failure is not None:
            raise self._failure
        self._last += 1
        self._queue.append(Record(self._last, self.term, record, dict(bodies)))
        return self._last

    def sync(self) -> int:
        def commit() -> None:
            self._disk.records |= {r.number: _sealed(r) for r in self._queue}
            self._disk.durable = self._last

        self._check_term()
        self._change("commit", commit)
        self._queue.clear()
        return self._last

    def save(self, covers: int, state: Mapping[str, bytes]) -> None:
        self._check_term()
        disk = self._disk
        if not max(disk.checkpoints, default=0) <= covers <= disk.durable:
            raise InvalidInput(f"a checkpoint of records 1 to {covers}; durable are {disk.durable}")

        def write() -> None:
            disk.checkpoints[covers] = _sealed(Checkpoint(covers, dict(state)))

        def drop() -> None:
            kept = sorted(disk.checkpoints)[-2:]
            disk.checkpoints = {c: disk.checkpoints[c] for c in kept}
            if len(kept) == 2:
                disk.records = {n: r for n, r in disk.records.items() if n > kept[0]}

        self._change("write", write)
        self._change("drop", drop)

    def recover(self) -> Recovered:
        disk = self._disk
        whole = [unpack(data, Checkpoint) for data, seal in disk.checkpoints.values() if digest(data) == seal]
        start = max(whole, key=lambda c: c.covers, default=None)
        records = []
        for number in range(1 if start is None else start.covers + 1, disk.durable + 1):
            data, seal = disk.records.get(number, (b"", ""))
            if digest(data) != seal:
                raise Damaged(f"record {number} is missing or does not match its checksum; take the store from a copy")
            records.append(unpack(data, Record))
        return Recovered(start, records)

    def close(self) -> None:
        self._failure = self._failure or StoreFailed("the store is closed; open it again")

    def _check_term(self) -> None:
        if self._failure is None and self._disk.term != self.term:
            self._failure = Fenced(f"term {self._disk.term} has begun, this writer's is {self.term}; stop it")
        if self._failure is not None:
            raise self._failure

    def _change(self, step: str, change: object) -> None:
        try:
            self._hook(step)
        except OSError as e:
            self._failure = StoreFailed(f"store: {e}; make room, then start again")
            raise self._failure from e
        change()  # type: ignore[operator]


def _sealed(value: Struct) -> tuple[bytes, str]:
    data = pack(value)
    return data, digest(data)
