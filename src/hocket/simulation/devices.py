"""The fleet under the virtual clock: how long devices take, what their links carry, when they come, go and break.

Each device runs the core's own :class:`~hocket.client.Client`. What it asks for (fetch, train, upload) becomes
a timed event; what it has to tell the server goes into ``inbox``. Nothing here decides.
"""

from array import array
from collections import deque
from collections.abc import Callable, Mapping
from heapq import heappush
from typing import Any

import numpy as np

from hocket import actions as do
from hocket import events as on
from hocket.book import Book
from hocket.client import Client
from hocket.events import Event
from hocket.fleet import Fleet
from hocket.keyed import key, mix
from hocket.learning.task import Task
from hocket.lease import Edge, Lease
from hocket.simulation.training import LazyTraining
from hocket.simulation.world import DOWN, IDLE, TRAIN, UP, Broke, Device, Drained, Toggle, Work, World


class Devices:
    """All devices of a fleet. ``timed`` carries a timed event out, by its type."""

    def __init__(self, fleet: Fleet, tasks: Mapping[str, Task], book: Book, training: LazyTraining, seed: int) -> None:
        self.inbox: deque[Event] = deque()
        self._fleet, self._book, self._training = fleet, book, training
        self._timing = fleet.timing(seed)
        self._overlap = fleet.links == "parallel"
        self._offer_keys = {t: key(seed, "offer", t) for t in tasks}
        self._samples = {t: array("q", [task.local.samples(int(n)) for n in task.samples]) for t, task in tasks.items()}
        self._costs = {t: array("d", [n * tasks[t].cost for n in samples]) for t, samples in self._samples.items()}
        self._upload_size = {t: book.upload_size(t) for t in tasks}
        self._learners = {n for n, t in tasks.items() if t.learner is not None}
        self._clients: dict[int, Client] = {}
        self._last_edge: Edge | None = None
        self.timed: dict[type[Event], Callable[[Any], None]] = {
            on.Fetched: self._fetched, on.Trained: self._trained, on.Uploaded: self._uploaded,
            on.Woke: self.inbox.append, Broke: self._broke, Toggle: self._toggle, Drained: self._drained,
        }  # fmt: skip
        self._carry: dict[type[Any], Callable[[Any], None]] = {
            do.Fetch: self._fetch, do.Train: self._train, do.Upload: self._upload, do.Abort: self._abort,
            **dict.fromkeys((on.Fetched, on.Started, on.Arrived, on.Failed), self.inbox.append),
        }  # fmt: skip

    def bind(self, world: World) -> None:
        """Keep what is to be remembered in ``world``."""
        self._world, self._work, self._heap, self._ledger = world, world.work, world.heap, world.ledger
        self._clients = {}
        for d in world.devices:
            self._clients[d.id] = client = Client(d.id, world.holds, self._overlap)
            client.downloads, client.ready, client.uploads = d.downloads, d.ready, d.uploads
            client.offer, client.wanted = d.offer, d.wanted

    def frozen(self) -> list[Device]:
        """Every client with work under way."""
        clients = self._clients.values()
        return [Device(c.id, c.downloads, c.ready, c.uploads, c.offer, c.wanted) for c in clients]

    # --- from the server ---------------------------------------------------------------------------------

    def assign(self, lease: Lease) -> None:
        """Give a device a lease."""
        self._work[lease.id] = Work(lease)
        self._tell(lease.client, on.Assigned(lease))

    def offer(self, a: do.Offer) -> None:
        """Let a device fetch ahead."""
        self._tell(a.client, on.Offered(a.client, a.node))
        self._rest(a.client)

    def drop(self, event: on.Cancelled | on.Lost) -> None:
        """Take work away from a device, if it has any."""
        if event.client in self._clients:
            self._tell(event.client, event)
            self._rest(event.client)

    def begin(self) -> None:
        """Everybody who is there at the start joins."""
        up = self._fleet.availability.online(self._world.toggles)
        self._next_toggle()
        self.inbox.append(on.Joined(tuple(np.flatnonzero(up).tolist())))

    def _tell(self, c: int, event: on.DeviceEvent) -> None:
        client = self._clients.get(c)
        if client is None:
            client = self._clients[c] = Client(c, self._world.holds, self._overlap)
        carry = self._carry
        for action in client.handle(event, self._world.now):
            carry[type(action)](action)

    def _rest(self, c: int) -> None:
        client = self._clients.get(c)
        if client is not None and client.idle:
            del self._clients[c]

    # --- what clients ask for ----------------------------------------------------------------------------

    def _fetch(self, a: do.Fetch) -> None:
        world, lease_id, c = self._world, a.lease, a.client
        if lease_id < 0:
            if not self._book.hold(a.node):
                self.drop(on.Cancelled(-1, c))
                return
            work = self._work[~c] = Work(None, a.node)
            k = mix(self._offer_keys[a.node.task] ^ (c << 32 | a.node.version))
        else:
            work = self._work[lease_id]
            k = work.lease.seed  # type: ignore[union-attr]
        size = 0
        for edge in self._book.path(a.have, a.node):
            if edge is not self._last_edge:
                self._last_edge = edge
                self._ledger.open_edge(edge)
            size += edge.size
        work.doing, work.begin, work.size = DOWN, world.now, size
        done = on.Fetched(lease_id, c, a.node, size)
        if world.egress is not None:
            work.flow, work.end = world.sequence, -1
            world.sequence += 1
            world.egress.start(work.flow, size, float(self._fleet.down[c]), world.now)
            world.flows[work.flow] = done
            self._next_drain()
        else:
            work.end = end = world.now + self._timing.download(c, size, k)
            heappush(self._heap, (end, world.sequence, done))
            world.sequence += 1

    def _train(self, a: do.Train) -> None:
        world, lease = self._world, a.lease
        c, k, task = lease.client, lease.seed, lease.task
        took = self._timing.train(c, self._costs[task][c], k)
        fate = self._timing.fate(k)
        self._work[lease.id].doing = TRAIN
        if fate is not None:
            world.push(world.now + int(took * fate[0]), Broke(lease.id, c, fate[1]))
            return
        if task in self._learners:
            self._training.start(lease)
        heappush(self._heap, (world.now + took, world.sequence, on.Trained(lease.id, c)))
        world.sequence += 1

    def _upload(self, a: do.Upload) -> None:
        world, lease = self._world, a.lease
        c, task, now = lease.client, lease.task, world.now
        size, exact = self._upload_size[task]
        if not exact and task in self._learners:
            size = self._training.size(lease)
        work = self._work[lease.id]
        work.doing, work.begin, work.size, work.flow = UP, now, size, -1
        work.end = end = now + self._timing.upload(c, size, lease.seed)
        heappush(self._heap, (end, world.sequence, on.Uploaded(lease.id, c, size, self._samples[task][c])))
        world.sequence += 1

    def _abort(self, a: do.Abort) -> None:
        world, ledger = self._world, self._ledger
        work = self._work.get(a.lease if a.lease >= 0 else ~a.client)
        if work is None or work.doing not in (DOWN, UP):
            return
        part = world.part(work)
        if work.doing == UP:
            work.up += part
            ledger.up += part
        else:
            if work.flow >= 0 and world.flows.pop(work.flow, None) is not None:
                assert world.egress is not None, "a flow needs a shared link"
                world.egress.cancel(work.flow, world.now)
                self._next_drain()
            work.down += part
            ledger.down += part
            if a.lease < 0:
                ledger.prefetched += part
                del self._work[~a.client]
                assert work.node is not None, "an offer has a node"
                self._book.let_go(work.node)
        work.doing = IDLE

    # --- what time brings --------------------------------------------------------------------------------

    def _fetched(self, e: on.Fetched) -> None:
        offer = e.lease < 0
        work = self._work.get(~e.client if offer else e.lease)
        if work is None or work.doing != DOWN or work.end != self._world.now:
            return
        self._ledger.down += e.size
        if offer:
            self._ledger.prefetched += e.size
            del self._work[~e.client]
            self._book.let_go(e.node)
        work.doing = IDLE
        work.down += e.size
        self._tell(e.client, e)
        if offer:
            self._rest(e.client)

    def _trained(self, e: on.Trained) -> None:
        work = self._work.get(e.lease)
        if work is not None and work.doing == TRAIN:
            work.doing = IDLE
            self._tell(e.client, e)

    def _uploaded(self, e: on.Uploaded) -> None:
        work = self._work.get(e.lease)
        if work is not None and work.doing == UP:
            work.doing = IDLE
            work.up += e.size
            self._ledger.up += e.size
            self._tell(e.client, e)
            self._rest(e.client)

    def _broke(self, e: Broke) -> None:
        work = self._work.get(e.lease)
        if work is None or work.doing != TRAIN:
            return
        self.drop(on.Cancelled(e.lease, e.client))
        if not e.silent:
            self.inbox.append(on.Failed(e.lease, e.client, "failed"))

    def _next_toggle(self) -> None:
        time = self._fleet.availability.upcoming(self._world.toggles)
        if time is not None:
            self._world.push(time, Toggle())

    def _toggle(self, e: Toggle) -> None:
        _, clients, ups = self._fleet.availability.until(self._world.toggles, self._world.now)
        self._next_toggle()
        for c in clients[~ups].tolist():
            self.inbox.append(on.Left(c))
            self.drop(on.Lost(c, "left"))
        if ups.any():
            self.inbox.append(on.Joined(tuple(clients[ups].tolist())))

    def _next_drain(self) -> None:
        assert self._world.egress is not None, "only a shared link drains"
        upcoming = self._world.egress.next()
        if upcoming is not None:
            self._world.push(upcoming[0], Drained())

    def _drained(self, e: Drained) -> None:
        world = self._world
        egress = world.egress
        assert egress is not None, "only a shared link drains"
        moved = False
        while (upcoming := egress.next()) is not None and upcoming[0] <= world.now:
            flow = upcoming[1]
            egress.finish(flow, world.now)
            done = world.flows.pop(flow)
            work = self._work[done.lease if done.lease >= 0 else ~done.client]
            work.end = world.now + round(float(self._fleet.latency[done.client]) * 1e9)
            world.push(work.end, done)
            moved = True
        if moved:
            self._next_drain()
