"""When things happen in a run that works for real: as they do, or by the script of a fleet.

With :class:`RealClock` a piece of work ends when it is done. With :class:`ScriptedClock` it ends when the
simulator would say so: the work itself is still done, nobody sleeps, and the clock jumps from one due time to
the next.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from queue import Empty, SimpleQueue
from time import monotonic_ns
from types import FrameType
from typing import Any, Protocol

from hocket.errors import InvalidInput
from hocket.fleet import Fleet
from hocket.fleet.availability import Always
from hocket.record.account import Station

LONGEST_WAIT = 3600.0  # seconds


class Clock(Protocol):
    """Time of a run in nanoseconds since it began."""

    def now(self) -> int:
        """The time; never goes back."""

    def left(self, due: int) -> float:
        """Seconds to wait until ``due``, 0 or less if it has come."""

    def finish(self, station: Station, begin: int, client: int, amount: float, k: int) -> int | None:
        """When work that begins now is over; None: when it is done.

        ``amount``: bytes, or samples times the task's cost. ``k``: the key of the lease.
        """


class RealClock:
    """The machine's monotonic clock; ``at``: the time to begin with, in ns."""

    def __init__(self, at: int = 0) -> None:
        self._began = monotonic_ns() - at

    def now(self) -> int:
        return monotonic_ns() - self._began

    def left(self, due: int) -> float:
        return (due - self.now()) / 1e9

    def finish(self, station: Station, begin: int, client: int, amount: float, k: int) -> int | None:
        return None


class ScriptedClock:
    """The times that the simulator draws for a fleet and a seed; for one run.

    Raises:
        InvalidInput: the fleet has devices that come, go or fail, or a shared link: real work knows neither.

    >>> clock = ScriptedClock(Fleet.equal(1, compute=0.5, down=1e6, up=1e6), seed=0)
    >>> clock.finish("train", 0, 0, 10, k=7), clock.left(3), clock.now()
    (5000000000, 0.0, 3)
    """

    def __init__(self, fleet: Fleet, seed: int = 0) -> None:
        for name in ("failure", "dropout", "egress", "down_trace", "up_trace"):
            if value := getattr(fleet, name):
                raise InvalidInput(f"scripted clock: fleet.{name} = {value}; leave it out, or simulate")
        if not isinstance(fleet.availability, Always):
            raise InvalidInput(f"scripted clock: fleet.availability = {fleet.availability!r}; use Always, or simulate")
        self._timing = fleet.timing(seed)
        self._now = 0

    def now(self) -> int:
        return self._now

    def left(self, due: int) -> float:
        self._now = max(self._now, due)
        return 0.0

    def finish(self, station: Station, begin: int, client: int, amount: float, k: int) -> int | None:
        if station == "train":
            return begin + self._timing.train(client, amount, k)
        transfer = self._timing.download if station == "download" else self._timing.upload
        return begin + transfer(client, int(amount), k)


class Inbox:
    """What is to be dealt with, by (due time, sequence number).

    One thread calls ``at`` and ``get``; any thread, and a signal handler, may call ``post``.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, Any]] = []
        self._posted: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self._sequence = 0

    def at(self, due: int, item: object) -> None:
        """Something to be dealt with at a time."""
        heappush(self._heap, (due, self._sequence, item))
        self._sequence += 1

    def post(self, item: object) -> None:
        """Something that has happened just now."""
        self._posted.put((self._clock.now(), item))

    @property
    def idle(self) -> bool:
        """Whether nothing is to be dealt with by now."""
        return self._posted.empty() and (not self._heap or self._heap[0][0] > self._clock.now())

    def get(self, expecting: bool) -> tuple[int, Any] | None:
        """Wait for the next item; (its time, the item), or None if there is none and nothing is expected."""
        heap = self._heap
        while True:
            while not self._posted.empty():
                self.at(*self._posted.get())
            left = self._clock.left(heap[0][0]) if heap else LONGEST_WAIT
            if heap and left <= 0:
                due, _, item = heappop(heap)
                return due, item
            if not heap and not expecting:
                return None
            try:
                self.at(*self._posted.get(timeout=min(left, LONGEST_WAIT)))
            except Empty:
                continue


@contextmanager
def on_interrupt(inbox: Inbox, item: object) -> Iterator[None]:
    """Turn the first Ctrl-C into an item of the inbox; the second one interrupts as usual."""
    first = True

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not first:
            raise KeyboardInterrupt
        first = False
        inbox.post(item)

    try:
        before = signal.signal(signal.SIGINT, handle)
    except ValueError:  # not the main thread: Ctrl-C is somebody else's
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
