"""Bugs on purpose: small changes of server, client, book, journal and store, each of which a seed must find.

A bug is a name, what is patched, and how the patched function is made from the original one. None of them touches
an oracle, the reference, or the world.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from hocket import actions as do
from hocket import events as on
from hocket import server as server_module
from hocket.book import Book
from hocket.client import Client
from hocket.errors import StoreFailed
from hocket.faults import disk_store
from hocket.faults.disk import Disk
from hocket.faults.disk_store import DiskStore
from hocket.guard import Staleness
from hocket.learning.learner import measured
from hocket.lease_table import LeaseTable
from hocket.merge import mean
from hocket.optimizer import SGD
from hocket.pacing import InFlight
from hocket.received import Received
from hocket.record.account import Account
from hocket.scheduler import Scheduler
from hocket.server import Server
from hocket.service import host
from hocket.shelf import Shelf
from hocket.snapshot import pack, unpack
from hocket.store import recovery
from hocket.store.journal import Journal
from hocket.task_table import TaskTable

Make = Callable[[Any], Any]
BUGS: dict[str, tuple[Any, str, Make]] = {}


def bug(name: str, owner: Any, attribute: str) -> Callable[[Make], Make]:
    """Enter a bug into the table."""

    def enter(make: Make) -> Make:
        assert name not in BUGS and hasattr(owner, attribute)
        BUGS[name] = (owner, attribute, make)
        return make

    return enter


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The code with one bug in it."""
    owner, attribute, make = BUGS[name]
    original = vars(owner)[attribute]
    setattr(owner, attribute, make(original))
    try:
        yield
    finally:
        setattr(owner, attribute, original)


def nothing(result: Any = None) -> Make:
    """A function that does nothing instead."""
    return lambda original: lambda *args, **kwargs: result


def skipping(*kinds: type) -> Make:
    """An append that leaves some events out."""

    def make(original: Any) -> Any:
        def append(self: Any, now: int, event: Any, body: bytes = b"") -> None:
            if not isinstance(event, kinds):
                original(self, now, event, body)

        return append

    return make


def without(field: str, value: Any) -> Make:
    """A snapshot or restore in which a field of the server's state is lost."""

    def make(original: Any) -> Any:
        def restore(self: Any, data: bytes) -> None:
            original(self, data)
            setattr(self.state, field, type(value)(value))

        return restore

    return make


# --- the disk and the store ------------------------------------------------------------------------------

bug("a sync of a file does nothing", Disk, "sync")(nothing())
bug("a sync of the folder does nothing", Disk, "sync_folder")(nothing())
bug("torn records are read as whole", disk_store, "_frames")(lambda original: _any_frames)
bug("damaged checkpoints are read as whole", disk_store, "_whole")(nothing(True))
bug("the tail is not cut before records are appended", disk_store, "_cut_tail")(nothing())


def _any_frames(data: bytes) -> Iterator[Any]:
    at = 0
    while at + disk_store.HEAD <= len(data):
        end = at + disk_store.HEAD + int.from_bytes(data[at : at + 4], "little")
        try:
            yield (
                disk_store.Record(*unpack(data[at + disk_store.HEAD : end], tuple[int, int, bytes, dict[str, bytes]])),
                end,
            )
        except Exception:
            return
        at = end


@bug("a failed sync is taken for a good one", DiskStore, "sync")
def _(original: Any) -> Any:
    def sync(self: Any) -> int:
        try:
            return original(self)
        except StoreFailed:
            self._failure = None
            self._queue.clear()
            self._durable = self._last
            return self._last

    return sync


@bug("records of a commit are written and never synced", DiskStore, "sync")
def _(original: Any) -> Any:
    def sync(self: Any) -> int:
        real = Disk.sync
        Disk.sync = lambda disk, name: None if name.startswith("journal") else real(disk, name)  # type: ignore[method-assign]
        try:
            return original(self)
        finally:
            Disk.sync = real  # type: ignore[method-assign]

    return sync


@bug("a checkpoint drops the records that only the newer one covers", DiskStore, "_drop")
def _(original: Any) -> Any:
    return lambda self, kept: original(self, [kept[-1], kept[-1]])


