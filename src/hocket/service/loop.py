"""One loop that owns server, book and clients of a run, and the work of the devices in threads around it.

The loop tells the server what happens, one event at a time, and carries out what is asked for. A result of
an action is told at the time of the action, before any later event. Only decoding, training and encoding
happen in other threads; what comes of them is looked at when its time has come.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from hocket import actions as do
from hocket import events as on
from hocket.book import Book
from hocket.client import Client
from hocket.errors import InvalidInput, Stalled
from hocket.events import Event
from hocket.keyed import key, mix
from hocket.learning.learner import Trained
from hocket.learning.task import Task
from hocket.lease import Lease, Node
from hocket.received import Received, Sent, decode
from hocket.record.account import Account, Station
from hocket.record.log import EventLog
from hocket.schedule import Change, absent
from hocket.schema import Vector
from hocket.server import Server
from hocket.service.activity import Activity
from hocket.service.clock import Clock, Inbox
from hocket.service.device import Device, Lists
from hocket.snapshot import pack
from hocket.store.journal import Journal
from hocket.until import Evaluation

FAILURES = 100  # in a row, and ten per client, after which a run is given up
GROUP = 16  # accepted updates that one commit makes durable at most


class Loop:
    """Drives a run until the server is finished; ``overlap``: transfers of a device do not queue."""

    def __init__(
        self,
        server: Server,
        book: Book,
        received: Received,
        tasks: Mapping[str, Task],
        clock: Clock,
        pool: ThreadPoolExecutor,
        *,
        seed: int,
        overlap: bool,
        journal: Journal | None,
        account: Account,
        evaluation: Evaluation,
        schedule: Sequence[Change] = (),
        now: int = 0,
        planner: Callable[[str, Server], on.Planned] | None = None,
    ) -> None:
        self.server, self.book, self.received, self.journal = server, book, received, journal
        self.inbox = Inbox(clock)
        self.log, self.account = EventLog(tuple(tasks)), account
        self.now = now
        self._planner = planner
        self._tasks, self._clock, self._pool, self._evaluation = tasks, clock, pool, evaluation
        self._parts = server.strategy.tasks
        self._schedule = tuple(schedule)
        self._offer_keys = {t: key(seed, "offer", t) for t in tasks}
        n = server.state.clients
        holds: dict[str, list[Node | None]] = {t: [None] * n for t in tasks}
        self._devices = [Device(Client(c, holds, overlap), tasks, self._parts) for c in range(n)]
        self._work: dict[int, Activity] = {}
        self._events: deque[Event] = deque()
        self._draining = False
        self._failures = 0  # since something last arrived
        self._carry: dict[type[Any], Callable[[Any], None]] = {
            do.Assign: self._assign, do.Offer: self._offer, do.Cancel: self._cancel, do.Refuse: self._refuse,
            do.Finish: self._write, do.Publish: _pass, do.Save: _pass,
            do.Accept: lambda a: self._devices[a.client].settle(a.lease, True),
            do.WakeAt: lambda a: self.inbox.at(max(a.time, self.now), on.Woke()),
            do.Decode: lambda a: self.tell(on.Measured(a.lease, received.measure(account.open[a.lease].lease))),
            do.Accumulate: lambda a: account.accumulate(a, book), do.Release: self._release,
            do.Evaluate: self._evaluate,
            do.Step: lambda a: self.tell(book.step(a.task, a.keep)), do.Plan: self._plan,
            do.Rank: lambda a: self.tell(book.rank(a.task, a.cuts)), do.Keep: lambda a: self.tell(book.keep(a.task)),
            do.Restore: lambda a: self.tell(book.restore_kept(a.task)),
            do.Fetch: self._fetch, do.Train: self._train, do.Upload: self._upload, do.Abort: self._abort,
            on.Fetched: self.tell, on.Started: self.tell, on.Arrived: self.tell, on.Failed: self.tell,
        }  # fmt: skip

    # --- running -----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Go on until the server is finished.

        Raises:
            Stalled: nothing can happen any more, or every lease fails.
        """
        server = self.server
        if not server.state.begun:
            for task in absent(self._schedule):
                self.tell(on.TaskPaused(task))
            self._follow(-1)
            self.tell(on.Joined(tuple(range(len(self._devices)))))
        while not server.finished:
            if len(server.state.unacknowledged) >= GROUP or self.inbox.idle:
                self._acknowledge()
            item = self.inbox.get(expecting=bool(self._work))
            if item is None:
                raise Stalled(
                    f"nothing can happen any more at {self.now / 1e9:.6g} s: {server.waits_for}; a "
                    "timeout or deadline in the pacing, more clients, or another stop condition would let it "
                    "go on"
                )
            self.now = max(self.now, item[0])
            if isinstance(item[1], Activity):
                self._complete(item[1])
            else:
                self.tell(item[1])
        self._acknowledge()

    def _follow(self, after: int) -> None:
        """Have the tasks change when it is time."""
        for change in self._schedule:
            if change.time > after and (event := change.event()) is not None:
                self.inbox.at(change.time, event)

    def resume(self, left: Sequence[Event]) -> None:
        """Go on with a recovered server: devices begin their open leases anew; ``left`` was not told yet.

        Acknowledgements come last: with them comes a checkpoint, which cannot hold what is still to be told.
        """
        for action in self.server.pending():
            if isinstance(action, do.Assign):
                self._hand_out(action.lease)
            elif isinstance(action, do.WakeAt):
                self._do((action,))
        self._follow(self.now)
        for event in left:
            self.tell(event)
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Make durable what the server accepted, and tell it so; then it is time for a checkpoint, or not."""
        if self.journal is not None and self.server.state.unacknowledged:
            self.journal.sync()
            self.tell(on.Durable(self.server.state.events))
            self.journal.save(self.server, self.book, self.received, self.account, self.now)

    def tell(self, event: Event) -> None:
        """Give the server an event and carry out what it asks for; results come before whatever is later."""
        self._events.append(event)
        if not self._draining:
            self._drain()

    def _drain(self) -> None:
        events, journal, server = self._events, self.journal, self.server
        self._draining = True
        while events:
            event = events.popleft()
            if journal is not None:
                sent = self.received.sent.get(event.lease) if isinstance(event, on.Arrived) else None
                journal.append(self.now, event, b"" if sent is None else pack(sent))
            self._write(event)
            self._do(server.handle(event, self.now))
        self._draining = False

    def _do(self, actions: Sequence[Any]) -> None:
        """Carry out all of them before the server hears of any: it could take back what is still to be done."""
        outermost, self._draining = not self._draining, True
        for action in actions:
            if (carry := self._carry.get(type(action))) is None:
                raise InvalidInput(f"loopback: nothing here carries out {action}; simulate the run instead")
            carry(action)
        if outermost:
            self._drain()

    def _plan(self, a: do.Plan) -> None:
        if self._planner is None:
            raise InvalidInput(
                "a policy asked for a plan and this run knows no devices; give a Fleet, not their number"
            )
        self.tell(self._planner(a.task, self.server))

    def _write(self, item: Event | do.Action) -> None:
        self.log.add(self.now, item)

    # --- work in other threads ---------------------------------------------------------------------------

    def _begin(
        self,
        name: int,
        client: int,
        station: Station,
        k: int,
        amount: float,
        work: Callable[[], Any],
        then: Callable[[Any], None],
    ) -> None:
        now, size = self.now, 0 if station == "train" else int(amount)
        end = self._clock.finish(station, now, client, amount, k)
        activity = Activity(name, client, station, size, now, end, self._pool.submit(work), then)
        self._work[name] = activity
        if end is None:
            activity.future.add_done_callback(lambda _: self.inbox.post(activity))
        else:
            self.inbox.at(end, activity)

    def _complete(self, a: Activity) -> None:
        if self._work.get(a.name) is not a:
            return  # aborted meanwhile
        try:
            result = a.future.result()
        except Exception as e:
            self._fail(a, " ".join(f"{type(e).__name__}: {e}".split()))
            return
        del self._work[a.name]
        a.then(result)
        self._devices[a.client].tidy()

    def _fail(self, a: Activity, reason: str) -> None:
        client = self._devices[a.client].client
        self._failures += 1
        if self._failures > FAILURES + 10 * len(self._devices):
            raise Stalled(
                f"{self._failures} leases failed one after the other, the last one on client {a.client}: "
                f"{reason}; repair the learner or its data"
            )
        if a.name < 0:
            self._do(client.handle(on.Cancelled(-1, a.client), self.now))
            return
        self._do(client.handle(on.Cancelled(a.name, a.client), self.now))
        self.tell(on.Failed(a.name, a.client, reason))

    def _abort(self, a: do.Abort) -> None:
        self._devices[a.client].updates.pop(a.lease, None)
        work = self._work.pop(a.lease if a.lease >= 0 else ~a.client, None)
        if work is None:
            return
        work.future.cancel()
        if a.lease < 0:
            node = self.account.held.pop(a.client)
            self.account.ledger.early(node.task, a.client, work.sent(self.now))
            self.book.let_go(node)
        else:
            self.account.count(work.station, a.lease, work.sent(self.now))

    # --- what devices do ---------------------------------------------------------------------------------

    def _fetch(self, a: do.Fetch) -> None:
        device = self._devices[a.client]
        if a.lease < 0 and not self.book.hold(a.node):
            self._do(device.client.handle(on.Cancelled(-1, a.client), self.now))
            return
        edges = self.book.path(a.have, a.node)
        data = [self.book.read(edge) for edge in edges]
        for edge in edges:
            self.account.ledger.open_edge(edge)
        size = sum(map(len, data))
        name, k = ~a.client, mix(self._offer_keys[a.node.task] ^ (a.client << 32 | a.node.version))
        if a.lease >= 0:
            name, k = a.lease, self.account.open[a.lease].lease.seed
        else:
            self.account.held[a.client] = a.node
        began = self.now

        def then(result: tuple[Vector, Lists]) -> None:
            if a.lease < 0:
                self.account.ledger.early(a.node.task, a.client, size)
                self.book.let_go(self.account.held.pop(a.client))
            else:
                self.account.count("download", a.lease, size)
            device.keep(a.node, *result)
            done = on.Fetched(a.lease, a.client, a.node, size, self.now - began)
            self._do(device.client.handle(done, self.now))

        self._begin(name, a.client, "download", k, size, device.receiving(a.node, edges, data), then)

    def _train(self, a: do.Train) -> None:
        lease = a.lease
        task, device = self._tasks[lease.task], self._devices[lease.client]

        def then(result: Trained | Sent) -> None:
            device.finish(lease, result)
            self._do(device.client.handle(on.Trained(lease.id, lease.client), self.now))

        cost = task.local.samples(int(task.samples[lease.client])) * task.cost * self.book.compute(lease)
        self._begin(lease.id, lease.client, "train", lease.seed, cost, device.training(lease), then)

    def _upload(self, a: do.Upload) -> None:
        lease = a.lease
        device = self._devices[lease.client]
        sent = device.updates.pop(lease.id)
        size = len(sent.data)
        done = on.Uploaded(lease.id, lease.client, size, sent.samples)

        def then(trained: Trained) -> None:
            self._failures = 0
            self.account.count("upload", lease.id, size)
            self.received.put(lease.id, sent, trained)
            self._do(device.client.handle(done, self.now))

        uplink, schema = self._parts[lease.task].uplink, self._tasks[lease.task].schema
        work = partial(decode, sent, uplink, schema, lease, self.book.ranking(lease.task, lease.cover))
        self._begin(lease.id, lease.client, "upload", lease.seed, size, work, then)

    # --- what the server asks for ------------------------------------------------------------------------

    def _assign(self, a: do.Assign) -> None:
        self._write(a)
        self.account.assign(a.lease, self.book)
        self._hand_out(a.lease)

    def _hand_out(self, lease: Lease) -> None:
        client = self._devices[lease.client].client
        self._do(client.handle(on.Assigned(lease), self.now))
        offer, want = client.offer, lease.node
        if offer is not None and want is not None and want.task == offer.task and not client.overlap:
            work, have = self._work[~client.id], client.holds[want.task][client.id]
            if self.book.shorter(have, want, offer, work.size - work.sent(self.now)):
                self._do(client.handle(on.Cancelled(-1, client.id), self.now))

    def _offer(self, a: do.Offer) -> None:
        self._write(a)
        self._do(self._devices[a.client].client.handle(on.Offered(a.client, self.book.ahead(a.node)), self.now))

    def _cancel(self, a: do.Cancel) -> None:
        self._write(a)
        self._do(self._devices[a.client].client.handle(on.Cancelled(a.lease, a.client), self.now))

    def _refuse(self, a: do.Refuse) -> None:
        self._write(a)
        if 0 <= a.client < len(self._devices):
            self._devices[a.client].settle(a.lease, False)

    def _release(self, a: do.Release) -> None:
        if (x := self.account.open.get(a.lease)) is not None:
            self._devices[x.lease.client].settle(a.lease, False)
        self.received.forget(a.lease)
        self.account.release(a, self.book)

    def _evaluate(self, a: do.Evaluate) -> None:
        learner, x = self._tasks[a.task].learner, self.book.model(a.task, a.subject, a.lease)
        assert learner is not None and x is not None, "real work has a learner and a model"
        version = self.book.shelves[a.task].node.version
        event = on.Evaluated(a.task, version, a.subject, a.split, learner.evaluate(x, a.split), a.lease)
        if (a.split, a.subject) == (self._evaluation.split, self._evaluation.subject):
            self.account.evaluated(event, self.now, self.server.state.tasks[a.task].accepted, *self.under_way())
        self.tell(event)

    def under_way(self) -> tuple[int, int]:
        """Bytes (down, up) of transfers in progress that have been sent by now."""
        sums = {"download": 0, "train": 0, "upload": 0}
        for work in self._work.values():
            sums[work.station] += work.sent(self.now)
        return sums["download"], sums["upload"]


def _pass(a: do.Action) -> None:
    pass
