"""The virtual clock: a heap of events in (time, sequence) order around the pure core.

The engine carries out actions: it looks durations up in the fleet, moves bytes through the links, asks the
book for arithmetic, and turns every completion into an event. A result of an action is handled at the time of
the action, before any later event. Nothing here decides.
"""

from array import array
from collections import deque
from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush
from struct import error as StructError
from typing import Any

import numpy as np
from msgspec import Struct

from hocket import actions as do
from hocket import events as on
from hocket.book import Book
from hocket.client import Client
from hocket.errors import InvalidInput, Stalled
from hocket.events import Event
from hocket.fleet import Fleet
from hocket.fleet.egress import Egress
from hocket.fleet.toggles import Toggles
from hocket.keyed import key, mix
from hocket.learning.task import Task
from hocket.lease import Edge, Lease, Node
from hocket.record.ledger import Ledger
from hocket.record.log import EventLog
from hocket.server import Server
from hocket.simulation.training import LazyTraining

IDLE, DOWN, TRAIN, UP = 0, 1, 2, 3
END_OF_TIME = 2**63
SLICE = 1000  # events between two looks at the clock
STILL = 5_000_000  # events at one instant after which virtual time is said to stand still


class Broke(Event, frozen=True, gc=False, array_like=True, tag=True):
    """A device loses the work of a lease; ``silent``: nobody tells the server."""

    lease: int
    client: int
    silent: bool


class Toggle(Event, frozen=True, gc=False, array_like=True, tag=True):
    """Some devices come or go."""