@bug("a new writer forgets how far the journal goes", DiskStore, "append")
def _(original: Any) -> Any:
    def append(self: Any, *args: Any) -> int:
        if self._last > 40 and self._last % 41 == 0:
            self._last += 1
        return int(original(self, *args))

    return append


# --- the journal -----------------------------------------------------------------------------------------

bug("the journal acknowledges without a sync", Journal, "sync")(nothing())
bug("measurements are not journaled", Journal, "append")(skipping(on.Measured))
bug("wake-ups are not journaled", Journal, "append")(skipping(on.Woke))
bug("failures are not journaled", Journal, "append")(skipping(on.Failed))
bug("clients that come are not journaled", Journal, "append")(skipping(on.Joined))
bug("clients that go are not journaled", Journal, "append")(skipping(on.Left))
bug("durability is not journaled", Journal, "append")(skipping(on.Durable))
bug("starts of training are not journaled", Journal, "append")(skipping(on.Started))


@bug("bodies are not journaled", Journal, "append")
def _(original: Any) -> Any:
    return lambda self, now, event, body=b"": original(self, now, event)


@bug("the journal has the time of the event before", Journal, "append")
def _(original: Any) -> Any:
    def append(self: Any, now: int, event: Any, body: bytes = b"") -> None:
        original(self, getattr(self, "_late", 0), event, body)
        self._late = now

    return append


def saving(**change: Any) -> Make:
    """A checkpoint in which something else is written."""

    def make(original: Any) -> Any:
        def save(self: Any, server: Any, book: Any, received: Any, account: Any, now: int) -> None:
            store = self._store
            real = store.save
            store.save = lambda covers, state: real(covers, {**state, **change})
            try:
                original(self, server, book, received, account, now)
            finally:
                store.save = real

        return save

    return make


bug("a checkpoint forgets updates in line", Journal, "save")(saving(updates=pack({})))
bug("a checkpoint forgets the time", Journal, "save")(saving(now=pack(0)))


@bug("a checkpoint covers one record less than it holds", Journal, "save")
def _(original: Any) -> Any:
    def save(self: Any, *args: Any) -> None:
        store = self._store
        real = store.save
        store.save = lambda covers, state: real(covers - 1, state)
        try:
            original(self, *args)
        finally:
            store.save = real

    return save


# --- recovery --------------------------------------------------------------------------------------------

bug("results that the journal lacks are not told", recovery._Again, "done")(
    lambda original: lambda self: (self._asked.clear(), original(self))[1]
)
bug("answers since the checkpoint are forgotten", Server, "restore")(without("answers", {}))
bug("draws begin anew after a restart", Server, "restore")(without("draws", 0))
bug("lease numbers begin lower after a restart", Server, "restore")(without("next_lease", 1))
bug("deadlines are forgotten after a restart", Server, "restore")(without("deadlines", {}))
bug("the wake-up asked for is forgotten after a restart", Server, "restore")(without("wake", -1))


@bug("the book forgets its line after a restart", Book, "restore")
def _(original: Any) -> Any:
    def restore(self: Any, data: bytes) -> None:
        original(self, data)
        for shelf in self.shelves.values():
            shelf.pending.clear()

    return restore


@bug("a foreign answer counts in recovery", recovery._Again, "_note")
def _(original: Any) -> Any:
    def note(self: Any, where: str, event: Any, now: int, body: bytes | None) -> None:
        held = self._at.account.open.get(getattr(event, "lease", None))
        if isinstance(event, on.Arrived) and held is not None:
            event = msgspec.structs.replace(event, client=held.lease.client)
        original(self, where, event, now, body)

    return note


@bug("the last record is not replayed", host, "recover")
def _(original: Any) -> Any:
    def recover(found: Any, *args: Any, **kwargs: Any) -> Any:
        return original(msgspec.structs.replace(found, records=list(found.records)[:-1]), *args, **kwargs)

    return recover


# --- the server ------------------------------------------------------------------------------------------


@bug("anybody may answer a lease", Server, "_arrived")
def _(original: Any) -> Any:
    def arrived(self: Any, e: Any, now: int, out: Any) -> bool:
        lease = self.state.leases.get(e.lease)
        return original(self, e if lease is None else msgspec.structs.replace(e, client=lease.client), now, out)

    return arrived


