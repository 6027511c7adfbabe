"""The one thread that runs the core: it takes turns, and whatever a turn says leaves when the turn is durable.

A turn: look at the time, wake the server if it asked for that, deal with everything that has come, count out who is
silent, commit. While one turn is being synced the next one's work piles up, so one sync serves many updates, and the
event loop is woken once for all that a turn said and did. Nothing else touches the server, the book or the journal.
"""

import asyncio
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from queue import Empty, SimpleQueue
from threading import Event as Flag
from threading import Thread
from typing import Any, TypeVar

from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.service.host import Host
from hocket.service.messages import Message
from hocket.service.uptime import Uptime

TURN = 256  # things dealt with between two commits at most
LOOK = 0.5  # seconds between two turns at most

T = TypeVar("T")
Item = tuple[Callable[[Host], Any], "asyncio.Future[Any] | None"]
"""Something to do, and who waits for its result."""
Outcome = tuple["asyncio.Future[Any] | None", Any, BaseException | None]
"""Who waits, the result, and why there is none."""
Make = Callable[[Callable[[Message], None]], Host]
"""Builds the host, in its own thread, around a function that takes what is said."""


class Desk:
    """Runs a host until it is closed or something in it fails.

    Args:
        make: builds the host.
        deliver: called in the event loop with what a turn said.
        failed: called in the event loop with the error that ended the thread.
        sweep: seconds between two looks for silent devices.

    ``over`` is set once the run is over and its journal closed.
    """

    def __init__(
        self,
        make: Make,
        deliver: Callable[[Sequence[Message]], None],
        failed: Callable[[BaseException], None],
        sweep: float,
    ) -> None:
        self._make, self._deliver, self._failed, self._sweep = make, deliver, failed, int(sweep * 1e9)
        self._work: SimpleQueue[Item | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Host] = self._loop.create_future()
        self._over = Flag()
        self.over = asyncio.Event()
        self._said: list[Message] = []
        self._thread = Thread(target=self._run, name="core", daemon=True)
        self.turns = 0

    async def open(self) -> Host:
        """Start the thread; the host, once it has recovered."""
        self._thread.start()
        return await self._ready

    async def call(self, act: Callable[[Host], T]) -> T:
        """Have something done in a turn; its result, when the turn is durable and was delivered."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._work.put((act, future))
        return await future

    def hand(self, act: Callable[[Host], T], future: "asyncio.Future[T]") -> None:
        """As :meth:`call`, from any thread, with a future of the event loop's."""
        self._work.put((act, future))

    def tell(self, event: Event) -> None:
        """Have the host told of something in the next turn; any thread may."""
        self._work.put((lambda host: host.tell(event), None))

    def close(self) -> None:
        """End the thread after what is under way, and wait for it."""
        self._work.put(None)
        self._over.wait()

    # --- in the thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        host: Host | None = None
        try:
            host = self._make(self._said.append)
            clock = Uptime(host.now)
            self._loop.call_soon_threadsafe(self._settle, (), [(self._ready, host, None)])
            self._go(host, clock)
        except BaseException as error:
            if host is not None:
                self._loop.call_soon_threadsafe(self._failed, error)
            else:
                self._loop.call_soon_threadsafe(self._settle, (), [(self._ready, None, error)])
            self._refuse(error)
        finally:
            if host is not None:
                host.close()
            self._over.set()

    def _go(self, host: Host, clock: Uptime) -> None:
        wakes: list[int] = []
        swept, pauses, going = host.now, 0, True
        while going:
            for time in host.wakes:
                heappush(wakes, time)
            host.wakes.clear()
            batch, going = self._take(min((wakes[0] - clock.now()) / 1e9, LOOK) if wakes else LOOK)
            host.now = now = max(host.now, clock.now())
            if clock.pauses != pauses:
                pauses = clock.pauses
                host.journal.sync()  # another server may have taken over meanwhile
            while wakes and wakes[0] <= now:
                heappop(wakes)
                host.wake(now)
            done = [(future, *_try(act, host)) for act, future in batch]
            if now - swept >= self._sweep:
                swept = now
                host.sweep(now)
            if host.owes:
                host.commit()
            if host.server.finished and not host.closed:
                host.end()
            if host.closed:
                self._loop.call_soon_threadsafe(self.over.set)
            self.turns += 1
            said, self._said[:] = list(self._said), []
            waited = [x for x in done if x[0] is not None]
            if said or waited:
                self._loop.call_soon_threadsafe(self._settle, said, waited)
        host.commit()

    def _take(self, timeout: float) -> tuple[list[Item], bool]:
        """What has come, after waiting for the first of it; and whether to go on."""
        batch: list[Item] = []
        try:
            item = self._work.get(timeout=max(timeout, 0.0))
            while item is not None:
                batch.append(item)
                if len(batch) >= TURN:
                    return batch, True
                item = self._work.get_nowait()
            return batch, False
        except Empty:
            return batch, True

    def _refuse(self, error: BaseException) -> None:
        """What is still to be done will not be."""
        left: list[Outcome] = []
        while not self._work.empty():
            if (item := self._work.get_nowait()) is not None:
                left.append((item[1], None, error))
        self._loop.call_soon_threadsafe(self._settle, (), left)

    # --- in the event loop -------------------------------------------------------------------------------

    def _settle(self, said: Sequence[Message], done: Sequence[Outcome]) -> None:
        """What a turn said goes to whoever waits for it, and so do the results of what it did."""
        if said:
            self._deliver(said)
        for future, result, error in done:
            if future is not None and not future.done():
                future.set_result(result) if error is None else future.set_exception(error)


def _try(act: Callable[[Host], Any], host: Host) -> tuple[Any, BaseException | None]:
    """The result of a request, or the objection to it; a failure of the store is not the request's."""
    try:
        return act(host), None
    except InvalidInput as error:
        return None, error
