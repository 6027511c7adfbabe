"""Who waits for what: long polls for instructions, uploads for their answer, fetches for their path.

What the core says is handed to whoever waits for it now. Nothing is kept for later but hints: a device that missed
an instruction says so with its next poll, by the leases it names, and is told again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hocket.lease import Lease, Node
from hocket.service.messages import Answer, Drop, Hint, Message, Value, Work
from hocket.service.protocol import Instructions

OPEN = 4  # exchanges of one client at a time; the oldest is answered when there are more


class Box:
    """What has come for one exchange that is open."""

    def __init__(self) -> None:
        self.work: dict[int, Lease] = {}
        self.drop: dict[int, None] = {}
        self.some = asyncio.Event()


class Desired:
    """Futures by name, each for whoever waits; a name may have several."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, int], list[asyncio.Future[Message]]] = defaultdict(list)

    @contextmanager
    def wait(self, client: int, lease: int) -> Iterator["asyncio.Future[Message]"]:
        """A future for the next message about a lease."""
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[client, lease].append(future)
        try:
            yield future
        finally:
            left = self._waiting[client, lease]
            left.remove(future)
            if not left:
                del self._waiting[client, lease]

    def tell(self, message: Value | Answer) -> None:
        """Give a message to all who wait for it."""
        for future in self._waiting.get((message.client, message.lease), ()):
            if not future.done():
                future.set_result(message)


class Exchanges:
    """All that is open, by client; lives in the event loop."""

    def __init__(self) -> None:
        self._boxes: dict[int, list[Box]] = defaultdict(list)
        self._hints: dict[int, dict[str, Node]] = defaultdict(dict)
        self.answers, self.values = Desired(), Desired()
        self.waiting = 0

    def deliver(self, messages: Sequence[Message]) -> None:
        """What the core said in a turn."""
        for m in messages:
            match m:
                case Work():
                    for box in self._boxes.get(m.client, ()):
                        box.work[m.lease.id] = m.lease
                        box.some.set()
                case Drop():
                    for box in self._boxes.get(m.client, ()):
                        box.drop[m.lease] = None
                        box.some.set()
                case Hint():
                    self._hints[m.client][m.node.task] = m.node
                    for box in self._boxes.get(m.client, ()):
                        box.some.set()
                case Answer():
                    self.answers.tell(m)
                case Value():
                    self.values.tell(m)

    @contextmanager
    def open(self, client: int) -> Iterator[Box]:
        """Take part from now on."""
        box, boxes = Box(), self._boxes[client]
        boxes.append(box)
        if len(boxes) > OPEN:
            boxes[0].some.set()
        if client in self._hints:
            box.some.set()
        try:
            yield box
        finally:
            boxes.remove(box)
            if not boxes:
                self._boxes.pop(client, None)

    async def wait(self, box: Box, seconds: float) -> None:
        """Until there is something to say, or the time is over."""
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await box.some.wait()
        except TimeoutError:
            pass
        finally:
            self.waiting -= 1

    def say(self, client: int, box: Box, finished: str) -> Instructions:
        """What came."""
        hints = tuple(self._hints.pop(client, {}).values())
        return Instructions(tuple(box.work.values()), tuple(box.drop), hints, finished)

    def release(self) -> None:
        """Answer every exchange that is open now."""
        for boxes in self._boxes.values():
            for box in boxes:
                box.some.set()