@bug("an answer to a closed lease is accepted", Server, "_answer_again")
def _(original: Any) -> Any:
    return lambda self, e, out: out.append(do.Accept(e.lease, e.client))


@bug("a repeat of an accepted update is refused", Server, "_answer_again")
def _(original: Any) -> Any:
    return lambda self, e, out: out.append(do.Refuse(e.lease, e.client, "closed"))


@bug("answers are remembered for the next client", Server, "_judge")
def _(original: Any) -> Any:
    def judge(self: Any, lease: Any, *args: Any) -> bool:
        decided = original(self, lease, *args)
        told = self.state.answers[lease.id]
        self.state.answers[lease.id] = (told[0] + 1, told[1])
        return decided

    return judge


@bug("a closed lease stays open", LeaseTable, "close")
def _(original: Any) -> Any:
    def close(self: Any, lease: Any, outcome: str, size: int = 0, samples: int = 0) -> None:
        original(self, lease, outcome, size, samples)
        if outcome == "accepted":
            self._state.leases[lease.id] = lease

    return close


@bug("numbers that are not finite pass", Received, "measure")
def _(original: Any) -> Any:
    return lambda self, lease: {**measured(self.look(lease)), "finite": 1.0}


@bug("the staleness limit is off by one", Staleness, "admit")
def _(original: Any) -> Any:
    def admit(self: Any, lease: Any, facts: Any) -> str | None:
        return original(self, lease, msgspec.structs.replace(facts, staleness=facts.staleness - 1))

    return admit


bug("updates without samples, or from a wrong start, are accepted", server_module, "_refusal")(nothing())


@bug("updates from a wrong start are accepted", server_module, "_refusal")
def _(original: Any) -> Any:
    return lambda lease, e: "no samples" if e.samples < 1 else None


bug("timers are looked at on arrival only", Scheduler, "_wake")(nothing())


@bug("a lost lease keeps its start", LeaseTable, "lose")
def _(original: Any) -> Any:
    return lambda self, lease, reason, out: original(self, lease, reason, [])


@bug("a cancelled lease keeps its start", LeaseTable, "cancel")
def _(original: Any) -> Any:
    def cancel(self: Any, lease: Any, reason: str, out: Any) -> None:
        said: list[Any] = []
        original(self, lease, reason, said)
        out += (a for a in said if not isinstance(a, do.Release))

    return cancel


@bug("open leases do not count against those in flight", InFlight, "room")
def _(original: Any) -> Any:
    def room(self: Any, state: Any, view: Any, now: int) -> Any:
        return {t: n + view.tasks[t].open for t, n in original(self, state, view, now).items()}

    return room


@bug("a lease starts at the version before", LeaseTable, "route")
def _(original: Any) -> Any:
    def route(self: Any, pick: Any, now: int, out: Any) -> None:
        task = self._state.tasks[pick.task]
        node = task.node
        if node.version > 3:
            task.node = msgspec.structs.replace(node, version=node.version - 1)
        original(self, pick, now, out)
        task.node = node

    return route


@bug("a job number is given out twice", LeaseTable, "route")
def _(original: Any) -> Any:
    def route(self: Any, pick: Any, now: int, out: Any) -> None:
        original(self, pick, now, out)
        if self._state.next_lease % 9 == 0:
            self._state.tasks[pick.task].ordinals[pick.client] -= 1

    return route


@bug("a step takes the updates of every task", Scheduler, "_step")
def _(original: Any) -> Any:
    def step(self: Any, due: Any, task: Any, out: Any) -> None:
        original(self, due, task, out)
        for other in self._state.tasks.values():
            other.buffer.clear()

    return step


@bug("the line is kept after a step", Scheduler, "_step")
def _(original: Any) -> Any:
    def step(self: Any, due: Any, task: Any, out: Any) -> None:
        line = list(task.buffer)
        original(self, due, task, out)
        task.buffer += line

    return step


@bug("a task is stepping for ever after a restart in a step", TaskTable, "stepped")
def _(original: Any) -> Any:
    def stepped(self: Any, e: Any, now: int, out: Any) -> bool:
        decided = original(self, e, now, out)
        self.named(e.task).stepping = e.node.version == 7
        return decided

    return stepped


