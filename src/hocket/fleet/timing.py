"""How long one lease's work takes on one device: the hot path of the simulation."""

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hocket import keyed
from hocket.errors import InvalidInput
from hocket.fleet.law import Deterministic, Exponential, Law

if TYPE_CHECKING:
    from hocket.fleet.fleet import Fleet

Draw = Callable[[int], float] | None  # None: always one


class Timing:
    """Scalar access to a fleet, built by :meth:`Fleet.timing`; times are whole nanoseconds, 0 or more.

    Every method takes the lease's key ``k``; each station (training, download, upload, fate) has a stream
    of its own, so all transfers one way of one lease meet the same factor. A method costs well under a
    microsecond plus the law's draw.
    """

    __slots__ = (
        "_down_draw",
        "_down_links",
        "_download_key",
        "_failure",
        "_fate_key",
        "_lost",
        "_rates",
        "_train_draw",
        "_train_key",
        "_up_draw",
        "_up_links",
        "_upload_key",
        "_when_key",
    )

    def __init__(self, fleet: "Fleet", seed: int) -> None:
        columns = (fleet.compute * 1e9, 1e9 / fleet.down, 1e9 / fleet.up, fleet.latency * 1e9)
        self._rates = array("d", np.stack(columns, axis=1).tobytes())  # of one device side by side, for the cache
        self._train_draw = _draw(fleet.compute_law)
        self._down_draw = _draw(fleet.down_law)
        self._up_draw = _draw(fleet.up_law)
        n, down, up = len(fleet), fleet.down_trace, fleet.up_trace
        self._down_links = None if down is None else down.links(n, seed, "down")
        self._up_links = None if up is None else up.links(n, seed, "up")
        self._failure = fleet.failure
        self._lost = fleet.failure + fleet.dropout
        self._train_key = keyed.key(seed, "fleet", "train")
        self._download_key = keyed.key(seed, "fleet", "download")
        self._upload_key = keyed.key(seed, "fleet", "upload")
        self._fate_key = keyed.key(seed, "fleet", "fate")
        self._when_key = keyed.key(seed, "fleet", "when")

    def train(self, client: int, samples_cost: float, k: int) -> int:
        """Time to train, ns; ``samples_cost`` is samples times the model's cost per sample.

        Raises:
            InvalidInput: a negative cost.
        """
        if samples_cost < 0:
            raise InvalidInput(f"client {client}: training cost {samples_cost}; give 0 or more samples x cost")
        mean = self._rates[client << 2] * samples_cost
        draw = self._train_draw
        return int((mean if draw is None else mean * draw(k ^ self._train_key)) + 0.5)

    def download(self, client: int, nbytes: int, k: int, now: int = 0) -> int:
        """Time of one transfer to the client, ns: latency + bytes / rate x factor; with a trace, begun ``now``.

        Raises:
            InvalidInput: a negative size.
        """
        if nbytes < 0:
            raise InvalidInput(f"client {client}: download of {nbytes} bytes; give 0 or more")
        mean = self._rates[client << 2 | 1] * nbytes
        draw = self._down_draw
        if draw is not None:
            mean *= draw(k ^ self._download_key)
        if self._down_links is not None:
            mean = self._down_links.end(client, now, mean)
        return int(self._rates[client << 2 | 3] + mean + 0.5)

    def upload(self, client: int, nbytes: int, k: int, now: int = 0) -> int:
        """Time of one transfer from the client, ns: latency + bytes / rate x factor; with a trace, begun ``now``.

        Raises:
            InvalidInput: a negative size.
        """
        if nbytes < 0:
            raise InvalidInput(f"client {client}: upload of {nbytes} bytes; give 0 or more")
        mean = self._rates[client << 2 | 2] * nbytes
        draw = self._up_draw
        if draw is not None:
            mean *= draw(k ^ self._upload_key)
        if self._up_links is not None:
            mean = self._up_links.end(client, now, mean)
        return int(self._rates[client << 2 | 3] + mean + 0.5)

    @property
    def steady(self) -> bool:
        """Whether every transfer runs at one rate from its beginning to its end."""
        return self._down_links is None and self._up_links is None

    def sent(self, client: int, down: bool, begin: int, end: int, now: int) -> float:
        """The share of a transfer, from ``begin`` to ``end``, that was sent by now."""
        links = self._down_links if down else self._up_links
        if links is None:
            return (now - begin) / (end - begin) if end > begin else 1.0
        whole = links.done(client, begin, end)
        return links.done(client, begin, now) / whole if whole > 0 else 1.0

    def fate(self, k: int) -> tuple[float, bool] | None:
        """None if the lease survives, else ``(share, silent)``.

        ``share``, in (0, 1), is the part of the work done when it is lost; ``silent`` is True if the server
        learns of it by a deadline only (a dropout), False if it is told at once (a failure).
        """
        if not self._lost:
            return None
        u = keyed.uniform(k ^ self._fate_key)
        if u >= self._lost:
            return None
        return keyed.uniform(k ^ self._when_key), u >= self._failure


def _draw(law: Law) -> Draw:
    if isinstance(law, Exponential):
        return keyed.exponential  # what its draw calls
    return None if isinstance(law, Deterministic) else law.draw
