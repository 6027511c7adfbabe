"""Processes that train blocks of clients beside this one: for small models threads would wait for the interpreter.

A mate is a fork of this process, so it has model, data and kernels without a copy; start vectors and results go through
memory that both see. Which process trains a block changes nothing in its results.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from mmap import mmap
from multiprocessing import Pipe
from multiprocessing.connection import Connection
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
SLOTS = 2
"""Blocks that a mate has at a time, so that it need not wait for this process."""
LOOK = 5.0
"""Seconds after which an idle mate looks whether its parent is still there."""


Train = Callable[[Block], list[Trained]]


def possible() -> bool:
    """Whether this process may be forked now: on Linux, as long as no other thread could hold a lock.

    Those of :class:`~hocket.learning.kernels.workers.Workers` hold none: they wait while nobody evaluates.
    """
    return platform == "linux" and sum(not t.name.startswith(NAME) for t in threading.enumerate()) == 1


class Crew:
    """This process and ``mates`` others, for models of ``size`` parameters; results go to memory of ``memory``."""

    def __init__(self, mates: int, size: int, train: Train, memory: Recycler) -> None:
        self._train = train
        self._memory = memory
        self._owner = os.getpid()
        self._mates = [_Mate(size, train) for _ in range(mates)]

    @property
    def usable(self) -> bool:
        """False in a process that was forked from the one that has the mates."""
        return self._owner == os.getpid()

    def map(self, blocks: Sequence[Block]) -> list[list[Trained]]:
        """Results in the order of the blocks; the first error of any is raised when all have ended.

        A mate that dies is not replaced, and its blocks are trained here.
        """
        try:
            with single_threaded(), torch.no_grad():
                done = self._map(blocks)
        except BaseException:  # mates may be at work still
            self.close()
            raise
        for i in range(len(blocks)):
            if isinstance(found := done[i], Exception):
                raise found
        return [found for i in range(len(blocks)) if not isinstance(found := done[i], Exception)]

    def close(self) -> None:
        """End the mates; what comes later is trained here."""
        for mate in self._mates:
            mate.end()
        self._mates = []

    def _map(self, blocks: Sequence[Block]) -> dict[int, list[Trained] | Exception]:
        done: dict[int, list[Trained] | Exception] = {}
        own = deque(i for i, b in enumerate(blocks) if len(b.jobs) > MOST_JOBS)
        left = deque(i for i, b in enumerate(blocks) if len(b.jobs) <= MOST_JOBS)
        while len(done) < len(blocks):
            for mate in self._mates:
                while left and mate.free and (not mate.busy or len(left) > len(self._mates) + 1):
                    mate.give(left[0], blocks[left.popleft()])
            if own or left:
                i = (own or left).popleft()
                try:
                    done[i] = self._train(blocks[i])
                except Exception as error:
                    done[i] = error
            idle = not (own or left)
            for mate in list(self._mates):
                try:
                    done |= mate.collect(self._memory, wait=idle and len(done) < len(blocks))
                except (EOFError, OSError):
                    own.extend(mate.busy)
                    mate.end()
                    self._mates.remove(mate)
        return done


class _Mate:
    """Another process, and the memory that it shares with this one: per slot, start vectors and results."""

    def __init__(self, size: int, train: Train) -> None:
        shared = mmap(-1, max(1, SLOTS * 2 * MOST_JOBS * size * 4))
        self._rows = np.frombuffer(shared, np.float32, SLOTS * 2 * MOST_JOBS * size)
        self._rows = self._rows.reshape(SLOTS, 2, MOST_JOBS, size)
        self._pipe, there = Pipe()
        self._free = list(range(SLOTS))
        self.busy: dict[int, int] = {}
        parent = os.getpid()
        with catch_warnings():
            simplefilter("ignore", DeprecationWarning)  # threads of libraries, which hold no locks between calls
            pid = os.fork()
        if pid == 0:
            try:
                self._pipe.close()
                _serve(there, self._rows, train, parent)
            finally:
                os._exit(0)
        there.close()
        self.end = finalize(self, _dismiss, self._pipe, pid, parent)

    @property
    def free(self) -> bool:
        """Whether it can be given a block."""
        return bool(self._free)

    def give(self, i: int, block: Block) -> None:
        """Let it train block ``i``."""
        slot = self._free.pop()
        self.busy[i] = slot
        starts = {id(j.start): j.start for j in block.jobs}
        place = {at: row for row, at in enumerate(starts)}
        for row, start in enumerate(starts.values()):
            self._rows[slot, 0, row] = start
        bare = [replace(j, start=_NOTHING) for j in block.jobs]
        try:
            self._pipe.send((i, slot, [place[id(j.start)] for j in block.jobs], block._replace(jobs=bare)))
        except OSError:
            return  # collect finds out

    def collect(self, memory: Recycler, wait: bool) -> dict[int, list[Trained] | Exception]:
        """A block that it has finished, if there is one; it is waited for if it must be and anything is under way.

        Raises:
            EOFError, OSError: it is gone.
        """
        if not self.busy or not (wait or self._pipe.poll()):
            return {}
        i, results = self._pipe.recv()
        slot = self.busy.pop(i)
        self._free.append(slot)
        if isinstance(results, Exception):
            return {i: results}
        rows = self._rows[slot, 1, : len(results)]
        return {i: [replace(r, delta=_copy(row, memory)) for r, row in zip(results, rows, strict=True)]}


_NOTHING = np.empty(0, np.float32)


def _copy(row: Vector, memory: Recycler) -> Vector:
    out: Vector = memory.take(row.shape, torch.float32, torch.device("cpu")).numpy()
    np.copyto(out, row)
    return out


def _dismiss(pipe: Connection, pid: int, owner: int) -> None:
    if os.getpid() != owner:
        return
    pipe.close()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _serve(pipe: Connection, rows: NDArray[np.float32], train: Train, parent: int) -> None:
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
            i, slot, places, block = pipe.recv()
        except EOFError:
            return
        starts = [rows[slot, 0, place] for place in range(max(places) + 1)]
        try:
            results = train(
                block._replace(jobs=[replace(j, start=starts[p]) for j, p in zip(block.jobs, places, strict=True)])
            )
        except Exception as error:
            pipe.send((i, error))
            continue
        for row, result in zip(rows[slot, 1], results, strict=False):
            row[:] = result.delta
        pipe.send((i, [replace(r, delta=_NOTHING) for r in results]))
