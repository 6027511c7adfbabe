"""What a device remembers across restarts: who it is, the nodes it holds, what it owes and what it was not answered.

An SQLite file and, for large values, files beside it. An update and the error-feedback memory that it changed are
kept in one transaction, and so is an answer with what it settles: a device killed at any time neither trains an
accepted lease again nor forgets a residual.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from hocket.errors import InvalidInput, StoreFailed
from hocket.files import replace
from hocket.lease import Lease, Node
from hocket.received import Sent
from hocket.schema import Schema, Vector
from hocket.snapshot import pack, unpack

FORMAT = 1
OVER = 1024  # answered leases that are not taken up again
_SCHEMA = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS node (task TEXT PRIMARY KEY, node BLOB NOT NULL, file TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS memory (task TEXT PRIMARY KEY, state BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS waiting (lease INTEGER PRIMARY KEY, work BLOB NOT NULL, sent BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS over (number INTEGER PRIMARY KEY, lease INTEGER NOT NULL);
"""


class Waiting(Struct, frozen=True):
    """An update that was trained and is not answered."""

    lease: Lease
    sent: Sent


def unwritable(folder: Path, error: Exception) -> StoreFailed:
    """What to say when the disk under a device's folder does not do as it should."""
    why, file = getattr(error, "strerror", None) or error, getattr(error, "filename", None) or folder
    return StoreFailed(f"{file}: {why}; make room or repair the disk, then start again")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what a disk says into an error that names the folder.

    Raises:
        InvalidInput: another device uses the folder.
        StoreFailed: the disk takes no writes, or what is there is damaged.
    """
    try:
        yield
    except sqlite3.DatabaseError as e:
        if "locked" in str(e):
            raise InvalidInput(f"{folder}: {e}; one device uses one folder, give another one") from None
        raise unwritable(folder, e) from e
    except OSError as e:
        raise unwritable(folder, e) from e


class Keep:
    """The memory of one device, in a folder; ``limit``: bytes of nodes and of parts of downloads, each.

    Raises:
        InvalidInput: another device uses the folder.
        StoreFailed: the disk takes no writes, or what is there is damaged.
    """

    def __init__(self, folder: Path, limit: int = 1 << 33) -> None:
        self.folder, self._limit = folder, limit
        with writing(folder):
            (folder / "nodes").mkdir(parents=True, exist_ok=True)
            (folder / "parts").mkdir(exist_ok=True)
            folder.chmod(0o700)
            path = folder / "device.sqlite"
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
            except sqlite3.DatabaseError:
                self._db.close()
                raise

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    # --- who it is ---------------------------------------------------------------------------------------

    def fact(self, name: str) -> str:
        """A remembered word, "" if there is none."""
        row = self._db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return "" if row is None else str(row[0])

    def note(self, **facts: str) -> None:
        """Remember words."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", facts.items())
        self._db.execute("COMMIT")

    # --- nodes -------------------------------------------------------------------------------------------

    def hold(self, node: Node, value: Vector) -> None:
        """Keep the newest node of a task; one too large is kept in memory only."""
        data = value.astype("<f4", copy=False).tobytes()
        before = self._db.execute("SELECT file FROM node WHERE task = ?", (node.task,)).fetchone()
        if len(data) > self._limit:
            self._db.execute("DELETE FROM node WHERE task = ?", (node.task,))
        else:
            name = sha256(data).hexdigest()
            replace(self.folder / "nodes" / name, lambda p: p.write_bytes(data))
            self._db.execute("INSERT OR REPLACE INTO node VALUES (?, ?, ?)", (node.task, pack(node), name))
        kept = {row[0] for row in self._db.execute("SELECT file FROM node")}
        if before is not None and before[0] not in kept:
            (self.folder / "nodes" / before[0]).unlink(missing_ok=True)

    def nodes(self, schemas: Mapping[str, Schema]) -> dict[Node, Vector]:
        """The nodes that are whole."""
        out: dict[Node, Vector] = {}
        for task, packed, name in self._db.execute("SELECT task, node, file FROM node"):
            path = self.folder / "nodes" / name
            data = path.read_bytes() if path.exists() else b""
            if task in schemas and len(data) == schemas[task].nbytes and sha256(data).hexdigest() == name:
                out[unpack(packed, Node)] = np.frombuffer(data, "<f4").astype(np.float32, copy=False)
        return out

    def part(self, digest: str) -> Path:
        """Where a download that is not whole yet is kept; older ones go when there is too much of them."""
        folder = self.folder / "parts"
        parts = sorted((p for p in folder.iterdir() if p.name != digest), key=lambda p: p.stat().st_mtime)
        total = sum(p.stat().st_size for p in parts)
        while parts and total > self._limit:
            total -= parts[0].stat().st_size
            parts.pop(0).unlink()
        return folder / digest

    # --- work --------------------------------------------------------------------------------------------

    def trained(self, lease: Lease, sent: Sent, memory: Any) -> None:
        """Keep an update to be sent, and the memory of the uplink that encoded it."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?)", (lease.id, pack(lease), pack(sent)))
        self._remember(lease.task, memory)
        self._db.execute("COMMIT")

    def answered(self, lease: Lease, memory: Any) -> None:
        """An update was answered: it is not to be sent again, nor the lease to be worked on."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("DELETE FROM waiting WHERE lease = ?", (lease.id,))
        self._db.execute("INSERT INTO over (lease) VALUES (?)", (lease.id,))
        self._db.execute("DELETE FROM over WHERE number <= (SELECT max(number) FROM over) - ?", (OVER,))
        self._remember(lease.task, memory)
        self._db.execute("COMMIT")

    def _remember(self, task: str, memory: Any) -> None:
        if memory is not None:
            self._db.execute("INSERT OR REPLACE INTO memory VALUES (?, ?)", (task, pack(memory)))

    def waiting(self) -> list[Waiting]:
        """Updates that were not answered, in the order of their leases."""
        rows = self._db.execute("SELECT work, sent FROM waiting ORDER BY lease")
        return [Waiting(unpack(work, Lease), unpack(sent, Sent)) for work, sent in rows]

    def over(self) -> set[int]:
        """Leases that were answered."""
        return {lease for (lease,) in self._db.execute("SELECT lease FROM over")}

    def memory(self, task: str, kind: type[Any]) -> Any:
        """What the uplink of a task remembers, None at first."""
        with closing(self._db.execute("SELECT state FROM memory WHERE task = ?", (task,))) as rows:
            row = rows.fetchone()
        return None if row is None else unpack(row[0], kind)

    def forget(self) -> None:
        """Begin anew with another run: all but the key."""
        self._db.executescript(
            "BEGIN IMMEDIATE; DELETE FROM fact; DELETE FROM node; DELETE FROM memory; DELETE FROM waiting;"
            "DELETE FROM over; COMMIT;"
        )
        for path in (*(self.folder / "nodes").iterdir(), *(self.folder / "parts").iterdir()):
            path.unlink()