@bug("refused updates count as accepted", Server, "_judge")
def _(original: Any) -> Any:
    def judge(self: Any, *args: Any) -> bool:
        refused = self.state.refused
        decided = original(self, *args)
        self.state.updates += self.state.refused - refused
        return decided

    return judge


@bug("a client that left stays idle", Server, "_left")
def _(original: Any) -> Any:
    def left(self: Any, e: Any, now: int, out: Any) -> bool:
        idle = e.client in self.state.idle
        decided = original(self, e, now, out)
        if idle:
            self.state.idle.add(e.client)
        return decided

    return left


# --- the book --------------------------------------------------------------------------------------------


@bug("an update is put in line twice", Book, "accumulate")
def _(original: Any) -> Any:
    def accumulate(self: Any, lease: Any, weight: float) -> int:
        if lease.id % 11 == 0:
            shelf = self.shelves[lease.task]
            shelf.pending.append((lease, weight))
            shelf.readers[lease.version] += 1
        return int(original(self, lease, weight))

    return accumulate


@bug("an update counts twice", Book, "accumulate")
def _(original: Any) -> Any:
    return lambda self, lease, weight: original(self, lease, weight * (2 if lease.id % 11 == 0 else 1))


@bug("an update is not put in line", Book, "accumulate")
def _(original: Any) -> Any:
    def accumulate(self: Any, lease: Any, weight: float) -> int:
        late = int(original(self, lease, weight))
        if lease.id % 13 == 0:
            self.discard(lease.id, lease.task)
        return late

    return accumulate


@bug("staleness is counted from the version to come", Staleness, "weigh")
def _(original: Any) -> Any:
    return lambda self, lease, staleness: self.decay.weight(staleness + (lease.id % 5 == 0))


@bug("start values are dropped with the first reader", Shelf, "let_go")
def _(original: Any) -> Any:
    def let_go(self: Any, v: int) -> None:
        original(self, v)
        if v != self.node.version:
            self.values.pop(v, None)

    return let_go


@bug("start values are never dropped", Book, "release")
def _(original: Any) -> Any:
    return lambda self, lease: None


@bug("a sum begins where the last one ended", mean, "_take")
def _(original: Any) -> Any:
    def take(s: Any, order: Any, by: Any) -> Any:
        total = s.total.copy()
        step = original(s, order, by)
        s.total = total
        return step

    return take


@bug("a mean is over one update less", mean, "_take")
def _(original: Any) -> Any:
    def take(s: Any, order: Any, by: Any) -> Any:
        s.count, s.clients = max(s.count - 1, 1), max(s.clients - 1, 1)
        s.weight *= 0.9
        step = original(s, order, by)
        s.clients += 1
        return step

    return take


@bug("a step is applied twice", SGD, "apply")
def _(original: Any) -> Any:
    return lambda self, state, x, step: original(self, state, original(self, state, x, step), step)


# --- what was received, accounts, devices ----------------------------------------------------------------


@bug("updates are kept after their step", Received, "forget")
def _(original: Any) -> Any:
    return lambda self, lease: None


@bug("a refused update is handed to the step", Account, "release")
def _(original: Any) -> Any:
    def release(self: Any, a: Any, book: Any) -> None:
        held = self.open.get(a.lease)
        original(self, a, book)
        if held is not None and a.reason == "not finite":
            book.open(held.lease)
            book.accumulate(held.lease, 1.0)

    return release


@bug("the accounts keep lost leases", Account, "release")
def _(original: Any) -> Any:
    def release(self: Any, a: Any, book: Any) -> None:
        held = self.open.get(a.lease)
        original(self, a, book)
        if held is not None:
            self.open[a.lease] = held

    return release


@bug("a client does not go on with its next job", Client, "_start")
def _(original: Any) -> Any:
    return lambda self, ready: []


@bug("a client does not go on with its next download", Client, "_next_download")
def _(original: Any) -> Any:
    return lambda self: original(self) if len(self.downloads) < 2 else []


@bug("a client answers its first lease for ever", Client, "trained")
def _(original: Any) -> Any:
    def trained(self: Any, e: Any) -> Any:
        return [] if e.lease % 17 == 5 else original(self, e)

    return trained
