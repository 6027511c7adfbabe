"""The embedded store: a folder with an SQLite journal, checkpoint files, and a note of how far it is durable.

``journal.sqlite`` is in WAL mode with full sync, so a commit that returned survives a power cut, and a torn
one vanishes. SQLite does not tell a torn commit from a durable one that was damaged later: it cuts both.
Therefore every record carries number, term and checksum, and ``durable`` notes the last number whose commit
returned; the note itself is not synced, so it may lag behind after a power cut but never runs ahead.
Bodies lie beside their record in its row: with 64 KiB bodies that writes several times faster than needed.

A store that is given an :class:`~hocket.store.aside.Aside` lets its thread move the write-ahead log into the database
and write checkpoints, so that a sync costs one sync of the log. What is durable when is the same, but for a
checkpoint: it counts from the first sync after it is written.
"""

import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from weakref import finalize

from hocket.errors import Damaged, Fenced, HocketError, InvalidInput, StoreFailed
from hocket.files import sync_folder
from hocket.snapshot import pack, unpack
from hocket.store import checkpoint
from hocket.store.aside import Aside, at_once
from hocket.store.store import Hook, Record, Recovered

FORMAT = 1
APPLICATION = 0x686F636B  # "hock", in the header of the database
PAGE = 16384  # bytes; the fastest of 4, 16 and 64 KiB with 64 KiB bodies
LOG_PAGES = 1024  # of the write-ahead log before it is moved into the database
LATEST = 4  # times so many pages, where the thread aside does not catch up, and a commit moves what is left
FOLDS = 3  # passes at most; each moves what was logged during the one before it
WAIT_S = 30.0  # for another process that holds the database
NOTE = "durable"
JOURNAL = "journal.sqlite"
_SCHEMA = (
    "CREATE TABLE writer (id INTEGER PRIMARY KEY, term INTEGER NOT NULL, sum BLOB NOT NULL)",
    "CREATE TABLE record (number INTEGER PRIMARY KEY, term INTEGER NOT NULL, data BLOB NOT NULL, bodies BLOB, "
    "sum BLOB NOT NULL)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
)
_ENVIRONMENT = {3, 5, 6, 8, 10, 13, 14}  # permission, busy, locked, read only, I/O, full, cannot open


