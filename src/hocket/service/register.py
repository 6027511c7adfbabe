"""Which keys speak for which client: enrolled once, with a one-time token, until they are revoked.

An SQLite file, synced with every change. Tokens are kept as digests. Enrolling the same key with the same token again
is answered alike, since the first answer may have been lost.
"""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Lock

from hocket.errors import InvalidInput, StoreFailed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS token (digest TEXT PRIMARY KEY, client INTEGER, key TEXT);
CREATE TABLE IF NOT EXISTS device (client INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, revoked INTEGER NOT NULL);
"""


class Register:
    """Devices of one run, at most ``clients`` of them.

    Raises:
        StoreFailed: the disk takes no writes, or the file is damaged.
    """

    def __init__(self, path: Path, clients: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clients = clients
        with _failing():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            self._keys: dict[str, int] = dict(self._db.execute("SELECT key, client FROM device WHERE NOT revoked"))
            spoken = "SELECT client FROM device UNION SELECT client FROM token WHERE client IS NOT NULL"
            self._spoken: set[int] = {c for (c,) in self._db.execute(spoken)}  # for or reserved; it only grows
        self._next = 0
        self._lock = Lock()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def invite(self, count: int = 1, client: int | None = None) -> list[str]:
        """New one-time tokens; one with a ``client`` is for that client only, and replaces its key.

        Raises:
            InvalidInput: there is no such client.
        """
        if client is not None and not 0 <= client < self._clients:
            raise InvalidInput(f"client {client}: this run has clients 0..{self._clients - 1}")
        tokens = [secrets.token_hex(16) for _ in range(1 if client is not None else count)]
        with self._lock, self._change():
            self._db.executemany("INSERT INTO token VALUES (?, ?, NULL)", [(_digest(t), client) for t in tokens])
            if client is not None:
                self._spoken.add(client)
        return tokens

    def enrol(self, token: str, key: str) -> int:
        """The client that a key stands for from now on; it waits for the disk, so an event loop asks a thread.

        Raises:
            InvalidInput: an unknown or used token, a key that has a client, or no client is left.
            StoreFailed: the disk takes no writes; nothing has changed.
        """
        name = _digest(token)
        with self._lock:
            with self._change():
                row = self._db.execute("SELECT client, key FROM token WHERE digest = ?", (name,)).fetchone()
                if row is None or row[1] not in (None, key):
                    raise InvalidInput("token: unknown or used; ask the operator for another one")
                if row[1] == key and key in self._keys:
                    return self._keys[key]
                if self._db.execute("SELECT 1 FROM device WHERE key = ?", (key,)).fetchone():
                    raise InvalidInput("key: it is or was a device's; make another one")
                client = self._free() if row[0] is None else int(row[0])
                self._db.execute("UPDATE token SET key = ?, client = ? WHERE digest = ?", (key, client, name))
                self._db.execute("INSERT OR REPLACE INTO device VALUES (?, ?, 0)", (client, key))
            self._spoken.add(client)
            self._keys = {k: c for k, c in self._keys.items() if c != client} | {key: client}
            return client

    @contextmanager
    def _change(self) -> Iterator[None]:
        """All of it or nothing."""
        try:
            with _failing():
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _free(self) -> int:
        """The first client that nobody speaks for or ever spoke for."""
        while self._next in self._spoken:
            self._next += 1
        if self._next >= self._clients:
            raise InvalidInput(f"token: all {self._clients} clients of this run are taken; revoke one and name it")
        return self._next

    def client(self, key: str) -> int | None:
        """Whom a key speaks for."""
        return self._keys.get(key)

    def revoke(self, client: int) -> bool:
        """A client's key counts no more; whether it had one."""
        with self._lock:
            with self._change():
                self._db.execute("UPDATE device SET revoked = 1 WHERE client = ?", (client,))
            before = len(self._keys)
            self._keys = {k: c for k, c in self._keys.items() if c != client}
            return len(self._keys) < before

    @property
    def enrolled(self) -> int:
        """How many keys count."""
        return len(self._keys)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as e:
        raise StoreFailed(f"register of devices: {e}; make room or repair the disk, then try again") from e


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
