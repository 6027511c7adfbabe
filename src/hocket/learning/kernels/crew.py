"""Processes that train blocks of clients beside this one: for small models threads would wait for the interpreter.

A mate is a fork of this process, so it has model, data and kernels without a copy; start vectors and results go through
memory that both see. Which process trains a block changes nothing in its results, so whoever comes first does: mates
have some blocks in advance, and this process takes one back if nobody has begun it.
"""

import os
import threading
from collections import deque
from collections.abc import Sequence
from sys import platform

import numpy as np
import torch

from hocket.learning.kernels.block import Block
from hocket.learning.kernels.mate import DEPTH, Mate, Ticket, Train
from hocket.learning.kernels.memory import Recycler
from hocket.learning.kernels.workers import NAME, single_threaded
from hocket.learning.learner import Trained

SMALL = 1 << 20
"""Parameters up to which it is worth it: threads hardly wait for one another in the products of larger models, which
are many bytes to hand over."""


_GONE = Trained(np.empty(0, np.float32), 0, {})


def possible() -> bool:
    """Whether this process may be forked now: on Linux, as long as no other thread could hold a lock.

    Those of :class:`~hocket.learning.kernels.workers.Workers` hold none: they wait while nobody evaluates.
    """
    return platform == "linux" and sum(not t.name.startswith(NAME) for t in threading.enumerate()) == 1


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
        self._mates = [Mate(size, train) for _ in range(mates)]

    @property
    def usable(self) -> bool:
        """False in a process that was forked from the one that has the mates."""
        return self._owner == os.getpid()

    def idle(self) -> int:
        """Mates that have nothing to do."""
        for mate in list(self._mates):
            self._look(mate)
        return sum(not mate.busy for mate in self._mates)

    def begin(self, blocks: Sequence[Block]) -> list[Ticket]:
        """Let the mates train these blocks after those before them."""
        tickets = [Ticket(block) for block in blocks]
        self._waiting.extend(tickets)
        self._feed()
        return tickets

    def result(self, ticket: Ticket, job: int) -> Trained:
        """What came of a job of a block, as soon as it is there, once; or the error that its part of the block raised.

        A mate that dies is not replaced, and its blocks are trained here.
        """
        part, place = ticket.at(job)
        while part.found is None:
            self._go_on(part)
            part, place = ticket.at(job)
        if isinstance(part.found, Exception):
            raise part.found
        found, part.found[place] = part.found[place], _GONE
        return found

    def _go_on(self, wanted: Ticket) -> None:
        """Train that block here if nobody has begun, or another while a mate is at it, or wait for the mate."""
        if self._taken(wanted):
            self._own(wanted)
            return
        self._feed()
        if wanted.found is None:
            others = [*self._waiting, *(t for mate in self._mates for t in reversed(mate.busy.values()) if t)]
            mine = next((t for t in others if self._taken(t)), None)
            if mine is not None:
                self._own(mine)
            else:
                self._look(next(mate for mate in self._mates if wanted in mate.busy.values()), wait=True)

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
        if self._mates and not self._waiting and all(mate.blocks < 2 for mate in self._mates):  # all else has begun
            self._waiting.extend(ticket.divide())
        self._feed()  # mates are to have enough for as long as it takes
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
                if mate.blocks <= n:
                    given = next((t for t in self._waiting if mate.takes(t)), None)
                    if given is not None:
                        self._waiting.remove(given)

    def _lose(self, mate: Mate) -> None:
        self._waiting.extend(t for t in mate.busy.values() if t)
        mate.end()

    def _look(self, mate: Mate, wait: bool = False) -> None:
        """Collect a block that the mate has finished, if there is one; it is waited for if it must be."""
        try:
            mate.collect(self._memory, wait)
        except (EOFError, OSError):
            self._lose(mate)
            self._mates.remove(mate)
        except BaseException:  # half a message may be left in a pipe
            self.close()
            raise
