"""Processes that train blocks of clients beside this one: for small models threads would wait for the interpreter.

A mate is a fork of this process, so it has model, data and kernels without a copy; start vectors and results go through
memory that both see. Which process trains a block changes nothing in its results, so whoever comes first does: mates
have some blocks in advance, and this process takes one back if nobody has begun it. The right to begin is a counter in
the kernel that one process alone can bring from one to zero, whatever becomes of it afterwards.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from mmap import mmap
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from sys import platform
from warnings import catch_warnings, simplefilter
from weakref import finalize

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from hocket.learning.kernels.block import Block
from hocket.learning.kernels.memory import Recycler
from hocket.learning.kernels.workers import NAME, single_threaded
from hocket.learning.learner import Trained
from hocket.schema import Vector

MOST_JOBS = 32
"""Jobs of a block that a mate takes; larger ones stay here."""
DEPTH = 3
"""Blocks that a mate has at a time, so that it need not wait for this process."""
SLOTS = 24
"""Places for blocks: those that it has, and those whose results are still in use."""
SMALL = 1 << 20
"""Parameters up to which it is worth it: threads hardly wait for one another in the products of larger models, which
are many bytes to hand over."""
SHORT = 1 << 14
"""Bytes of a message that surely fits into a pipe beside others; a longer one is for a mate that is reading."""
LOOK = 5.0
"""Seconds after which an idle mate looks whether its parent is still there."""


Train = Callable[[Block, Sequence[Vector] | None], list[Trained]]
"""Results of a block, whose deltas go to the given places, if any."""


def possible() -> bool:
    """Whether this process may be forked now: on Linux, as long as no other thread could hold a lock.

    Those of :class:`~hocket.learning.kernels.workers.Workers` hold none: they wait while nobody evaluates.
    """
    return platform == "linux" and sum(not t.name.startswith(NAME) for t in threading.enumerate()) == 1


class Ticket:
    """A block under way, whose results :meth:`Crew.result` has."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.found: list[Trained] | Exception | None = None


