"""Replay: a fresh server is told what a journal says another one was told, and must come to the same state.

Events from outside (arrivals, failures, the time) are taken from the journal, at their recorded times. What
follows from them is computed again (training, measurements, steps, evaluations) and must equal what the
journal has.
"""

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from hocket import actions as do
from hocket import events as on
from hocket.book import Book
from hocket.core import Tasks
from hocket.errors import HocketError, InvalidInput
from hocket.events import Event
from hocket.learning.task import Task
from hocket.lease import Lease
from hocket.server import Server
from hocket.service.journal import End, Header, read, state_digest
from hocket.setup import Setup
from hocket.simulation.training import LazyTraining
from hocket.snapshot import pack
from hocket.strategy import Strategy
from hocket.until import Evaluation, Until

COMPUTED = (on.Measured, on.Stepped, on.Evaluated, on.Ranked, on.Kept, on.Restored)


class Differs(HocketError):
    """A replay came to another result than the run that wrote the journal."""

    exit_code = 6


class Replayed(Struct, frozen=True):
    """Server and book after the last event, what stands for their state, and how many events there were.

    ``closed``: the journal ends as the journal of a finished run does, and its digest was compared.
    """

    server: Server
    book: Book
    digest: str
    events: int
    closed: bool


def replay(
    journal: Path,
    task: Tasks,
    method: Strategy,
    until: Until,
    *,
    seed: int = 0,
    evaluation: Evaluation | None = None,
    measure: tuple[str, ...] = (),
) -> Replayed:
    """Run a journal again; the other arguments are those of the run that wrote it.

    Raises:
        InvalidInput: the journal does not exist or belongs to another run.
        Damaged: the journal cannot be read.
        Differs: a result is not the journaled one; the message names the first such record.
    """
    setup = Setup.of(task, method, until, seed=seed, evaluation=evaluation, measure=measure)
    training = LazyTraining(setup, journaled=True)
    server, book = training.server, training.book
    again = _Again(training, setup.tasks)
    name = setup.digest()
    closed = False
    for number, (now, event) in enumerate(read(journal)):
        if isinstance(event, Header):
            if event.run != name:
                raise InvalidInput(
                    f"journal {journal} belongs to another run (tasks, strategy, stop rule, evaluation, "
                    "measure or seed differ); replay it with those it was written with"
                )
        elif isinstance(event, End):
            closed = True
            again.check_end(f"journal {journal}: record {number}", event)
        else:
            again.tell(f"journal {journal}: record {number}", now, event)
    return Replayed(server, book, state_digest(server, book), server.state.events, closed)


class _Again:
    def __init__(self, training: LazyTraining, tasks: Mapping[str, Task]) -> None:
        self._training, self._tasks = training, tasks
        self._server, self._book = training.server, training.book
        book = training.book
        self._open: dict[int, Lease] = {}
        self._computed: dict[tuple[Any, ...], deque[Event]] = {}
        self._carry: dict[type[Any], Callable[[Any], Event | None]] = {
            do.Assign: self._assign, do.Accumulate: self._accumulate, do.Release: self._release,
            do.Decode: lambda a: on.Measured(a.lease, training.measure(self._open[a.lease])),
            do.Step: lambda a: book.step(a.task), do.Evaluate: self._evaluate,
            do.Rank: lambda a: book.rank(a.task), do.Keep: lambda a: book.keep(a.task),
            do.Restore: lambda a: book.restore_kept(a.task),
        }  # fmt: skip

    def tell(self, where: str, now: int, event: Event) -> None:
        """Compare a result with the one computed here, then let the server handle it."""
        if isinstance(event, COMPUTED):
            waiting = self._computed.get(_name(event))
            if not waiting:
                raise Differs(f"{where}: the journal says {event}; the replayed server has not asked for it")
            mine = waiting.popleft()
            if pack(mine) != pack(event):
                raise Differs(f"{where}: the journal says {event}; replayed, it is {mine}")
        elif isinstance(event, on.Arrived) and (lease := self._open.get(event.lease)) is not None:
            self._training.start(lease)
        for action in self._server.handle(event, now):
            carry = self._carry.get(type(action))
            result = None if carry is None else carry(action)
            if result is not None:
                self._computed.setdefault(_name(result), deque()).append(result)

    def check_end(self, where: str, event: End) -> None:
        """Compare the state with the one the run ended in."""
        if left := [e for waiting in self._computed.values() for e in waiting]:
            raise Differs(f"{where}: the journal is closed; replayed, {left[0]} is still to come")
        if (mine := state_digest(self._server, self._book)) != event.digest:
            raise Differs(f"{where}: the run ended in state {event.digest}; replayed, it is {mine}")

    def _assign(self, a: do.Assign) -> None:
        self._book.open(a.lease)
        self._open[a.lease.id] = a.lease

    def _accumulate(self, a: do.Accumulate) -> None:
        self._book.accumulate(self._open.pop(a.lease), a.weight)

    def _release(self, a: do.Release) -> None:
        self._training.forget(a.lease)
        lease = self._open.pop(a.lease, None)
        if lease is None:
            self._book.discard(a.lease, a.task)
        else:
            self._book.release(lease)

    def _evaluate(self, a: do.Evaluate) -> Event:
        learner, x = self._tasks[a.task].learner, self._book.model(a.task, a.subject, a.lease)
        metrics = {} if learner is None or x is None else learner.evaluate(x, a.split)
        version = self._book.shelves[a.task].node.version
        return on.Evaluated(a.task, version, a.subject, a.split, metrics, a.lease)


def _name(e: Event) -> tuple[Any, ...]:
    """What tells the results of two actions apart."""
    match e:
        case on.Measured():
            return ("measured", e.lease)
        case on.Evaluated():
            return ("evaluated", e.task, e.subject, e.split, e.lease)
        case on.Stepped() | on.Ranked() | on.Kept() | on.Restored():
            return (type(e).__name__, e.task)
    raise AssertionError(f"{e} is not computed")
