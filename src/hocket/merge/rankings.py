"""The rankings that clients' covers are prefixes of, each kept once while some client's cover needs it."""

import numpy as np
from msgspec import Struct

from hocket.policies import Contribution
from hocket.ranking import Positions

WHOLE = -1


class Rankings(Struct):
    """Coordinates by epoch, as far as the longest cover seen, and how many covers are prefixes of them."""

    orders: dict[int, np.ndarray] = {}
    users: dict[int, int] = {}

    def add(self, c: Contribution) -> int:
        """One more cover; the number of its ranking (:data:`WHOLE`: all coordinates in their own order)."""
        if c.covered is None:
            return WHOLE
        epoch = c.lease.cover.epoch
        known = self.orders.get(epoch)
        if known is None or len(known) < len(c.covered):
            self.orders[epoch] = c.covered
        self.users[epoch] = self.users.get(epoch, 0) + 1
        return epoch

    def where(self, number: int, length: int) -> slice | Positions:
        """The coordinates of a cover."""
        return slice(None) if number == WHOLE else self.orders[number][:length]

    def drop(self, number: int) -> None:
        """A cover less."""
        if number == WHOLE:
            return
        self.users[number] -= 1
        if not self.users[number]:
            del self.users[number], self.orders[number]
