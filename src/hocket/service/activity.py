"""Work under way in a run for real, and what has been sent for it."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from msgspec import Struct

from hocket.record.account import Station


class Activity(Struct, eq=False):
    """Work under way for a lease, or for an offer under ``~client``; ``then`` takes its result.

    ``end`` is None where the work ends when it is done; times in ns, ``size`` in bytes.
    """

    name: int
    client: int
    station: Station
    size: int
    begin: int
    end: int | None
    future: Future[Any]
    then: Callable[[Any], None]

    def sent(self, now: int) -> int:
        """Bytes of a transfer that have been sent by now; they go all at once where no end is known."""
        length = 0 if self.end is None else self.end - self.begin
        return self.size if length <= 0 else self.size * (now - self.begin) // length
