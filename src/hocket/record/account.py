"""The accounts of a run on received updates: open leases and what was sent for them, byte totals, evaluations."""

from typing import Literal

from msgspec import Struct

from hocket import actions as do
from hocket.book import Book
from hocket.events import Evaluated
from hocket.lease import Lease, Node
from hocket.record.curve import Curve
from hocket.record.ledger import Ledger

Station = Literal["download", "train", "upload"]


class Open(Struct):
    """A lease that is neither accepted nor released, and the bytes sent for it."""

    lease: Lease
    down: int = 0
    up: int = 0


class Account(Struct):
    """Kept by whoever carries out a server's actions, beside the book; ``held``: offers on their way, by client."""

    curve: Curve
    ledger: Ledger
    open: dict[int, Open] = {}
    held: dict[int, Node] = {}

    def assign(self, lease: Lease, book: Book) -> None:
        """A lease begins."""
        book.open(lease)
        self.open[lease.id] = Open(lease)

    def count(self, station: Station, lease: int, size: int) -> None:
        """Bytes that were sent for a lease."""
        if station == "download":
            self.ledger.down += size
            if lease in self.open:
                self.open[lease].down += size
        elif station == "upload":
            self.ledger.up += size
            if lease in self.open:
                self.open[lease].up += size

    def accumulate(self, a: do.Accumulate, book: Book) -> None:
        """An update was accepted."""
        lease = self.open.pop(a.lease)
        self.ledger.accepted(lease.lease, lease.down, book.accumulate(lease.lease, a.weight))

    def release(self, a: do.Release, book: Book) -> None:
        """A lease came to nothing, or an accepted update was taken out of line."""
        lease = self.open.pop(a.lease, None)
        if lease is None:
            book.discard(a.lease, a.task)
            return
        self.ledger.released(lease.lease, lease.down, lease.up, a.reason)
        book.release(lease.lease)

    def evaluated(self, e: Evaluated, now: int, updates: int, part_down: int = 0, part_up: int = 0) -> None:
        """A model was measured after ``updates``; ``part_*`` as in :meth:`totals`."""
        self.curve.add(e, now, updates, self.ledger.up + part_up, self.ledger.down + part_down)

    def drop_offers(self, book: Book) -> None:
        """Forget all offers: the devices that were fetching them are gone."""
        for node in self.held.values():
            book.let_go(node)
        self.held.clear()

    def totals(self, part_down: int = 0, part_up: int = 0) -> dict[str, int]:
        """Bytes by kind; ``part_*``: parts of transfers in progress."""
        return self.ledger.totals(sum(x.down for x in self.open.values()), part_down, part_up)
