"""One process that trains blocks of clients for another, seen from there, and its life.

Vectors lie in memory that both have: start vectors by block, results by row, which is free again when nobody looks at
it any more. Everything else goes through a pipe, and so does the message that a block is done. The right to begin a
block is a counter in the kernel that one process alone can bring from one to zero, whatever becomes of it afterwards.
"""

import os
import pickle
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from mmap import mmap
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from select import POLLIN, poll
from time import perf_counter
from typing import Any
from warnings import catch_warnings, simplefilter
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray

from hocket.learning.kernels.block import Block
from hocket.learning.kernels.memory import Recycler
from hocket.learning.learner import Job, Trained
from hocket.schema import Vector

MOST_JOBS = 32
"""Jobs of a block that a mate takes; larger ones stay in the process that has it."""
DEPTH = 3
"""Blocks that a mate has at a time, so that it need not wait for that process."""
ALIGN = 16
"""Numbers that vectors begin at a multiple of: products can take another way where one does not."""
ROWS = 512
"""Results that are in use at a time; more are copied."""
SHORT = 1 << 14
"""Bytes of a message that surely fits into a pipe beside others; a longer one is for a mate that is reading."""
SPIN = 0.001
"""Seconds for which a process waits for another one awake."""
LOOK = 5.0
"""Seconds after which an idle mate looks whether its parent is still there."""

Train = Callable[[Block, Sequence[Vector] | None], list[Trained]]
"""Results of a block, whose deltas go to the given places, if any."""


class Ticket:
    """A block under way, and its results, or the error that it raised, once they are there.

    ``rest``: what follows it if it was divided.
    """

    def __init__(self, block: Block) -> None:
        self.block = block
        self.found: list[Trained] | Exception | None = None
        self.rest: Ticket | None = None

    def divide(self) -> "list[Ticket]":
        """Leave the second half to another ticket, which is returned; none if a half is not worth it."""
        jobs, half = self.block.jobs, len(self.block.jobs) // 2
        if half < self.block.least:
            return []
        self.block, other = self.block._replace(jobs=jobs[:-half]), Ticket(self.block._replace(jobs=jobs[-half:]))
        self.rest, other.rest = other, self.rest
        return [other]

    def at(self, job: int) -> "tuple[Ticket, int]":
        """The part that a job of the block as it was given is in, and its place there."""
        own = len(self.block.jobs)
        if job < own:
            return self, job
        assert self.rest is not None, "a block has no more jobs"
        return self.rest.at(job - own)