class SQLiteStore:
    """A :class:`~hocket.store.Store` in a folder, opened for writing; a folder that does not exist is made.

    ``hook`` is called with the name of every step that touches the disk, before it is taken. ``aside`` does what no
    commit has to wait for; whoever gives it closes it, after the store.

    Raises:
        Damaged: the store is not whole; nothing in it was changed.
        StoreFailed: the disk is full, cannot be written, or another process keeps the database locked.

    >>> import tempfile
    >>> from hocket.snapshot import digest
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = SQLiteStore(Path(folder) / "run")
    ...     store.append(b"first"), store.append(b"second", {digest(b"body"): b"body"}), store.sync()
    ...     store.save(1, {"model": b"..."})
    ...     store.close()
    ...     found = read(Path(folder) / "run")
    (1, 2, 2)
    >>> found.checkpoint.covers, [(r.number, r.data, list(r.bodies.values())) for r in found.records]
    (1, [(2, b'second', [b'body'])])
    """

    def __init__(self, folder: Path, *, hook: Hook = lambda step: None, aside: Aside | None = None) -> None:
        self._folder, self._hook, self._aside = folder, hook, aside
        self._give = at_once if aside is None else aside.give
        self._written: tuple[int, Future[None]] | None = None  # a checkpoint on its way: what it covers
        self._logged = 0  # bytes given to the write-ahead log since somebody last began to move it
        self._failure: StoreFailed | None = None
        self._queue: list[tuple[int, int, bytes, bytes | None, bytes]] = []
        with _failing(folder, StoreFailed):
            hook("make folder")
            folder.mkdir(parents=True, exist_ok=True)
        if (folder / JOURNAL).exists():
            with _reading(folder) as db:
                _check(folder, db)
        with _failing(folder, StoreFailed):
            hook("open")
            self._db = sqlite3.connect(folder / JOURNAL, timeout=WAIT_S, isolation_level=None)
        try:
            with _failing(folder, StoreFailed):
                self.term = self._begin()
            self._kept = checkpoint.whole(folder)[-2:]
            first, last = self._db.execute("SELECT min(number), max(number) FROM record").fetchone()
            self._durable = self._last = max(last or 0, *self._kept, 0)
            self._first = first or self._last + 1
            with _failing(folder, StoreFailed):
                self._note = os.open(folder / NOTE, os.O_WRONLY | os.O_CREAT, 0o666)
        except BaseException:
            self._db.close()
            raise

    def _begin(self) -> int:
        """Set the database up, make what the last writer left durable, and take the next term."""
        db = self._db
        for pragma in (f"page_size = {PAGE}", "journal_mode = WAL", "synchronous = FULL"):
            db.execute(f"PRAGMA {pragma}")
        db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES * (1 if self._aside is None else LATEST)}")
        self._hook("fold")  # pages of a commit whose sync failed are written again, never taken as synced
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._hook("take term")
        db.execute("BEGIN IMMEDIATE")
        if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            for statement in _SCHEMA:
                db.execute(statement)
        term = _term(db, self._folder) + 1
        db.execute("INSERT OR REPLACE INTO writer VALUES (1, ?, ?)", (term, _sum(term)))
        self._hook("commit")
        db.execute("COMMIT")
        self._hook("sync folder")
        sync_folder(self._folder)
        sync_folder(self._folder.parent)
        return term

    def append(self, record: bytes, bodies: Mapping[str, bytes] = {}) -> int:
        """See :class:`~hocket.store.Store`; so for the other methods."""
        self._usable()
        self._last += 1
        packed = pack(dict(bodies)) if bodies else None
        self._queue.append((self._last, self.term, record, packed, _sum(self._last, self.term, record, packed)))
        return self._last

    def sync(self) -> int:
        self._usable()
        with self._commit():
            if self._written is not None and self._written[1].done() and not self._written[1].exception():
                self._place(self._written[0])
            self._hook("insert")
            self._db.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", self._queue)
            self._drop(2 * len(self._queue))
        if self._aside is not None:
            self._logged += sum(len(record) + len(bodies or b"") for _, _, record, bodies, _ in self._queue)
            if self._logged >= LOG_PAGES * PAGE:
                self._logged = 0
                self._give(partial(_fold, self._folder))
        self._queue.clear()
        with self._guard():
            self._hook("note")
            os.pwrite(self._note, pack((self._last, _sum(self._last))), 0)
        self._durable = self._last
        return self._durable

    def save(self, covers: int, state: Mapping[str, bytes]) -> None:
        self._usable()
        self._settle()
        least = self._kept[-1] if self._kept else 0
        if not least <= covers <= self._durable:
            raise InvalidInput(
                f"store {self._folder}: a checkpoint of records 1 to {covers}; {least} to {self._durable} can be "
                "covered (what is durable, and not before the newest checkpoint)"
            )
        with self._guard():
            write = partial(checkpoint.prepare, self._folder, covers, dict(state), self._hook)
            self._written = covers, self._give(write)
        if self._aside is None:
            self._settle()

    def _settle(self) -> None:
        """Wait for a checkpoint that is being written."""
        if self._written is not None:
            with self._guard():
                self._written[1].result()
            with self._commit():
                self._place(self._written[0])

    def _place(self, covers: int) -> None:
        """Within a commit, which makes sure that the term is not over: a written checkpoint counts from now on."""
        checkpoint.put(self._folder, covers, self._hook)
        self._written, self._kept = None, [*(c for c in self._kept[-1:] if c != covers), covers]
        self._give(partial(checkpoint.settle, self._folder, self._kept, self._hook))

    def _drop(self, most: int) -> None:
        """Drop records that two checkpoints cover, a few per commit: all at once would make updates wait."""
        last = min(self._kept[0] if len(self._kept) == 2 else 0, self._first + most - 1)
        if last >= self._first:
            self._hook("drop records")
            self._db.execute("DELETE FROM record WHERE number <= ?", (last,))
            self._first = last + 1

    def recover(self) -> Recovered:
        with _failing(self._folder, Damaged):
            return _recover(self._folder, self._db)

    def close(self) -> None:
        if self._note >= 0:
            with suppress(HocketError):
                if self._failure is None and not (self._written and self._written[1].exception()):
                    self._settle()
            with suppress(sqlite3.Error):
                self._db.close()
            os.close(self._note)
            self._note = -1
            self._failure = self._failure or StoreFailed(f"store {self._folder} is closed; open it again")

    def _usable(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._aside is not None:
            with self._guard():
                self._aside.check()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Any failure inside is the store's last."""
        try:
            with _failing(self._folder, StoreFailed):
                yield
        except StoreFailed as e:
            self._failure = e
            raise

    @contextmanager
    def _commit(self) -> Iterator[None]:
        """One transaction, if this writer's term is not over."""
        with self._guard():
            try:
                self._hook("begin")
                self._db.execute("BEGIN IMMEDIATE")
                if (term := _term(self._db, self._folder)) != self.term:
                    raise Fenced(
                        f"store {self._folder}: term {term} has begun, this writer's is {self.term}; another process "
                        "has taken the run over, stop this one"
                    )
                yield
                self._hook("commit")
                self._db.execute("COMMIT")
            except (HocketError, OSError, sqlite3.Error):
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise


def _fold(folder: Path) -> None:
    """Move the write-ahead log into the database, as far as it goes; the writer goes on meanwhile."""
    with _failing(folder, StoreFailed), closing(sqlite3.connect(folder / JOURNAL, timeout=WAIT_S)) as db:
        db.execute("PRAGMA synchronous = FULL")
        for _ in range(FOLDS):
            _, logged, moved = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if moved == logged:
                return


def read(folder: Path) -> Recovered:
    """What a store holds, without becoming its writer.

    Raises:
        InvalidInput: there is no store in the folder.
        Damaged: as :meth:`hocket.store.Store.recover`.
    """
    if not (folder / JOURNAL).exists():
        raise InvalidInput(f"journal {folder} does not exist; give the folder that the run wrote")
    with ExitStack() as opened:
        db = opened.enter_context(_reading(folder))
        _check(folder, db)
        found = _recover(folder, db)
        finalize(found.records, opened.pop_all().close)
    return found


def _recover(folder: Path, db: sqlite3.Connection) -> Recovered:
    start = checkpoint.newest(folder)
    covers = 0 if start is None else start.covers
    (last,) = db.execute("SELECT max(number) FROM record").fetchone()
    return Recovered(start, Records(folder, db, covers, max(0, (last or 0) - covers)))


class Records(Collection[Record]):
    """The ``count`` records after the first ``covers``; each is read and checked when its turn has come.

    Raises:
        Damaged: while they are gone through.
    """

    def __init__(self, folder: Path, db: sqlite3.Connection, covers: int, count: int) -> None:
        self._folder, self._db, self._covers, self._count = folder, db, covers, count

    def __len__(self) -> int:
        return self._count

    def __contains__(self, record: object) -> bool:
        return any(record == r for r in self)

    def __iter__(self) -> Iterator[Record]:
        number, before = self._covers, 0
        query = "SELECT number, term, data, bodies, sum FROM record WHERE number > ? ORDER BY number"
        with _failing(self._folder, Damaged):
            for found, term, data, bodies, total in self._db.execute(query, (number,)):
                number += 1
                where = f"store {self._folder}: record {number}"
                if found != number:
                    raise Damaged(f"{where} is missing, the next one is {found}; take the store from a copy")
                if total != _sum(found, term, data, bodies):
                    raise Damaged(f"{where} does not match its checksum; take the store from a copy")
                if term < before:
                    raise Damaged(f"{where} is of term {term}, after one of term {before}; take the store from a copy")
                before = term
                yield Record(number, term, data, {} if bodies is None else unpack(bodies, dict[str, bytes]))


def _check(folder: Path, db: sqlite3.Connection) -> None:
    """Raise :class:`Damaged` unless the database is whole and holds what was noted as durable."""
    (application,), (form,) = (db.execute(f"PRAGMA {p}").fetchone() for p in ("application_id", "user_version"))
    kept, noted = checkpoint.whole(folder), _noted(folder)
    if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        if kept or noted:
            raise Damaged(f"store {folder}: the journal is empty, {noted} records were durable; take it from a copy")
        return  # killed while it was made
    if application != APPLICATION:
        raise Damaged(f"store {folder}: {JOURNAL} is no journal of hocket, or its header is damaged")
    if form != FORMAT:
        raise Damaged(f"store {folder}: format {form}; this version of hocket reads format {FORMAT}")
    if (said := db.execute("PRAGMA quick_check(1)").fetchone()[0]) not in ("ok", b"ok"):
        raise Damaged(f"store {folder}: {said}; take the store from a copy")
    first, last, count, newest_term = db.execute(
        "SELECT min(number), max(number), count(*), max(term) FROM record"
    ).fetchone()
    covered = kept[-1] if kept else 0
    if max(last or 0, covered) < noted:
        raise Damaged(
            f"store {folder}: records {max(last or 0, covered) + 1} to {noted} were durable and are gone; take the "
            "store from a copy"
        )
    if (count and (last - first + 1 != count or first > covered + 1)) or (newest_term or 0) > _term(db, folder):
        raise Damaged(f"store {folder}: records {covered + 1} to {last} are not all there; take the store from a copy")


def _term(db: sqlite3.Connection, folder: Path) -> int:
    """The term of the latest writer, 0 before the first."""
    row = db.execute("SELECT term, sum FROM writer WHERE id = 1").fetchone()
    if row is None:
        return 0
    if row[1] != _sum(row[0]):
        raise Damaged(f"store {folder}: the writer's term does not match its checksum; take the store from a copy")
    return int(row[0])


def _noted(folder: Path) -> int:
    """The number of the last record known to be durable; 0 if the note is torn."""
    try:
        number, total = unpack((folder / NOTE).read_bytes(), tuple[int, bytes])
    except (FileNotFoundError, Damaged):
        return 0
    return number if total == _sum(number) else 0


def _sum(*values: object) -> bytes:
    return blake2b(pack(values), digest_size=16).digest()


@contextmanager
def _reading(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database, to be looked at: nothing in it changes, not even on closing."""
    with _failing(folder, Damaged):
        uri = f"{(folder / JOURNAL).absolute().as_uri()}?mode=ro"
        db = sqlite3.connect(  # whoever lets go of it last closes it, in any thread
            uri, uri=True, timeout=WAIT_S, isolation_level=None, check_same_thread=False
        )
        with closing(db):
            db.text_factory = bytes
            db.execute("BEGIN")
            yield db


@contextmanager
def _failing(folder: Path, kind: type[HocketError]) -> Iterator[None]:
    """Name what SQLite and the system say: damage is :class:`Damaged`, the rest ``StoreFailed``."""
    try:
        yield
    except sqlite3.Error as e:
        code = getattr(e, "sqlite_errorcode", 0) & 0xFF
        if kind is StoreFailed or code in _ENVIRONMENT:
            raise StoreFailed(f"store {folder}: {e}; make room or repair the disk, then start again") from e
        raise Damaged(f"store {folder}: {e}; take the store from a copy") from e
    except OSError as e:
        raise StoreFailed(f"store {folder}: {e.strerror or e}; make room or repair the disk, then start again") from e
