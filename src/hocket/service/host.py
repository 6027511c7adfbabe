"""One life of the server: it recovers from its disk, is told what happens, writes ahead, and only then speaks.

The same order as :class:`~hocket.service.loop.Loop`, with the same journal, recovery, book and accounts: an event is
journaled before it is handled; results are told before any later event; what goes out waits until everything
before it is durable. Devices are far away here, so every answer is a message that may be lost and asked for again.
The served run and the world with faults both run this class, on a store of theirs.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from hocket import actions as do
from hocket import events as on
from hocket.archive import File
from hocket.book import Book
from hocket.errors import Diverged, InvalidInput
from hocket.events import Event
from hocket.lease import Edge, Lease
from hocket.received import Received, Sent, decode
from hocket.record.account import Account
from hocket.record.curve import Curve
from hocket.record.ledger import Ledger
from hocket.schedule import absent
from hocket.server import Server
from hocket.service.messages import Answer, Ask, Drop, Hint, Message, Poll, Told, Update, Value, Work
from hocket.setup import Setup
from hocket.snapshot import pack
from hocket.store.journal import End, Journal, state_digest
from hocket.store.recovery import recover, untold
from hocket.store.store import Hook, Store


class Watcher(Protocol):
    """Who looks on: told of every event after it was handled, of every message before it leaves."""

    def recovered(self, host: "Host") -> None: ...

    def handled(self, host: "Host", event: Event, body: bytes, actions: list[do.Action]) -> None: ...

    def leaving(self, host: "Host", message: Message) -> None: ...


class Log(Protocol):
    """Who writes everything down, in step with the journal."""

    def again(self, now: int, event: Event, actions: Sequence[do.Action]) -> None:
        """An event since the last checkpoint is handled again."""

    def saving(self, events: int) -> None:
        """A checkpoint follows, after so many events."""

    def replayed(self, events: int) -> None:
        """All since the checkpoint, after so many events, were handled again."""


class Host:
    """Runs a server on a store until it is dropped.

    Args:
        setup: what is run.
        store: what an earlier life left.
        send: takes messages to devices.
        watcher: looks on.
        step: called before every step that a crash may come before.
        every: accepted updates from one checkpoint to the next.
        patience: silence in ns after which a device counts as gone.
        down: bytes/s per device, for a prefetch policy to plan with.
        everybody: begin with all devices online, instead of as they come.
        secret: what noise for privacy is drawn from (the seed, if left out).
        plan: has a plan of a task made, which is told later.
        log: what is written down beside the journal.
        spill: where what merges keep of every client goes, by task, when it does not fit into memory; None: nowhere.

    Raises:
        Damaged, Differs: the store does not hold a run of this setup.
        StoreFailed: the store takes no writes.
    """

    def __init__(
        self,
        setup: Setup,
        store: Store,
        send: Callable[[Message], None],
        watcher: Watcher,
        *,
        step: Hook,
        every: int,
        patience: int,
        down: NDArray[np.float64] | None = None,
        everybody: bool = True,
        secret: bytes | None = None,
        plan: "Callable[[str, Host], None] | None" = None,
        log: Log | None = None,
        spill: Callable[[str], File] | None = None,
    ) -> None:
        self._plan, self._log = plan, log
        self.setup, self._send, self._watcher, self._step = setup, send, watcher, step
        self.term, self._store = store.term, store
        self._patience = patience
        self.server: Server
        self.book: Book
        self.received = Received(setup.strategy.tasks, setup.tasks)
        self.server, self.book = setup.build(self.received, journaled=True, down=down, secret=secret)
        if spill is not None:
            self.book.spill(spill)
        self.read: Callable[[Edge], bytes] = self.book.read
        account = Account(Curve(setup.until.confirm), Ledger())
        found = store.recover()
        self.replayed = len(found.records)
        told = untold if log is None else log.again
        at = recover(found, setup, self.server, self.book, self.received, account, where="journal", told=told)
        if log is not None:
            log.replayed(at.events)
        step("recovered")
        self.account, self.now, self.closed = at.account, at.now, at.closed
        self.journal = Journal(store, setup.digest(), updates=at.saved, every=every)
        self.wakes: list[int] = []
        self.outbox: list[Message] = []
        self._events: deque[tuple[Event, bytes]] = deque()
        self._draining = False
        self._heard = dict.fromkeys(self.server.view.online, self.now)
        self._carry = self._table()
        self.durable = self.server.state.events  # events that are on disk
        watcher.recovered(self)
        if not at.begun:
            self.journal.begin()
        begun = self.server.state.begun
        self._changes = deque(c for c in setup.schedule if not begun or c.time > self.now)
        self.wakes += (c.time for c in self._changes)
        for action in self.server.pending():
            if isinstance(action, do.WakeAt):
                self.wakes.append(action.time)
        for event in at.left:  # before any checkpoint: it would not hold what is outstanding
            self._events.append((event, b""))
        self._drain()
        if not begun:
            for task in absent(setup.schedule):
                self.tell(on.TaskPaused(task))
            self.tell(on.Joined(tuple(range(self.server.state.clients)) if everybody else ()))

    def _table(self) -> dict[type[Any], Callable[[Any], None]]:
        out, book, account = self.outbox.append, self.book, self.account

        def ignore(a: do.Action) -> None:
            """A node is fetched when it is asked for, a checkpoint follows a commit."""

        return {
            do.Assign: self._assign, do.Offer: self._offer,
            do.Cancel: lambda a: out(Drop(a.client, a.lease, a.reason)),
            do.Accept: lambda a: out(Answer(a.client, a.lease, "")),
            do.Refuse: lambda a: out(Answer(a.client, a.lease, a.reason)),
            do.WakeAt: lambda a: self.wakes.append(a.time),
            do.Decode: lambda a: self.tell(on.Measured(a.lease, self.received.measure(account.open[a.lease].lease))),
            do.Accumulate: lambda a: account.accumulate(a, book), do.Release: self._release,
            do.Evaluate: self._evaluate, do.Step: self._step_task, do.Plan: self._ask_for_plan,
            do.Rank: lambda a: self.tell(book.rank(a.task, a.cuts)), do.Keep: lambda a: self.tell(book.keep(a.task)),
            do.Restore: lambda a: self.tell(book.restore_kept(a.task)),
            **dict.fromkeys((do.Publish, do.Save, do.Finish), ignore),
        }  # fmt: skip

    # --- being told --------------------------------------------------------------------------------------

    def tell(self, event: Event, body: bytes = b"") -> None:
        """Journal an event, handle it, and carry out what is asked for; results come before whatever is later."""
        self._events.append((event, body))
        if not self._draining:
            self._drain()

    def _drain(self) -> None:
        self._draining = True
        while self._events:
            event, body = self._events.popleft()
            self.journal.append(self.now, event, body)
            actions = self.server.handle(event, self.now)
            for action in actions:
                if (carry := self._carry.get(type(action))) is None:
                    raise InvalidInput(f"a world with faults carries out no {action}; simulate the run without faults")
                carry(action)
            self._watcher.handled(self, event, body, actions)
        self._draining = False

    @property
    def owes(self) -> bool:
        """Whether something waits for a commit."""
        return bool(self.outbox or self.server.state.unacknowledged)

    def commit(self) -> None:
        """Make durable what was told, say what waited for it, acknowledge, and save if it is time."""
        self.journal.sync()
        self.durable = self.server.state.events
        self._step("acknowledge")
        self._speak()
        if self.server.state.unacknowledged:
            self.tell(on.Durable(self.server.state.events))
            self._speak()
        if self._log is not None and self.journal.due(self.server):
            self._log.saving(self.server.state.events)
        self.journal.save(self.server, self.book, self.received, self.account, self.now)

    def end(self) -> None:
        """Close the journal of a run that is over."""
        self.commit()
        if not self.closed:
            self.journal.append(self.now, End(state_digest(self.server, self.book)))
            self.journal.sync()
            self.closed = True

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def _speak(self) -> None:
        said, self.outbox[:] = list(self.outbox), []
        for message in said:
            self._step("send")
            self._watcher.leaving(self, message)
            self._send(message)

    # --- messages ----------------------------------------------------------------------------------------

    def receive(self, message: Message, now: int) -> None:
        """A message has come; ``now`` in ns of the server's clock."""
        self.now = max(self.now, now)
        c = message.client
        self._heard[c] = self.now
        if c not in self.server.view.online and not self.server.finished:
            self.tell(on.Joined((c,)))
        match message:
            case Poll():
                self._poll(message)
            case Ask():
                self._ask(message)
            case Told(event=event):
                if isinstance(event, on.Fetched):
                    self._fetched(event)
                self.tell(event)
            case Update() if message.whole:
                self._update(message)
            case _:
                pass  # a torn update: the device sends it again

    def wake(self, now: int) -> None:
        """A time that the server asked for, or at which a task changes, has come."""
        self.now = max(self.now, now)
        while self._changes and self._changes[0].time <= self.now:
            if (event := self._changes.popleft().event()) is not None:
                self.tell(event)
        self.tell(on.Woke())

    def sweep(self, now: int) -> None:
        """Count those out that were not heard of for longer than patience allows."""
        self.now = max(self.now, now)
        silent = [c for c, at in self._heard.items() if at < self.now - self._patience]
        for c in silent:
            self.leave(c, "silent")

    def leave(self, client: int, reason: str) -> None:
        """Count a device out; what it worked on is given to others."""
        self._heard.pop(client, None)
        self._let_go(client)
        self.tell(on.Left(client))
        for lease in [x for x in self.server.view.leases.values() if x.client == client and x.issued >= 0]:
            self.tell(on.Failed(lease.id, client, reason))

    def said(self, client: int, lease: int) -> str | None:
        """What became of an update: "" accepted, else why not; None: nothing was said yet."""
        state = self.server.state
        told = state.answers.get(lease)
        if told is not None and told[0] == client:
            return told[1] or (None if any(lease == i for _, i, _ in state.unacknowledged) else "")
        if (mine := state.leases.get(lease)) is not None and mine.client == client:
            return None
        if state.finished:
            return "finished"
        return "closed" if 0 <= lease < state.next_lease else "unknown"

    def _poll(self, m: Poll) -> None:
        state = self.server.state
        mine = [x for x in state.leases.values() if x.client == m.client and x.issued >= 0]
        self.outbox += (
            Work(m.client, replace(x)) for x in mine if x.id not in m.leases and x.id not in state.measuring
        )
        owned = {x.id for x in mine}
        self.outbox += (Drop(m.client, i, "closed") for i in m.leases if i not in owned)

    def _ask(self, m: Ask) -> None:
        lease = self.server.view.leases.get(m.lease)
        edges: tuple[Edge, ...] = ()
        data: tuple[bytes, ...] | None = None
        offered = m.lease < 0 and self.account.held.get(m.client) == m.node
        if offered or (lease is not None and lease.client == m.client and lease.node == m.node):
            try:
                edges = self.book.path(m.have, m.node)
                data = tuple(self.read(edge) for edge in edges)
            except InvalidInput:
                data = None  # gone, which is what the answer says
            for edge in edges:
                self.account.ledger.open_edge(edge)
        self.outbox.append(Value(m.client, m.lease, m.node, edges, data))

    def _update(self, m: Update) -> None:
        held = self.account.open.get(m.lease)
        arrived = on.Arrived(m.lease, m.client, m.length, m.samples, m.digest)
        if held is None or held.lease.client != m.client or m.lease in self.received.sent:
            self.tell(arrived)
            return
        sent, lease = Sent(m.body, m.samples, m.metrics), held.lease
        try:
            decoded = m.decoded or decode(
                sent,
                self.setup.strategy.tasks[lease.task].uplink,
                self._schema(lease),
                lease,
                self.book.ranking(lease.task, lease.cover),
            )
        except InvalidInput as e:
            self.tell(on.Failed(lease.id, m.client, f"malformed: {e}"))
            self.outbox.append(Answer(m.client, m.lease, "malformed"))
            return
        self.received.put(lease.id, sent, decoded)
        self.account.count("upload", lease.id, m.length)
        self.tell(arrived, pack(sent))

    def _schema(self, lease: Lease) -> Any:
        return self.setup.tasks[lease.task].schema

    # --- what the server asks for ------------------------------------------------------------------------

    def _assign(self, a: do.Assign) -> None:
        self.account.assign(a.lease, self.book)
        self.outbox.append(Work(a.lease.client, replace(a.lease)))

    def _offer(self, a: do.Offer) -> None:
        node = self.book.ahead(a.node)
        if self.book.hold(node):
            self._let_go(a.client)
            self.account.held[a.client] = node
            self.outbox.append(Hint(a.client, node))

    def _let_go(self, client: int) -> None:
        if (node := self.account.held.pop(client, None)) is not None:
            self.book.let_go(node)

    def _fetched(self, e: on.Fetched) -> None:
        if e.lease < 0:
            self.account.ledger.early(e.node.task, e.client, e.size)
            self._let_go(e.client)
        else:
            self.account.count("download", e.lease, e.size)

    def _step_task(self, a: do.Step) -> None:
        """A model that stops being finite ends its task, and no other."""
        try:
            self.tell(self.book.step(a.task, a.keep))
        except Diverged as e:
            self.tell(on.TaskEnded(a.task, f"diverged: {e}"))

    def _ask_for_plan(self, a: do.Plan) -> None:
        if self._plan is None:
            raise InvalidInput("a policy asks for a plan, and nobody makes one here; simulate the run without faults")
        self._plan(a.task, self)

    def _release(self, a: do.Release) -> None:
        self.received.forget(a.lease)
        self.account.release(a, self.book)

    def _evaluate(self, a: do.Evaluate) -> None:
        learner, x = self.setup.tasks[a.task].learner, self.book.model(a.task, a.subject, a.lease)
        assert learner is not None and x is not None, "a world with faults has real updates"
        version, ev = self.book.shelves[a.task].node.version, self.setup.evaluation
        event = on.Evaluated(a.task, version, a.subject, a.split, learner.evaluate(x, a.split), a.lease)
        if (a.split, a.subject) == (ev.split, ev.subject):
            self.account.evaluated(event, self.now, self.server.state.tasks[a.task].accepted)
        self.tell(event)
