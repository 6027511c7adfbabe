"""The whole system in one process, for real: bytes are encoded, handed over and decoded, clients train.

The same ``Server``, ``Client`` and ``Book`` as in a simulation, driven by :class:`~hocket.service.loop.Loop`.
Under a :class:`~hocket.service.clock.ScriptedClock` the event log, the model and the server's memory are
those of the simulator, bit for bit.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hocket import events as on
from hocket.core import Tasks
from hocket.errors import InvalidInput
from hocket.fleet import Fleet
from hocket.planner import Planner
from hocket.received import Received
from hocket.record.account import Account
from hocket.record.curve import Curve
from hocket.record.ledger import Ledger
from hocket.record.summary import summarise
from hocket.schedule import Change, check_real
from hocket.service.clock import Clock, RealClock, on_interrupt
from hocket.service.loop import Loop
from hocket.service.result import LoopbackResult
from hocket.setup import Setup
from hocket.store import SQLiteStore
from hocket.store.journal import EVERY, End, Journal, state_digest
from hocket.store.recovery import Rebuilt, recover
from hocket.strategy import Strategy
from hocket.until import Evaluation, Until


def run_loopback(
    task: Tasks,
    fleet: Fleet | int,
    method: Strategy,
    until: Until,
    *,
    seed: int = 0,
    clock: Clock | None = None,
    evaluation: Evaluation | None = None,
    measure: tuple[str, ...] = (),
    schedule: Sequence[Change] = (),
    journal: Path | None = None,
    resume: bool = False,
    checkpoint: int = EVERY,
    workers: int | None = None,
) -> LoopbackResult:
    """Train tasks in this process, in real time unless ``clock`` says otherwise.

    Args:
        task: one task or several, each with a learner.
        fleet: the devices (their number and the kind of their links count), or just how many there are.
        method: a strategy.
        until: when to stop; ``time`` is in seconds of the clock.
        seed: fixes everything random.
        clock: :class:`RealClock` by default; a clock serves one run.
        evaluation: when models are measured (every version on the test split by default).
        measure: facts to measure of every update before it is accepted, such as ``("finite",)``.
        schedule: tasks that are added, paused or ended on the way, by the time of the clock.
        journal: a new folder for everything the server is told; acknowledgements wait until it is durable.
        resume: go on with the run in ``journal``, if there is one: leases that were open are worked on again. Log
            then begins at the restart, and bytes leave out what the journal does not have: parts of transfers that
            were under way, and which edges were published since the last checkpoint.
        checkpoint: accepted updates from one checkpoint of the journal to the next; two are kept, and what the older
            one covers is dropped.
        workers: threads that work at once, one per core by default.

    Ctrl-C ends the run with ``finished = "interrupted"``, journal and result complete. A client whose work
    raises has failed its lease; the run goes on.

    Raises:
        InvalidInput: something contradicts something else, a task is size-only, or the journal is another run's.
        Stalled: nothing can happen any more, or every lease fails.
        Diverged: a model stopped being finite.
        Damaged, Differs: the journal is not whole, or does not replay.
        StoreFailed: the journal could not be written; what was acknowledged is in it.
    """
    if journal is not None and journal.exists() and not resume:
        raise InvalidInput(f"journal {journal} exists; go on with it (resume), remove it or choose another folder")
    setup = Setup.of(task, method, until, seed=seed, evaluation=evaluation, measure=measure, schedule=schedule)
    tasks, received = setup.tasks, Received(setup.strategy.tasks, setup.tasks)
    server, book = setup.build(received, journaled=journal is not None, down=_rates(setup, fleet))
    at, told = Rebuilt(Account(Curve(until.confirm), Ledger())), None
    with ExitStack() as stack:
        if journal is not None:
            store = SQLiteStore(journal)
            stack.callback(store.close)
            at = recover(
                store.recover(), setup, server, book, received, at.account, where=f"journal {journal}"
            )  # fmt: skip
            told = Journal(store, setup.digest(), updates=at.saved, every=checkpoint)
            if not at.begun:
                told.begin()
        pool = ThreadPoolExecutor(workers or os.cpu_count(), "device")
        stack.callback(pool.shutdown, cancel_futures=True)
        overlap = isinstance(fleet, Fleet) and fleet.links == "parallel"
        loop = Loop(
            server, book, received, tasks, clock or RealClock(at.now), pool,
            seed=setup.seed, overlap=overlap, journal=told, account=at.account, evaluation=setup.evaluation,
            schedule=setup.schedule, now=at.now,
            planner=Planner(setup, fleet, book) if isinstance(fleet, Fleet) else None,
        )  # fmt: skip
        with on_interrupt(loop.inbox, on.Halted("interrupted")):
            if at.begun:
                loop.resume(at.left)
            loop.run()
        end = state_digest(server, book)
        if told is not None and not at.closed:
            told.append(loop.now, End(end))
            told.sync()
    account = loop.account
    summary = summarise(
        server, account.ledger, account.totals(*loop.under_way()), account.curve, loop.now, until, setup.seed
    )  # fmt: skip
    return LoopbackResult(summary, {n: book.model(n) for n in tasks}, loop.log, account.curve, server.snapshot(), end)


def _rates(setup: Setup, fleet: Fleet | int) -> NDArray[np.float64] | None:
    """What devices download in bytes/s, after a check of what a real run needs."""
    check_real(setup.schedule)
    setup.check_clients(fleet if isinstance(fleet, int) else len(fleet))
    if bare := [n for n, t in setup.tasks.items() if t.learner is None]:
        raise InvalidInput(f"task {bare[0]!r} is size-only; give it a learner, or simulate the run")
    kind = setup.strategy.prefetch.__struct_config__.tag  # type: ignore[attr-defined]
    if isinstance(fleet, int) and kind != "none":
        raise InvalidInput(f"prefetch {kind!r} needs to know the devices' links; give a fleet, not its size")
    return None if isinstance(fleet, int) else fleet.down