class Crew:
    """This process and ``mates`` others, for models of ``size`` parameters; results go to memory of ``memory``.

    Whoever needs a result trains its block here if nobody has begun, and others while a mate is at it; so this process
    is busy whenever it wants something, and mates are whenever there is something to do.
    """

    def __init__(self, mates: int, size: int, train: Train, memory: Recycler) -> None:
        self._train = train
        self._memory = memory
        self._owner = os.getpid()
        self._waiting: deque[Ticket] = deque()
        self._mates = [_Mate(size, train) for _ in range(mates)]

    @property
    def usable(self) -> bool:
        """False in a process that was forked from the one that has the mates."""
        return self._owner == os.getpid()

    def idle(self) -> bool:
        """Whether a mate has nothing to do."""
        self._feed()
        return any(not mate.busy for mate in self._mates)

    def begin(self, blocks: Sequence[Block]) -> list[Ticket]:
        """Let the mates train these blocks after those before them."""
        tickets = [Ticket(block) for block in blocks]
        self._waiting.extend(tickets)
        self._feed()
        return tickets

    def result(self, ticket: Ticket) -> list[Trained]:
        """Results of a block, as soon as they are there; or the error that it raised.

        A mate that dies is not replaced, and its blocks are trained here.
        """
        while ticket.found is None:
            if self._taken(ticket):
                self._own(ticket)
                continue
            self._feed()
            if ticket.found is None:
                others = [*self._waiting, *(t for mate in self._mates for t in reversed(mate.busy.values()) if t)]
                mine = next((t for t in others if self._taken(t)), None)
                if mine is not None:
                    self._own(mine)
                else:
                    self._look(next(mate for mate in self._mates if ticket in mate.busy.values()), wait=True)
        if isinstance(ticket.found, Exception):
            raise ticket.found
        return ticket.found

    def close(self) -> None:
        """End the mates; what they had is trained here."""
        for mate in self._mates:
            self._lose(mate)
        self._mates = []

    def _taken(self, ticket: Ticket) -> bool:
        """Whether a block is this process's to train, from now on, because nobody has begun."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            return True
        return any(mate.gives_back(ticket) for mate in self._mates)

    def _own(self, ticket: Ticket) -> None:
        try:
            with single_threaded(), torch.no_grad():
                ticket.found = self._train(ticket.block, None)
        except Exception as error:
            ticket.found = error

    def _feed(self) -> None:
        """Collect what is finished, and give what waits to mates, the same number to each, until they have enough."""
        for mate in list(self._mates):
            self._look(mate)
        for n in range(DEPTH):
            for mate in self._mates:
                if len(mate.busy) <= n and mate.free:
                    given = next((t for t in self._waiting if mate.takes(t)), None)
                    if given is not None:
                        self._waiting.remove(given)

    def _lose(self, mate: "_Mate") -> None:
        self._waiting.extend(t for t in mate.busy.values() if t)
        mate.end()

    def _look(self, mate: "_Mate", wait: bool = False) -> None:
        """Collect a block that the mate has finished, if there is one; it is waited for if it must be."""
        try:
            mate.collect(self._memory, wait)
        except (EOFError, OSError):
            self._lose(mate)
            self._mates.remove(mate)
        except BaseException:  # half a message may be left in a pipe
            self.close()
            raise


class _Mate:
    """Another process, and the memory that it shares with this one: per slot, start vectors and results."""

    def __init__(self, size: int, train: Train) -> None:
        self._size = size
        self._shared = mmap(-1, max(1, SLOTS * 2 * MOST_JOBS * size * 4))
        self._rows = np.frombuffer(self._shared, np.float32, SLOTS * 2 * MOST_JOBS * size)
        self._rows = self._rows.reshape(SLOTS, 2, MOST_JOBS, size)
        self._pipe, there = Pipe()
        self._rights = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(SLOTS)]
        self._free = list(range(SLOTS))
        self.busy: dict[int, Ticket | None] = {}  # in the order in which they were given; None: it gave it back
        parent = os.getpid()
        with catch_warnings():
            simplefilter("ignore", DeprecationWarning)  # threads of libraries, which hold no locks between calls
            pid = os.fork()
        if pid == 0:
            try:
                self._pipe.close()
                _serve(there, self._rows, self._rights, train, parent)
            finally:
                os._exit(0)
        there.close()
        self.end = finalize(self, _dismiss, self._pipe, self._rights, pid, parent)

    @property
    def free(self) -> bool:
        """Whether it can be given a block."""
        return bool(self._free)

    def takes(self, ticket: Ticket) -> bool:
        """Let it train a block, if that is one for it now."""
        block = ticket.block
        if len(block.jobs) > MOST_JOBS:
            return False
        starts = {id(j.start): j.start for j in block.jobs}
        place = {at: row for row, at in enumerate(starts)}
        bare = [replace(j, start=_NOTHING) for j in block.jobs]
        slot = self._free.pop()
        message = ForkingPickler.dumps((slot, [place[id(j.start)] for j in block.jobs], block._replace(jobs=bare)))
        if len(message) > SHORT and self.busy:  # it might be writing, too, and nobody would read
            self._free.append(slot)
            return False
        for row, start in enumerate(starts.values()):
            self._rows[slot, 0, row] = start
        self.busy[slot] = ticket
        os.eventfd_write(self._rights[slot], 1)
        with suppress(OSError):  # collect finds out
            self._pipe.send_bytes(message)
        return True

    def gives_back(self, ticket: Ticket) -> bool:
        """Whether a block is its no more, because it had not begun."""
        slot = next((slot for slot, own in self.busy.items() if own is ticket), None)
        if slot is None or not _won(self._rights[slot]):
            return False
        self.busy[slot] = None
        return True

    def collect(self, memory: Recycler, wait: bool) -> None:
        """Blocks that it has finished; one is waited for if it must be.

        Raises:
            EOFError, OSError: it is gone.
        """
        while self.busy and (wait or self._pipe.poll()):
            slot, results = self._pipe.recv()
            ticket = self.busy.pop(slot)
            if ticket is None or isinstance(results, Exception):
                self._free.append(slot)
                if ticket is not None:
                    ticket.found, wait = results, False
                continue
            wait = False
            deltas: Sequence[Vector] = list(self._lend(slot, len(results)))
            if len(self._free) + len(self.busy) < DEPTH:  # too many are in use
                deltas = [_copy(delta, memory) for delta in deltas]
            ticket.found = [replace(r, delta=delta) for r, delta in zip(results, deltas, strict=True)]

    def _lend(self, slot: int, count: int) -> NDArray[np.float32]:
        """Results of a slot, which is free again when the last of them is gone."""
        at = 4 * self._size * MOST_JOBS * (2 * slot + 1)
        own = np.frombuffer(self._shared, np.float32, count * self._size, at)
        finalize(own, self._free.append, slot).atexit = False
        return own.reshape(count, self._size)


_NOTHING = np.empty(0, np.float32)


def _copy(row: Vector, memory: Recycler) -> Vector:
    out: Vector = memory.take(row.shape, torch.float32, torch.device("cpu")).numpy()
    np.copyto(out, row)
    return out


def _won(right: int) -> bool:
    """Whether this process is the one that begins."""
    try:
        return bool(os.eventfd_read(right))
    except BlockingIOError:
        return False


def _dismiss(pipe: Connection, rights: Sequence[int], pid: int, owner: int) -> None:
    if os.getpid() != owner:
        return
    pipe.close()
    for right in rights:
        os.close(right)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _serve(pipe: Connection, rows: NDArray[np.float32], rights: Sequence[int], train: Train, parent: int) -> None:
    """The life of a mate: blocks in, results out, until its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    while True:
        while not pipe.poll(LOOK):
            if os.getppid() != parent:
                return
        try:
            slot, places, block = pipe.recv()
        except EOFError:
            return
        if not _won(rights[slot]):
            pipe.send((slot, None))
            continue
        starts = [rows[slot, 0, place] for place in range(max(places) + 1)]
        try:
            jobs = [replace(j, start=starts[p]) for j, p in zip(block.jobs, places, strict=True)]
            results = train(block._replace(jobs=jobs), rows[slot, 1])
        except Exception as error:
            pipe.send((slot, error))
            continue
        pipe.send((slot, [replace(r, delta=_NOTHING) for r in results]))
