"""The whole system in one process, for real: bytes are encoded, handed over and decoded, clients train.

The same ``Server``, ``Client`` and ``Book`` as in a simulation, driven by :class:`~hocket.service.loop.Loop`.
Under a :class:`~hocket.service.clock.ScriptedClock` the event log, the model and the server's memory are
those of the simulator, bit for bit.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from hocket import events as on
from hocket.core import Tasks, build, named, resolve
from hocket.errors import InvalidInput
from hocket.fleet import Fleet
from hocket.learning.task import Task
from hocket.policies import Estimate
from hocket.received import Received
from hocket.record.account import Account
from hocket.record.curve import Curve
from hocket.record.ledger import Ledger
from hocket.record.summary import summarise
from hocket.service.clock import Clock, RealClock, on_interrupt
from hocket.service.loop import Loop
from hocket.service.result import LoopbackResult
from hocket.store import SQLiteStore
from hocket.store.journal import EVERY, End, Journal, fingerprint, state_digest
from hocket.store.recovery import Rebuilt, recover
from hocket.strategy import FullStrategy, Strategy
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
    tasks = named(task)
    strategy, tasks = resolve(tasks, method)
    _check(tasks, fleet)
    evaluation = evaluation or Evaluation()
    received = Received(strategy.tasks, tasks)
    server, book = build(
        tasks, strategy, received, seed=seed, until=until, evaluation=evaluation, measure=measure,
        journaled=journal is not None, estimate=_estimates(tasks, strategy, fleet),
    )  # fmt: skip
    at, told = Rebuilt(Account(Curve(until.confirm), Ledger())), None
    with ExitStack() as stack:
        if journal is not None:
            name = fingerprint(strategy, tasks, seed, until, evaluation, measure)
            store = SQLiteStore(journal)
            stack.callback(store.close)
            at = recover(
                store.recover(), name, server, book, received, tasks, at.account, evaluation,
                where=f"journal {journal}",
            )  # fmt: skip
            told = Journal(store, name, updates=at.saved, every=checkpoint)
            if not at.begun:
                told.begin()
        pool = ThreadPoolExecutor(workers or os.cpu_count(), "device")
        stack.callback(pool.shutdown, cancel_futures=True)
        overlap = isinstance(fleet, Fleet) and fleet.links == "parallel"
        loop = Loop(
            server, book, received, tasks, clock or RealClock(at.now), pool,
            seed=seed, overlap=overlap, journal=told, account=at.account, evaluation=evaluation, now=at.now,
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
        server, account.ledger, account.totals(*loop.under_way()), account.curve, loop.now, until, seed
    )  # fmt: skip
    return LoopbackResult(summary, {n: book.model(n) for n in tasks}, loop.log, account.curve, server.snapshot(), end)


def _check(tasks: Mapping[str, Task], fleet: Fleet | int) -> None:
    n = fleet if isinstance(fleet, int) else len(fleet)
    for t in tasks.values():
        if t.clients != n:
            raise InvalidInput(f"task {t.name!r} has {t.clients} clients and the fleet {n} devices; make them equal")
        if t.learner is None:
            raise InvalidInput(f"task {t.name!r} is size-only; give it a learner, or simulate the run")


def _estimates(tasks: Mapping[str, Task], strategy: FullStrategy, fleet: Fleet | int) -> dict[str, Estimate]:
    kind = strategy.prefetch.__struct_config__.tag  # type: ignore[attr-defined]
    if kind == "none":
        return {}
    if isinstance(fleet, int):
        raise InvalidInput(f"prefetch {kind!r} needs to know the devices' links; give a fleet, not its size")
    return {n: Estimate(t.schema.nbytes, t.schema.nbytes, 0, fleet.down) for n, t in tasks.items()}
