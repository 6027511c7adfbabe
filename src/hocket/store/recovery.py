"""Recovery: server, book and accounts as they were after the last durable event, from a checkpoint and a replay.

Events from outside, updates included, are taken from the journal at their recorded times. What follows from
them (steps, rankings, restores) is computed again and must equal what the journal has. Measurements and
evaluations change no model: they are believed, unless the replay is ``strict``, or computed if the journal
ends before them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from hocket import actions as do
from hocket import events as on
from hocket.book import Book
from hocket.errors import Damaged, Differs, Diverged, InvalidInput
from hocket.events import Event
from hocket.received import Received, Sent
from hocket.record.account import Account
from hocket.server import Server
from hocket.setup import Setup
from hocket.snapshot import pack, unpack
from hocket.store import journal
from hocket.store.journal import FORMAT, KEPT, End, Entry, Header, state_digest
from hocket.store.store import Recovered

BELIEVED = (on.Measured, on.Evaluated)
COMPUTED = (*BELIEVED, on.Stepped, on.Ranked, on.Kept, on.Restored)
Told = Callable[[int, Event, Sequence[do.Action]], None]


def untold(now: int, event: Event, actions: Sequence[do.Action]) -> None:
    """Nobody wants to know."""


class Rebuilt(Struct):
    """Where a run stands: accounts, time (ns), results that were asked for and are not in the journal.

    ``begun``: there was a header. ``closed``: the run had ended. ``saved``, ``events``: how many updates, and
    events, the checkpoint covers.
    """

    account: Account
    now: int = 0
    left: list[Event] = []
    begun: bool = False
    closed: bool = False
    saved: int = 0
    events: int = 0


def recover(
    found: Recovered,
    setup: Setup,
    server: Server,
    book: Book,
    received: Received,
    account: Account,
    *,
    strict: bool = False,
    where: str = "journal",
    told: Told = untold,
) -> Rebuilt:
    """Bring a fresh server, book and source to where a journal ends.

    Args:
        found: what the store holds.
        setup: what is run; its digest must be that in the journal.
        strict: measure and evaluate again, too.
        where: what messages call the journal.
        told: given every event that is handled again, and what it led to.

    Raises:
        InvalidInput: the journal belongs to another run.
        Damaged: a record is no entry, or a checkpoint no checkpoint of a run.
        Differs: a result is not the journaled one; the message names the first such record.
    """
    again, run = _Again(server, book, received, setup, Rebuilt(account), strict, told), setup.digest()
    if found.checkpoint is not None:
        again.restore(found.checkpoint.state, run, where)
    for record in found.records:
        place = f"{where}: record {record.number}"
        entry = journal.decode(record, place)
        again.take(place, run, entry, record.bodies.get(entry.body))
    return again.done()


class _Again:
    def __init__(
        self,
        server: Server,
        book: Book,
        received: Received,
        setup: Setup,
        at: Rebuilt,
        strict: bool,
        told: Told,
    ) -> None:
        self._server, self._book, self._received, self._tasks, self._at = server, book, received, setup.tasks, at
        self._strict, self._told = strict, told
        self._subject = (setup.evaluation.split, setup.evaluation.subject)
        self._asked: list[tuple[tuple[Any, ...], Callable[[], Event]]] = []
        self._carry: dict[type[Any], Callable[[Any], None]] = {
            do.Assign: lambda a: at.account.assign(a.lease, book), do.Release: self._release,
            do.Accumulate: lambda a: at.account.accumulate(a, book),
            do.Decode: lambda a: self._ask(
                ("Measured", a.lease), lambda: on.Measured(a.lease, received.measure(at.account.open[a.lease].lease))
            ),
            do.Evaluate: self._evaluate,
            do.Step: self._step, do.Rank: lambda a: self._did(book.rank(a.task, a.cuts)),
            do.Keep: lambda a: self._did(book.keep(a.task)),
            do.Restore: lambda a: self._did(book.restore_kept(a.task)),
        }  # fmt: skip

    def restore(self, state: Mapping[str, bytes], run: str, where: str) -> None:
        """Begin at a checkpoint."""
        at = self._at
        try:
            _check_header(unpack(state["header"], Header), run, where)
            self._server.restore(state["server"])
            self._book.restore(state["book"])
            for archive in self._book.archives():
                archive.guard(*KEPT)
            self._received.sent = unpack(state["updates"], dict[int, Sent])
            at.account, at.now = unpack(state["account"], Account), unpack(state["now"], int)
        except KeyError as e:
            raise Damaged(f"{where}: the checkpoint has no {e}; it is not one of a run") from None
        at.account.drop_offers(self._book)
        for i, x in at.account.open.items():
            x.lease = self._server.state.leases[i]  # one lease, that the server goes on writing to
        at.begun, at.saved, at.events = True, self._server.state.updates, self._server.state.events

    def take(self, where: str, run: str, entry: Entry, body: bytes | None) -> None:
        """Handle one entry; a result is compared with the one computed here."""
        event, now, at = entry.event, entry.now, self._at
        if isinstance(event, Header):
            _check_header(event, run, where)
            at.begun = True
            return
        if isinstance(event, End):
            self._check_end(where, event)
            at.closed = True
            return
        if isinstance(event, COMPUTED):
            self._compare(where, event)
        if isinstance(event, on.TaskEnded):
            self._asked = [x for x in self._asked if x[0] != _name(event)]
        self._note(where, event, now, body)
        at.now = now
        actions = self._server.handle(event, now)
        self._told(now, event, actions)
        for action in actions:
            if (carry := self._carry.get(type(action))) is not None:
                carry(action)

    def done(self) -> Rebuilt:
        """What is left to be told."""
        self._at.left = [make() for _, make in self._asked]
        return self._at

    def _note(self, where: str, event: Event, now: int, body: bytes | None) -> None:
        """Write an event into the accounts, an update among what was received."""
        account = self._at.account
        if isinstance(event, on.Fetched):
            if event.lease < 0:
                account.ledger.early(event.node.task, event.client, event.size)
            else:
                account.count("download", event.lease, event.size)
        elif isinstance(event, on.Left):
            account.ledger.left(event.client)
        elif isinstance(event, on.Arrived) and (x := account.open.get(event.lease)) is not None:
            if x.lease.client != event.client:
                return  # somebody else's answer is refused, whatever came with it
            account.count("upload", event.lease, event.size)
            if event.lease in self._received.sent:
                return  # sent twice: the first one counts
            if body is None:
                raise Damaged(f"{where}: the update of lease {event.lease} has no body; take the store from a copy")
            self._received.put(event.lease, unpack(body, Sent))
        elif isinstance(event, on.Evaluated) and (event.split, event.subject) == self._subject:
            account.evaluated(event, now, self._server.state.tasks[event.task].accepted)

    def _compare(self, where: str, event: Event) -> None:
        place = next((i for i, (name, _) in enumerate(self._asked) if name == _name(event)), None)
        if place is None:
            raise Differs(f"{where}: the journal says {event}; the replayed server has not asked for it")
        _, make = self._asked.pop(place)
        if self._strict or not isinstance(event, BELIEVED):
            mine = make()
            if pack(mine) != pack(event):
                raise Differs(f"{where}: the journal says {event}; replayed, it is {mine}")

    def _check_end(self, where: str, event: End) -> None:
        if self._asked:
            raise Differs(f"{where}: the journal is closed; replayed, {self._asked[0][1]()} is still to come")
        if (mine := state_digest(self._server, self._book)) != event.digest:
            raise Differs(f"{where}: the run ended in state {event.digest}; replayed, it is {mine}")

    def _ask(self, name: tuple[Any, ...], make: Callable[[], Event]) -> None:
        self._asked.append((name, make))

    def _did(self, result: Event) -> None:
        self._ask(_name(result), lambda: result)

    def _step(self, a: do.Step) -> None:
        try:
            self._did(self._book.step(a.task, a.keep))
        except Diverged as e:  # the host ended the task, or was about to
            end = on.TaskEnded(a.task, f"diverged: {e}")
            self._ask(_name(end), lambda: end)

    def _release(self, a: do.Release) -> None:
        self._received.forget(a.lease)
        self._at.account.release(a, self._book)

    def _evaluate(self, a: do.Evaluate) -> None:
        learner, x = self._tasks[a.task].learner, self._book.model(a.task, a.subject, a.lease)
        version = self._book.shelves[a.task].node.version

        def make() -> Event:
            metrics = {} if learner is None or x is None else learner.evaluate(x, a.split)
            return on.Evaluated(a.task, version, a.subject, a.split, metrics, a.lease)

        self._ask(("Evaluated", a.task, a.subject, a.split, a.lease), make)


def _check_header(header: Header, run: str, where: str) -> None:
    if header.format != FORMAT:
        raise Damaged(f"{where}: format {header.format}; this version of hocket reads format {FORMAT}")
    if header.run != run:
        raise InvalidInput(
            f"{where} belongs to another run (tasks, strategy, stop rule, evaluation, measure or seed differ); use "
            "those it was written with"
        )


def _name(e: Any) -> tuple[Any, ...]:
    """What tells the results of two actions apart."""
    match e:
        case on.Measured():
            return ("Measured", e.lease)
        case on.Evaluated():
            return ("Evaluated", e.task, e.subject, e.split, e.lease)
    return (type(e).__name__, e.task)
