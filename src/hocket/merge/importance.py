"""What clients' squared gradients say of the importance of each weight, between two rankings.

Each client's squares are divided by the largest of them, summed, and averaged over the clients that sent one; what was
known before stays where nothing new is. Ma, "Federated learning based on pruning and recovery", 2024, released code.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.learning import squares
from hocket.policies import Contribution


class Importance(Struct):
    """Sums and counts since the last ranking, and what was known then, float64[size] each (empty until used)."""

    size: int
    total: np.ndarray | None = None
    count: np.ndarray | None = None
    known: np.ndarray | None = None

    def add(self, c: Contribution) -> None:
        """Fold in what an update brought, if it brought any."""
        if c.aux is None:
            return
        if self.total is None or self.count is None:
            self.total, self.count = np.zeros(self.size), np.zeros(self.size)
        where = slice(None) if c.covered is None else c.covered
        values = squares.decode(c.aux, self.size if c.covered is None else len(c.covered))
        top = values.max(initial=0.0)
        if top > 0:
            self.total[where] += values / top
            self.count[where] += values > 0

    def take(self) -> NDArray[np.float64] | None:
        """The importance by now, float64[size], None if nobody ever said anything; sums begin anew."""
        if self.total is not None and self.count is not None:
            fresh = self.total / np.maximum(self.count, 1)
            self.known = fresh if self.known is None else np.where(fresh > 0, fresh, self.known)
            self.total = self.count = None
        return self.known