class Drained(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The shared server link may have finished a transfer."""


Timed = on.Fetched | on.Trained | on.Uploaded | on.Woke | Broke | Toggle | Drained


class Work(Struct, gc=False):
    """What a lease (or an offer, under ~client) is doing and has cost.

    ``doing``: a transfer of ``size`` bytes or training from ``begin`` to ``end`` (ns, -1: not known yet), as
    flow ``flow`` of the shared link (-1: a link of its own). ``down``, ``up``: bytes sent for it so far.
    """

    lease: Lease | None
    node: Node | None = None
    doing: int = IDLE
    begin: int = 0
    end: int = 0
    size: int = 0
    flow: int = -1
    down: int = 0
    up: int = 0


class Device(Struct):
    """A client with work under way, for snapshots."""

    id: int
    downloads: tuple[Lease, ...]
    ready: tuple[Lease, ...]
    uploads: tuple[Lease, ...]
    offer: Node | None
    wanted: tuple[Node, ...] = ()


class World(Struct):
    """Everything the engine remembers."""

    toggles: Toggles
    holds: dict[str, list[Node | None]]
    ledger: Ledger
    egress: Egress | None
    now: int = 0
    sequence: int = 0
    heap: list[tuple[int, int, Timed]] = []
    work: dict[int, Work] = {}
    flows: dict[int, on.Fetched] = {}
    devices: list[Device] = []
    started: list[int] = []
    begun: bool = False


class Engine:
    """Runs a server, a book and a fleet to the end; ``on_evaluated`` is called with every measurement."""

    def __init__(
        self,
        server: Server,
        book: Book,
        training: LazyTraining,
        fleet: Fleet,
        tasks: Mapping[str, Task],
        seed: int,
        log: EventLog | None = None,
        planner: Callable[[str, Server], on.Planned] | None = None,
    ) -> None:
        self.server, self.book, self.training, self.log = server, book, training, log
        self._tasks = dict(tasks)
        self._fleet = fleet
        self._timing = fleet.timing(seed)
        self._planner = planner
        self._pack = {} if log is None else log.pack
        self._rows = bytearray() if log is None else log.rows
        self.on_evaluated: Callable[[int, on.Evaluated], None] | None = None
        self._overlap = fleet.links == "parallel"
        self._offer_keys = {t: key(seed, "offer", t) for t in tasks}
        self._samples = {t: array("q", [task.local.samples(int(n)) for n in task.samples]) for t, task in tasks.items()}
        self._upload = {t: book.upload_size(t) for t in tasks}
        self._costs = {t: array("d", [n * tasks[t].cost for n in samples]) for t, samples in self._samples.items()}
        self._devices: dict[int, Client] = {}
        n = len(fleet)
        self._bind(
            World(
                fleet.availability.init(n, seed),
                {t: [None] * n for t in tasks},
                Ledger(),
                None if fleet.egress is None else Egress(fleet.egress),
            )
        )
        self._inbox: deque[Event] = deque()
        self._last_edge: Edge | None = None
        self._learning = any(t.learner is not None for t in tasks.values())
        self.saves = 0
        self._draining = False
        self._still = 0
        self._timed: dict[type[Event], Callable[[Any], None]] = {
            on.Fetched: self._fetched, on.Trained: self._trained, on.Uploaded: self._uploaded,
            on.Woke: self.tell, Broke: self._broke, Toggle: self._toggle, Drained: self._drained,
        }  # fmt: skip
        self._carry: dict[type[Any], Callable[[Any], None]] = {
            do.Assign: self._assign, do.Offer: self._offer, do.Cancel: self._cancel,
            do.Accept: self._pass, do.Refuse: self._log_only, do.Publish: self._pass,
            do.WakeAt: self._wake_at, do.Save: self._save, do.Finish: self._log_only,
            do.Decode: self._decode, do.Accumulate: self._accumulate, do.Release: self._release,
            do.Step: lambda a: self.tell(book.step(a.task)), do.Evaluate: self._evaluate,
            do.Rank: lambda a: self.tell(book.rank(a.task)),
            do.Keep: lambda a: self.tell(book.keep(a.task)),
            do.Restore: lambda a: self.tell(book.restore_kept(a.task)), do.Plan: self._plan,
            do.Fetch: self._fetch, do.Train: self._train, do.Upload: self._start_upload,
            do.Abort: self._abort, on.Fetched: self.tell, on.Started: self.tell, on.Arrived: self.tell,
            on.Failed: self.tell,
        }  # fmt: skip

    def _bind(self, world: World) -> None:
        self.world = world
        self.ledger = world.ledger
        self.now = world.now
        self._sequence = world.sequence
        self._heap, self._work = world.heap, world.work

    # --- running -----------------------------------------------------------------------------------------

    def run(self, events: int | None = None) -> bool:
        """Go on for so many timed events (None: to the end); whether the run is over.

        Raises:
            Stalled: nothing can happen any more, or virtual time stands still.
        """
        if not self.world.begun:
            self.world.begun = True
            self._begin()
        done = 0
        while not self.server.finished and (events is None or done < events):
            before = self.now
            batch = SLICE if events is None else min(SLICE, events - done)
            try:
                if self._batch(batch):
                    return True
            except (OverflowError, StructError) as e:
                if self.now < END_OF_TIME:
                    raise
                raise Stalled(
                    f"virtual time passed 2**63 ns (292 years) after {self.now / 1e9:.6g} s; devices are "
                    "too slow for what they are to move or compute"
                ) from e
            done += batch
            self._still = self._still + batch if self.now == before else 0
            if self._still > STILL:
                raise Stalled(
                    f"{STILL} events at {self.now / 1e9:.6g} s: virtual time stands still because nothing takes "
                    "any; give devices a compute time or a bandwidth, or stop at a number of updates"
                )
        return bool(self.server.finished)

    def _batch(self, events: int) -> bool:
        """Handle so many timed events; whether the run is over."""
        heap, timed, state = self._heap, self._timed, self.server.state
        for _ in range(events):
            if not heap:
                raise Stalled(
                    f"nothing can happen any more at {self.now / 1e9:.6g} s: {self.server.waits_for}; a timeout "
                    "or deadline in the pacing, more clients, or another stop condition would let it go on"
                )
            self.now, _, event = heappop(heap)
            timed[type(event)](event)
            if state.finished:
                return True
        return False

    def _begin(self) -> None:
        up = self._fleet.availability.online(self.world.toggles)
        self._next_toggle()
        self.tell(on.Joined(tuple(np.flatnonzero(up).tolist())))

    def tell(self, event: Event) -> None:
        """Give the server an event and carry out what it asks for."""
        if self._draining:
            self._inbox.append(event)
            return
        self._draining = True
        now, carry, handle, inbox, pack = self.now, self._carry, self.server.handle, self._inbox, self._pack
        while True:
            if (row := pack.get(type(event))) is not None:
                self._rows += row(now, event)
            for action in handle(event, now):
                carry[type(action)](action)
            if not inbox:
                break
            event = inbox.popleft()
        self._draining = False

    def _push(self, time: int, event: Timed) -> None:
        heappush(self._heap, (time, self._sequence, event))
        self._sequence += 1

    # --- towards the devices -----------------------------------------------------------------------------

    def _device(self, c: int) -> Client:
        client = self._devices.get(c)
        if client is None:
            client = self._devices[c] = Client(c, self.world.holds, self._overlap)
        return client

    def _do(self, actions: list[Any]) -> None:
        carry = self._carry
        for action in actions:
            carry[type(action)](action)

    def _rest(self, client: Client) -> None:
        if client.idle:
            self._devices.pop(client.id, None)

    def _assign(self, a: do.Assign) -> None:
        lease = a.lease
        if self._pack:
            self._rows += self._pack[do.Assign](self.now, a)
        self.book.open(lease)
        self._work[lease.id] = Work(lease)
        self._do(self._device(lease.client).handle(on.Assigned(lease), self.now))

    def _offer(self, a: do.Offer) -> None:
        self._log_only(a)
        client = self._device(a.client)
        self._do(client.handle(on.Offered(a.client, a.node), self.now))
        self._rest(client)

    def _cancel(self, a: do.Cancel) -> None:
        self._log_only(a)
        self._drop(on.Cancelled(a.lease, a.client))

    def _drop(self, event: on.Cancelled | on.Lost) -> None:
        client = self._devices.get(event.client)
        if client is not None:
            self._do(client.handle(event, self.now))
            self._rest(client)

    def _log_only(self, a: do.Action) -> None:
        if self._pack:
            self._rows += self._pack[type(a)](self.now, a)

    def _pass(self, a: do.Action) -> None:
        pass

    def _save(self, a: do.Save) -> None:
        self.saves += 1

    def _wake_at(self, a: do.WakeAt) -> None:
        self._push(max(a.time, self.now), on.Woke())

    # --- towards the book --------------------------------------------------------------------------------

    def _accumulate(self, a: do.Accumulate) -> None:
        work = self._work.pop(a.lease)
        assert work.lease is not None, "only leases are accumulated"
        self.ledger.accepted(work.down, self.book.accumulate(work.lease, a.weight))

    def _release(self, a: do.Release) -> None:
        work = self._work.pop(a.lease, None)
        self.training.forget(a.lease)
        if work is None:
            self.book.discard(a.lease, a.task)
            return
        self.ledger.released(work.down, work.up, a.reason)
        if work.lease is not None:
            self.book.release(work.lease)

    def _decode(self, a: do.Decode) -> None:
        lease = self._work[a.lease].lease
        assert lease is not None, "only leases are decoded"
        self.tell(on.Measured(a.lease, self.training.measure(lease)))

    def _evaluate(self, a: do.Evaluate) -> None:
        learner = self._tasks[a.task].learner
        node = self.book.shelves[a.task].node
        x = self.book.model(a.task, a.subject, a.lease)
        metrics = {} if learner is None or x is None else learner.evaluate(x, a.split)
        event = on.Evaluated(a.task, node.version, a.subject, a.split, metrics, a.lease)
        if metrics and self.on_evaluated is not None:
            self.on_evaluated(self.now, event)
        self.tell(event)

    def _plan(self, a: do.Plan) -> None:
        if self._planner is None:
            raise InvalidInput("a policy asked for a plan and this run has no planner; pass planner= to simulate")
        self.tell(self._planner(a.task, self.server))

    # --- what devices do ---------------------------------------------------------------------------------

    def _fetch(self, a: do.Fetch) -> None:
        now, c = self.now, a.client
        if a.lease < 0 and not self.book.hold(a.node):
            self._drop(on.Cancelled(-1, c))
            return
        size = 0
        for edge in self.book.path(a.have, a.node):
            if edge is not self._last_edge:
                self._last_edge = edge
                self.ledger.open_edge(edge)
            size += edge.size
        if a.lease >= 0:
            work = self._work[a.lease]
            k = work.lease.seed  # type: ignore[union-attr]
        else:
            work = self._work[~c] = Work(None)
            k = mix(self._offer_keys[a.node.task] ^ (c << 32 | a.node.version))
        work.doing, work.begin, work.size, work.node = DOWN, now, size, a.node
        done = on.Fetched(a.lease, c, a.node, size)
        if self.world.egress is not None:
            work.flow, work.end = self._sequence, -1
            self._sequence += 1
            self.world.egress.start(work.flow, size, float(self._fleet.down[c]), now)
            self.world.flows[work.flow] = done
            self._next_drain()
        else:
            work.end = now + self._timing.download(c, size, k)
            self._push(work.end, done)

    def _fetched(self, e: on.Fetched) -> None:
        if e.lease < 0:
            self._offer_fetched(e)
            return
        work = self._work.get(e.lease)
        if work is None or work.doing != DOWN or work.end != self.now:
            return
        work.doing = IDLE
        work.down += e.size
        self.ledger.down += e.size
        self._do(self._devices[e.client].handle(e, self.now))

    def _offer_fetched(self, e: on.Fetched) -> None:
        work = self._work.get(~e.client)
        if work is None or work.doing != DOWN or work.end != self.now:
            return
        self.ledger.down += e.size
        self.ledger.prefetched += e.size
        del self._work[~e.client]
        self.book.let_go(e.node)
        client = self._devices[e.client]
        self._do(client.handle(e, self.now))
        self._rest(client)

    def _train(self, a: do.Train) -> None:
        lease, now = a.lease, self.now
        c, k = lease.client, lease.seed
        took = self._timing.train(c, self._costs[lease.task][c], k)
        fate = self._timing.fate(k)
        work = self._work[lease.id]
        work.doing = TRAIN
        if fate is None:
            if self._learning:
                self.training.start(lease)
            self._push(now + took, on.Trained(lease.id, c))
        else:
            self._push(now + int(took * fate[0]), Broke(lease.id, c, fate[1]))

    def _trained(self, e: on.Trained) -> None:
        work = self._work.get(e.lease)
        if work is not None and work.doing == TRAIN:
            work.doing = IDLE
            self._do(self._devices[e.client].handle(e, self.now))

    def _start_upload(self, a: do.Upload) -> None:
        lease, now = a.lease, self.now
        task, c = lease.task, lease.client
        size, exact = self._upload[task]
        if not exact and self._tasks[task].learner is not None:
            size = self.training.size(lease)
        work = self._work[lease.id]
        work.doing, work.begin, work.size, work.flow = UP, now, size, -1
        work.end = now + self._timing.upload(c, size, lease.seed)
        self._push(work.end, on.Uploaded(lease.id, c, size, self._samples[task][c]))

    def _uploaded(self, e: on.Uploaded) -> None:
        work = self._work.get(e.lease)
        if work is not None and work.doing == UP:
            work.doing = IDLE
            work.up += e.size
            self.ledger.up += e.size
            client = self._devices[e.client]
            self._do(client.handle(e, self.now))
            self._rest(client)

    def _abort(self, a: do.Abort) -> None:
        work = self._work.get(a.lease if a.lease >= 0 else ~a.client)
        if work is None or work.doing not in (DOWN, UP):
            return
        part = self._part(work)
        if work.doing == UP:
            work.up += part
            self.ledger.up += part
        else:
            if work.flow >= 0 and self.world.flows.pop(work.flow, None) is not None:
                assert self.world.egress is not None, "a flow needs a shared link"
                self.world.egress.cancel(work.flow, self.now)
                self._next_drain()
            work.down += part
            self.ledger.down += part
            if a.lease < 0:
                self.ledger.prefetched += part
                del self._work[~a.client]
                assert work.node is not None, "an offer has a node"
                self.book.let_go(work.node)
        work.doing = IDLE

    def _broke(self, e: Broke) -> None:
        work = self._work.get(e.lease)
        if work is None or work.doing != TRAIN:
            return
        self._drop(on.Cancelled(e.lease, e.client))
        if not e.silent:
            self.tell(on.Failed(e.lease, e.client, "failed"))

    # --- coming and going, the shared link ---------------------------------------------------------------

    def _next_toggle(self) -> None:
        time = self._fleet.availability.upcoming(self.world.toggles)
        if time is not None:
            self._push(time, Toggle())

    def _toggle(self, e: Toggle) -> None:
        _, clients, ups = self._fleet.availability.until(self.world.toggles, self.now)
        self._next_toggle()
        for c in clients[~ups].tolist():
            self.tell(on.Left(c))
            self._drop(on.Lost(c, "left"))
        if ups.any():
            self.tell(on.Joined(tuple(clients[ups].tolist())))

    def _next_drain(self) -> None:
        assert self.world.egress is not None, "only a shared link drains"
        upcoming = self.world.egress.next()
        if upcoming is not None:
            self._push(upcoming[0], Drained())

    def _drained(self, e: Drained) -> None:
        egress = self.world.egress
        assert egress is not None, "only a shared link drains"
        moved = False
        while (upcoming := egress.next()) is not None and upcoming[0] <= self.now:
            flow = upcoming[1]
            egress.finish(flow, self.now)
            done = self.world.flows.pop(flow)
            work = self._work[done.lease if done.lease >= 0 else ~done.client]
            work.end = self.now + round(float(self._fleet.latency[done.client]) * 1e9)
            self._push(work.end, done)
            moved = True
        if moved:
            self._next_drain()

    # --- memory ------------------------------------------------------------------------------------------

    def _part(self, work: Work) -> int:
        """Bytes of the transfer in progress that have been sent by now."""
        if work.flow >= 0 and work.flow in self.world.flows:
            assert self.world.egress is not None, "a flow needs a shared link"
            return self.world.egress.sent(work.flow, self.now)
        length = work.end - work.begin
        return work.size if work.flow >= 0 or length <= 0 else work.size * (self.now - work.begin) // length

    def under_way(self) -> tuple[int, int]:
        """Bytes (down, up) of transfers in progress that have been sent by now."""
        down = up = 0
        for work in self._work.values():
            if work.doing == DOWN:
                down += self._part(work)
            elif work.doing == UP:
                up += self._part(work)
        return down, up

    def totals(self) -> dict[str, int]:
        """Bytes by kind, parts of transfers in progress included."""
        return self.ledger.totals(sum(w.down for w in self._work.values()), *self.under_way())

    def freeze(self) -> World:
        """The engine's memory as one value, complete at this instant."""
        w = self.world
        w.now, w.sequence = self.now, self._sequence
        w.devices = [Device(c.id, c.downloads, c.ready, c.uploads, c.offer, c.wanted) for c in self._devices.values()]
        w.started = self.training.started
        return w

    def thaw(self, world: World) -> None:
        """Continue from such a value; server and book must be restored already."""
        heapify(world.heap)
        self._bind(world)
        self._devices = {}
        open_leases = self.server.view.leases
        for i, work in world.work.items():
            work.lease = open_leases.get(i, work.lease)

        def own(leases: tuple[Lease, ...]) -> tuple[Lease, ...]:
            return tuple(open_leases.get(x.id, x) for x in leases)

        for d in world.devices:
            client = self._devices[d.id] = Client(d.id, world.holds, self._overlap)
            client.downloads, client.ready, client.uploads = own(d.downloads), own(d.ready), own(d.uploads)
            client.offer, client.wanted = d.offer, d.wanted
        waiting = {x.id: x for shelf in self.book.shelves.values() for x, _ in shelf.pending}
        for i in world.started:
            self.training.start(open_leases.get(i) or waiting[i])
