"""The server's upload limit, shared by the transfers in progress.

Processor sharing with caps: every transfer gets an equal share of the limit, unless its client's link is
slower; what slow clients leave is shared by the others (max-min fairness, "water-filling"; Bertsekas and
Gallager, Data Networks, section 6.5). The fluid runs in exact order between the calls: a transfer that ends
between two nanoseconds gives its share back at that moment, and only the reported time is rounded up.
Reported times are within 1 ns of the exact fluid (float64 fades beyond transfers of about ten days).
"""

from heapq import heapify, heappush
from math import ceil, inf

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from hocket.errors import InvalidInput

Floats = NDArray[np.float64]

_SLACK = 1e-3  # ns: below it two moments are one


def _none() -> Floats:
    return np.empty(0)


def _no_ends() -> list[tuple[int, int, int]]:
    return []


class Egress(Struct, eq=False):
    """Transfers that share ``rate`` bytes per second; a driver asks :meth:`next` after every other call.

    The state is integers, floats and arrays only. A call costs a few array operations over the transfers in
    progress. Times are integer nanoseconds and never go back.

    >>> link = Egress(rate=1000.0)
    >>> link.start(1, nbytes=1000, cap=250.0, now=0)
    >>> link.start(2, nbytes=1500, cap=float("inf"), now=0)
    >>> link.next()
    (2000000000, 2)
    >>> link.finish(2, now=2_000_000_000)
    >>> link.next()
    (4000000000, 1)
    """

    rate: float
    now: int = 0
    flows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))  # by cap, slowest first
    caps: Floats = field(default_factory=_none)  # bytes/s
    sizes: Floats = field(default_factory=_none)  # bytes
    left: Floats = field(default_factory=_none)  # bytes
    speeds: Floats = field(default_factory=_none)  # bytes/ns
    done: list[tuple[int, int, int]] = field(default_factory=_no_ends)  # heap of (time, flow, bytes), unfinished

    def __post_init__(self) -> None:
        if not 0.0 < self.rate < inf:
            raise InvalidInput(
                f"egress: rate={self.rate} B/s; give a rate above 0 (no limit is a fleet without egress)"
            )

    def start(self, flow: int, nbytes: int, cap: float, now: int) -> None:
        """Begin to send ``nbytes`` over a client's link of ``cap`` bytes per second (``inf``: no limit).

        Raises:
            InvalidInput: the flow is already there, a negative size, a cap of 0 or less, or time went back.
        """
        if nbytes < 0:
            raise InvalidInput(f"egress: flow {flow} has {nbytes} bytes; give 0 or more")
        if not cap > 0.0:
            raise InvalidInput(f"egress: flow {flow} has cap={cap} B/s; give a rate above 0 (inf = no limit)")
        if flow in self.flows or any(flow == name for _, name, _ in self.done):
            raise InvalidInput(f"egress: flow {flow} is already there; finish or cancel it first")
        self._advance(now)
        at = int(np.searchsorted(self.caps, cap, side="right"))
        self.flows = np.insert(self.flows, at, flow)
        self.caps = np.insert(self.caps, at, cap)
        self.sizes = np.insert(self.sizes, at, nbytes)
        self.left = np.insert(self.left, at, nbytes)
        self._share()

    def cancel(self, flow: int, now: int) -> int:
        """Stop a flow; the whole bytes sent by now.

        Raises:
            InvalidInput: no such flow, or time went back.
        """
        self._advance(now)
        if (nbytes := self._forget(flow)) is not None:
            return nbytes
        at = self._place(flow)
        sent = int(self.sizes[at] - self.left[at])
        self._keep(np.arange(len(self.flows)) != at)
        return sent

    def finish(self, flow: int, now: int) -> None:
        """Take away a flow that has been sent whole.

        Raises:
            InvalidInput: no such flow, bytes of it are still to be sent, or time went back.
        """
        self._advance(now)
        if self._forget(flow) is None:
            left = ceil(self.left[self._place(flow)])
            raise InvalidInput(f"egress: flow {flow} has {left} bytes to send at {now} ns; next() tells when it ends")

    def sent(self, flow: int, now: int) -> int:
        """Whole bytes of a flow sent by now.

        Raises:
            InvalidInput: no such flow, or time went back.
        """
        self._advance(now)
        for _, name, nbytes in self.done:
            if name == flow:
                return nbytes
        at = self._place(flow)
        return int(self.sizes[at] - self.left[at])

    def next(self) -> tuple[int, int] | None:
        """``(time, flow)`` of the earliest end if nothing else starts (ties: lower flow); None if idle."""
        ends = [self.done[0][:2]] if self.done else []
        if len(self.flows):
            wait = self.left / self.speeds
            soonest = float(wait.min())
            ties = self.flows[np.ceil(wait - _SLACK) <= ceil(soonest - _SLACK)]
            ends.append((self.now + ceil(soonest - _SLACK), int(ties.min())))
        return min(ends, default=None)

    def _advance(self, now: int) -> None:
        if now < self.now:
            raise InvalidInput(f"egress: asked for {now} ns after {self.now} ns; time only moves forward")
        gone, span = 0.0, float(now - self.now)
        while len(self.flows):
            wait = self.left / self.speeds
            soonest = float(wait.min())
            step = min(soonest, span - gone)
            self.left = np.maximum(self.left - self.speeds * step, 0.0)
            if gone + soonest > span + _SLACK:
                break
            gone += step
            over = wait <= soonest + _SLACK
            end = min(self.now + ceil(gone - _SLACK), now)
            for flow, size in zip(self.flows[over].tolist(), self.sizes[over].tolist(), strict=True):
                heappush(self.done, (end, flow, int(size)))
            self._keep(~over)
        self.now = now

    def _share(self) -> None:
        """Water-filling: flows below the level run at their cap, the others at the level."""
        count = len(self.caps)
        below = np.concatenate(([0.0], np.cumsum(self.caps[:-1]))) if count else _none()
        flooded = below + self.caps * np.arange(count, 0, -1) >= self.rate
        level = inf
        if flooded.any():
            first = int(flooded.argmax())
            level = (self.rate - float(below[first])) / (count - first)
        self.speeds = np.minimum(self.caps, level) * 1e-9

    def _keep(self, mask: NDArray[np.bool_]) -> None:
        self.flows, self.caps = self.flows[mask], self.caps[mask]
        self.sizes, self.left = self.sizes[mask], self.left[mask]
        self._share()

    def _place(self, flow: int) -> int:
        at = np.flatnonzero(self.flows == flow)
        if not at.size:
            raise InvalidInput(f"egress: no flow {flow}; start it first")
        return int(at[0])

    def _forget(self, flow: int) -> int | None:
        for at, (_, name, nbytes) in enumerate(self.done):
            if name == flow:
                self.done[at] = self.done[-1]
                self.done.pop()
                heapify(self.done)
                return nbytes
        return None
