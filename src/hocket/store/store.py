"""The contract of durable memory: records in order, the bodies they refer to, and checkpoints of what came of them."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from msgspec import Struct

Hook = Callable[[str], None]
"""Called with the name of every step that touches the disk, before it is taken; may raise ``OSError``."""


class Checkpoint(Struct, frozen=True):
    """State that holds the effect of records 1 to ``covers``; ``state``: name to bytes."""

    covers: int
    state: dict[str, bytes]


class Record(Struct, frozen=True):
    """A durable record: its number (from 1), the term of its writer, its bytes and the bodies it refers to."""

    number: int
    term: int
    data: bytes
    bodies: dict[str, bytes] = {}


class Recovered(Struct, frozen=True):
    """What is durable: the newest whole checkpoint (None: there is none), and every record after it in order.

    Records may be read and checked only as somebody goes through them, so that a long journal needs little memory;
    :class:`hocket.errors.Damaged` can then be raised on the way.
    """

    checkpoint: Checkpoint | None
    records: Collection[Record]

    @property
    def last(self) -> int:
        """The number of the last durable record, 0 if there is none."""
        return (0 if self.checkpoint is None else self.checkpoint.covers) + len(self.records)


class Store(Protocol):
    """The durable memory of one run; one writer at a time, fenced by a term.

    Opening a store takes the next term. A writer whose term is over gets :class:`hocket.errors.Fenced` at its
    next ``sync`` or ``save``, and from every call after that. A writer recovers before it appends.
    """

    @property
    def term(self) -> int:
        """The term of this writer, from 1."""

    def append(self, record: bytes, bodies: Mapping[str, bytes] = {}) -> int:
        """Queue a record; its number, from 1. It is not durable before the next :meth:`sync`.

        ``bodies``: what the record refers to, by ``hocket.snapshot.digest`` (32 hex digits).

        Raises:
            StoreFailed: the store takes no more writes.
        """

    def sync(self) -> int:
        """Make everything appended durable in one commit; how many records are durable.

        Raises:
            StoreFailed: it is not; nothing since the last sync may be acknowledged, and no more writes are taken.
            Fenced: another writer has opened the store.
        """

    def save(self, covers: int, state: Mapping[str, bytes]) -> None:
        """Write a checkpoint that covers records 1 to ``covers``, all of them durable, whole or not at all.

        Two are kept. Records and bodies that the older of the two covers are dropped, at once or by and by.

        Raises:
            InvalidInput: ``covers`` is beyond what is durable, or before the newest checkpoint.
            StoreFailed, Fenced: as :meth:`sync`.
        """

    def recover(self) -> Recovered:
        """The newest checkpoint that is whole, the records after it in order, and the bodies they refer to.

        A torn tail that was never durable is cut. Changes nothing: it may be repeated, and interrupted.

        Raises:
            Damaged: something durable is missing or changed, here or while the records are gone through; the message
                names the place.
        """

    def close(self) -> None:
        """Let go of the store; what was not synced is lost. A second time does nothing."""
