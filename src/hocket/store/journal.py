"""What a server was told, in order, as records of a store, and checkpoints of what came of it.

A record is an :class:`Entry` in MessagePack, ``[nanoseconds, [name, fields...], digest of the body]``. The
first is a :class:`Header`, the last one of a run that ended an :class:`End`; those between are server events.
The body of an arrival is the update as it was sent (:class:`hocket.received.Sent`).
"""

import msgspec
from msgspec import Struct

from hocket.book import Book
from hocket.errors import Damaged
from hocket.events import Event, ServerEvent
from hocket.received import Received
from hocket.record.account import Account
from hocket.server import Server
from hocket.snapshot import digest, pack
from hocket.store.store import Record, Store

FORMAT = 1
EVERY = 1000  # accepted updates from one checkpoint to the next
QUEUE = 1024  # records that wait for a sync at most
KEPT = ("checkpoint", "checkpoint before", "checkpoint before that")
"""Guards of what the checkpoints that a store keeps count on in files, the newest first; it may be on its way."""


class Header(Event, frozen=True, gc=False, array_like=True, tag=True):
    """First record: the format of the entries and the digest of the setup."""

    format: int
    run: str


class End(Event, frozen=True, gc=False, array_like=True, tag=True):
    """Last record: the digest of the state that the run ended in."""

    digest: str


class Entry(Struct, frozen=True, gc=False, array_like=True):
    """An event, when it was told (ns), and the digest of its body if it has one."""

    now: int
    event: Header | End | ServerEvent
    body: str = ""


_decoder = msgspec.msgpack.Decoder(Entry)


def decode(record: Record, where: str) -> Entry:
    """The entry of a record.

    Raises:
        Damaged: it is none, or its body is missing; ``where`` begins the message.
    """
    try:
        entry = _decoder.decode(record.data)
    except msgspec.DecodeError as e:
        raise Damaged(f"{where}: {e}; read it with the version of hocket that wrote it") from None
    if isinstance(entry.event, Header) != (record.number == 1):
        raise Damaged(f"{where}: {type(entry.event).__name__}; a journal has one header, and it comes first")
    if entry.body and (entry.body not in record.bodies or digest(record.bodies[entry.body]) != entry.body):
        raise Damaged(f"{where}: its body {entry.body} is missing or damaged; take the store from a copy")
    return entry


def state_digest(server: Server, book: Book) -> str:
    """32 hex digits that stand for the server's memory and the bits of every published model."""
    models = (book.model(t) for t in server.state.tasks)
    return digest(server.snapshot(), *(b"" if x is None else x.tobytes() for x in models))


class Journal:
    """Writes entries to a store; ``run`` is the digest of the setup they belong to.

    ``updates``: how many were accepted when the last checkpoint was written.
    """

    def __init__(self, store: Store, run: str, *, updates: int = 0, every: int = EVERY) -> None:
        self._store, self._header, self._updates, self._every = store, Header(FORMAT, run), updates, every
        self._queued = 0

    def begin(self) -> None:
        """Write the header of a new run."""
        self.append(0, self._header)
        self.sync()

    def append(self, now: int, event: Event, body: bytes = b"") -> None:
        """Queue an event and its body; it is durable after the next :meth:`sync`."""
        name = digest(body) if body else ""
        self._store.append(pack((now, event, name) if body else (now, event)), {name: body} if body else {})
        self._queued += 1
        if self._queued >= QUEUE:
            self.sync()

    def sync(self) -> None:
        """Make everything appended durable."""
        self._store.sync()
        self._queued = 0

    def due(self, server: Server) -> bool:
        """Whether it is time for a checkpoint."""
        return server.state.updates - self._updates >= self._every

    def save(self, server: Server, book: Book, received: Received, account: Account, now: int) -> None:
        """Write a checkpoint if it is time for one; between two events, when no result is outstanding."""
        if not self.due(server):
            return
        self._updates = server.state.updates
        state = {
            "header": pack(self._header),
            "server": server.snapshot(),
            "book": book.snapshot(),
            "updates": pack(received.sent),
            "account": pack(account),
            "now": pack(now),
        }
        for archive in book.archives():
            archive.sync()
        self._store.save(self._store.sync(), state)
        for archive in book.archives():
            archive.guard(*KEPT)
        self._queued = 0
