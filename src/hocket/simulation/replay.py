"""Replay: a fresh server is told what a journal says another one was told, and must come to the same state.

Events from outside (updates as they were sent, failures, the time) are taken from the journal, at their
recorded times. What follows from them is computed again (measurements, steps, evaluations) and must equal
what the journal has. A journal with checkpoints is replayed from the newest one. A run that had not ended can be
carried on from there as a simulation.
"""

from pathlib import Path
from typing import Any

from msgspec import Struct

from hocket.book import Book
from hocket.errors import InvalidInput
from hocket.fleet import Fleet
from hocket.fleet.availability import Always
from hocket.received import Received
from hocket.record.account import Account
from hocket.record.curve import Curve
from hocket.record.ledger import Ledger
from hocket.record.summary import summarise
from hocket.server import Server
from hocket.setup import Setup
from hocket.simulation.run import prepare
from hocket.snapshot import pack, unpack
from hocket.store import read, secret
from hocket.store.journal import state_digest
from hocket.store.recovery import Rebuilt, recover
from hocket.store.spill import Overlay, over


class Replayed(Struct, frozen=True):
    """Server and book after the last event, what stands for their state, and how many events there were.

    ``closed``: the journal ends as the journal of a finished run does, and its digest was compared. ``at``: accounts
    and time, and results that the journal ends before.
    """

    setup: Setup
    server: Server
    book: Book
    digest: str
    events: int
    closed: bool
    at: Rebuilt


def replay(journal: Path, setup: Setup) -> Replayed:
    """Run a journal again; ``setup`` is that of the run that wrote it. Nothing in it changes.

    Raises:
        InvalidInput: the journal does not exist or belongs to another run.
        Damaged: the journal cannot be read.
        Differs: a result is not the journaled one; the message names the first such record.
    """
    received = Received(setup.strategy.tasks, setup.tasks)
    server, book = setup.build(received, journaled=True, secret=secret.kept(journal))
    book.spill(over(journal))
    account = Account(Curve(setup.until.confirm), Ledger())
    at = recover(read(journal), setup, server, book, received, account, strict=True, where=f"journal {journal}")
    return Replayed(setup, server, book, state_digest(server, book), server.state.events, at.closed, at)


def carry_on(replayed: Replayed, fleet: Fleet) -> dict[str, Any]:
    """Go on with a replayed run as a simulation on a fleet, and return its summary.

    Devices begin the leases that were open anew; updates accepted and not yet in a step are trained again.

    Raises:
        InvalidInput: devices of the fleet come and go, and it is not known which were there.
    """
    if not isinstance(fleet.availability, Always):
        raise InvalidInput(f"carry on: fleet.availability = {fleet.availability!r}; a run goes on with Always only")
    setup, at = replayed.setup, replayed.at
    sim = prepare(setup, fleet)
    engine = sim.engine
    account = unpack(pack(at.account), Account)  # a replay may be carried on several times
    for mine, theirs in zip(engine.book.archives(), replayed.book.archives(), strict=True):
        assert theirs.file is not None, "a replay has files"
        mine.spill(Overlay(theirs.file))
    engine.server.restore(replayed.server.snapshot())
    engine.book.restore(replayed.book.snapshot())
    sim.curve.points = account.curve.points
    engine.adopt(account, at.now, at.left)
    engine.run()
    return summarise(engine.server, engine.ledger, engine.totals(), sim.curve, engine.now, setup.until, setup.seed)