class Mate:
    """Another process; ``busy``: what it has by slot, in the order in which it was given, None for what it gave back.

    Args:
        size: parameters of the model.
        train: what it does with a block.
    """

    def __init__(self, size: int, train: Train) -> None:
        slots = 3 * DEPTH  # it hears only after its block that others are not wanted any more
        self._size, self._pitch = size, -(-size // ALIGN) * ALIGN
        self._shared = mmap(-1, max(1, 4 * self._pitch * (ROWS + slots * MOST_JOBS)))
        vectors = np.frombuffer(self._shared, np.float32).reshape(-1, self._pitch)[:, :size]
        rows, self._places = vectors[:ROWS], vectors[ROWS:].reshape(slots, MOST_JOBS, size)
        self._pipe, there = Pipe()
        self._said = poll()  # the pipe's own is slow
        self._said.register(self._pipe, POLLIN)
        self._rights = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(slots)]
        self._slots, self._rows = list(range(slots)), list(range(ROWS))
        self._given: dict[int, list[int]] = {}
        self.busy: dict[int, Ticket | None] = {}
        parent = os.getpid()
        with catch_warnings():
            simplefilter("ignore", DeprecationWarning)  # threads of libraries, which hold no locks between calls
            pid = os.fork()
        if pid == 0:
            try:
                self._pipe.close()
                _serve(there, rows, self._places, self._rights, train, parent)
            finally:
                os._exit(0)
        there.close()
        self.end = finalize(self, _dismiss, self._pipe, self._rights, pid, parent)

    @property
    def blocks(self) -> int:
        """How many it has, as far as is known, without those that it gave back."""
        return sum(ticket is not None for ticket in self.busy.values())

    def takes(self, ticket: Ticket) -> bool:
        """Let it train a block, if that is one for it now."""
        kernel, wide, jobs, _ = ticket.block
        if len(jobs) > min(MOST_JOBS, len(self._rows)) or not self._slots:
            return False
        starts = {id(j.start): j.start for j in jobs}
        place = {at: row for row, at in enumerate(starts)}
        told = [(j.lease, j.client, place[id(j.start)], j.seed, j.version, j.covered, j.squares) for j in jobs]
        slot, rows = self._slots.pop(), [self._rows.pop() for _ in jobs]
        message = pickle.dumps((slot, rows, kernel, wide, jobs[0].local, told), pickle.HIGHEST_PROTOCOL)
        if len(message) > SHORT and self.busy:  # it might be writing, too, and nobody would read
            self._slots.append(slot)
            self._rows.extend(rows)
            return False
        for row, start in enumerate(starts.values()):
            self._places[slot, row] = start
        self.busy[slot], self._given[slot] = ticket, rows
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
        """Blocks that it has finished; one is waited for if it must be. What must be copied goes to ``memory``.

        Raises:
            EOFError, OSError: it is gone.
        """
        while self.busy and (heard(self._said, LOOK) if wait else self._said.poll(0)):
            slot, results = pickle.loads(self._pipe.recv_bytes())
            ticket, rows = self.busy.pop(slot), self._given.pop(slot)
            self._slots.append(slot)
            if ticket is None or isinstance(results, Exception):
                self._rows.extend(rows)
                if ticket is not None:
                    ticket.found, wait = results, False
                continue
            wait = False
            deltas = [self._lent(row) for row in rows]
            if len(self._rows) < DEPTH * MOST_JOBS:  # too many are in use
                deltas = [_copy(delta, memory) for delta in deltas]
            ticket.found = [Trained(delta, *rest) for delta, rest in zip(deltas, results, strict=True)]

    def _lent(self, row: int) -> Vector:
        """A result, whose row is free again when it is gone."""
        own = np.frombuffer(self._shared, np.float32, self._size, 4 * self._pitch * row)
        finalize(own, self._rows.append, row).atexit = False
        return own


def heard(said: poll, timeout: float) -> bool:
    """Whether there is a message, which is waited for awake at first: to wake up takes as long as a job."""
    patience = perf_counter() + SPIN
    while not said.poll(0):
        if perf_counter() > patience:
            return bool(said.poll(1000 * timeout))
        os.sched_yield()
    return True


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


def _serve(
    pipe: Connection,
    rows: NDArray[np.float32],
    places: NDArray[np.float32],
    rights: Sequence[int],
    train: Train,
    parent: int,
) -> None:
    """The life of a mate: blocks in, results out, until its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)

    def tell(slot: int, results: Any) -> None:
        pipe.send_bytes(pickle.dumps((slot, results), pickle.HIGHEST_PROTOCOL))

    said = poll()
    said.register(pipe, POLLIN)
    while True:
        while not heard(said, LOOK):
            if os.getppid() != parent:
                return
        try:
            slot, outs, kernel, wide, local, told = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        if not _won(rights[slot]):
            tell(slot, None)
            continue
        starts: dict[int, Vector] = {}
        jobs = []
        for lease, client, place, seed, version, covered, squares in told:
            start = starts.setdefault(place, places[slot, place])
            jobs.append(Job(lease, client, start, local, seed, version, covered, squares))
        try:
            results = train(Block(kernel, wide, jobs), [rows[row] for row in outs])
        except Exception as error:
            tell(slot, error)
            continue
        tell(slot, [(r.samples, r.metrics, r.aux) for r in results])
