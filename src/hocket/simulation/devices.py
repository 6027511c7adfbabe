"""The fleet under the virtual clock: how long devices take, what their links carry, when they come, go and break.

Each device runs the core's own :class:`~hocket.client.Client`. What it asks for (fetch, train, upload) becomes
a timed event; what it has to tell the server goes into ``inbox``. Nothing here decides.
"""

from array import array
from collections.abc import Callable, Mapping
from heapq import heappush
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from hocket import actions as do
from hocket import events as on
from hocket.book import Book
from hocket.client import Client
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.fleet import Fleet
from hocket.keyed import key, mix
from hocket.learning.task import Task
from hocket.lease import Edge, Lease, Node
from hocket.simulation.training import LazyTraining
from hocket.simulation.world import DOWN, IDLE, TRAIN, UP, Broke, Costs, Device, Drained, Part, Toggle, Work, World


class _Terms(Struct, frozen=True, gc=False):
    """What every job of one task takes: samples by client, cost of one, bytes to upload (``exact``: always so many).

    ``parts``: jobs may be of sub-models, which have a cost and a size of their own.
    """

    samples: "array[int]"
    cost: float
    upload: int
    exact: bool
    learns: bool
    offer_key: int
    parts: bool


class Devices:
    """All devices of a fleet. ``timed`` carries a timed event out, by its type."""

    def __init__(self, fleet: Fleet, tasks: Mapping[str, Task], book: Book, training: LazyTraining, seed: int) -> None:
        self.inbox: list[Event] = []
        self._fleet, self._book, self._training = fleet, book, training
        self._timing = fleet.timing(seed)
        self._remember = any(training.remembers(t) for t in tasks)
        self._breaks = fleet.failure + fleet.dropout > 0
        self._overlap = fleet.links == "parallel"
        self._terms = {
            n: _terms(t, *book.upload_size(n), key(seed, "offer", n), book.has_parts(n)) for n, t in tasks.items()
        }
        self._clients: dict[int, Client] = {}
        self._newest: dict[str, Edge] = {}  # by task, the edge that was sent last
        self._leaves = False
        self.timed: dict[type[Event], Callable[[Any], None]] = {
            on.Fetched: self._fetched, on.Trained: self._trained, on.Uploaded: self._uploaded,
            on.Woke: self.inbox.append, Broke: self._broke, Toggle: self._toggle, Drained: self._drained,
            **dict.fromkeys((on.TaskAdded, on.TaskPaused, on.TaskEnded), self.inbox.append), Costs: self._costs,
        }  # fmt: skip
        self._carry: dict[type[Any], Callable[[Any], None]] = {
            do.Fetch: self._fetch, do.Train: self._train, do.Upload: self._upload, do.Abort: self._abort,
            **dict.fromkeys((on.Fetched, on.Started, on.Arrived, on.Failed), self.inbox.append),
        }  # fmt: skip

    def bind(self, world: World) -> None:
        """Keep what is to be remembered in ``world``."""
        self._world, self._work, self._heap, self._ledger = world, world.work, world.heap, world.ledger
        self._clients = {}
        for task, cost in world.costs.items():
            self._terms[task] = replace(self._terms[task], cost=cost)
        for d in world.devices:
            self._clients[d.id] = client = Client(d.id, world.holds, self._overlap)
            client.downloads, client.ready, client.uploads = d.downloads, d.ready, d.uploads
            client.offer, client.wanted = d.offer, d.wanted

    def change(self, fleet: Fleet, seed: int) -> None:
        """Take compute times, rates and their laws from another fleet."""
        if len(fleet) != len(self._fleet):
            raise InvalidInput(f"a fleet of {len(fleet)} devices in place of {len(self._fleet)}; give as many")
        self._timing = fleet.timing(seed)

    def frozen(self) -> list[Device]:
        """Every client with work under way."""
        clients = self._clients.values()
        return [Device(c.id, c.downloads, c.ready, c.uploads, c.offer, c.wanted) for c in clients]

    # --- from the server ---------------------------------------------------------------------------------

    def assign(self, lease: Lease) -> None:
        """Give a device a lease."""
        self._work[lease.id] = Work(lease)
        c, carry = lease.client, self._carry
        client = self._clients.get(c)
        if client is None:
            client = self._clients[c] = Client(c, self._world.holds, self._overlap)
        for action in client.assigned(on.Assigned(lease)):
            carry[type(action)](action)
        if client.offer is not None and not self._overlap:
            self._reconsider(client.offer, lease)

    def _reconsider(self, offer: Node, lease: Lease) -> None:
        """Give up a fetch ahead of a lease if finishing it takes longer than beginning anew."""
        c, want, work = lease.client, lease.node, self._work[~lease.client]
        if want is not None and want.task == offer.task:
            have, left = self._world.holds[want.task][c], work.size - self.part(work, c)
            if self._book.shorter(have, want, offer, left):
                self.drop(on.Cancelled(-1, c))

    def offer(self, a: do.Offer) -> None:
        """Let a device fetch ahead."""
        c = a.client
        client = self._clients.get(c)
        if client is None:
            client = self._clients[c] = Client(c, self._world.holds, self._overlap)
        self._do(client.offered(on.Offered(a.client, self._book.ahead(a.node))))
        self._rest(client)

    def drop(self, event: on.Cancelled | on.Lost) -> None:
        """Take work away from a device, if it has any."""
        client = self._clients.get(event.client)
        if client is not None:
            self._do(client.handle(event, self._world.now))
            self._rest(client)

    def begin(self) -> None:
        """Everybody who is there at the start joins."""
        up = self._fleet.availability.online(self._world.toggles)
        self._next_toggle()
        self.inbox.append(on.Joined(tuple(np.flatnonzero(up).tolist())))

    def _do(self, actions: list[Any]) -> None:
        carry = self._carry
        for action in actions:
            carry[type(action)](action)

    def _rest(self, client: Client) -> None:
        if client.idle:
            self._clients.pop(client.id, None)

    # --- what clients ask for ----------------------------------------------------------------------------

    def _fetch(self, a: do.Fetch) -> None:
        world, lease_id, c, node = self._world, a.lease, a.client, a.node
        if lease_id < 0:
            if not self._book.hold(node):
                self.drop(on.Cancelled(-1, c))
                return
            work = self._work[~c] = Work(None, node)
            k = mix(self._terms[node.task].offer_key ^ (c << 32 | node.version))
        else:
            work = self._work[lease_id]
            k = work.lease.seed  # type: ignore[union-attr]
        size, newest, task = 0, self._newest, node.task
        for edge in self._book.path(a.have, node):
            if edge is not newest.get(task):
                newest[task] = edge
                self._ledger.open_edge(edge)
            size += edge.size
        now, work.saved = world.now, 0
        if world.parts:
            size = self._go_on(a, work, size)
        work.doing, work.begin, work.size = DOWN, now, size
        if world.egress is not None:
            work.flow, work.end = world.sequence, -1
            world.sequence += 1
            world.egress.start(work.flow, size, float(self._fleet.down[c]), now)
            world.flows[work.flow] = on.Fetched(lease_id, c, node, size)
            self._next_drain()
        else:
            took = self._timing.download(c, size, k, now)
            work.end = end = now + took
            heappush(self._heap, (end, world.sequence, on.Fetched(lease_id, c, node, size, took)))
            world.sequence += 1

    def _go_on(self, a: do.Fetch, work: Work, size: int) -> int:
        """Bytes to fetch if a download that ended when its device left goes on, or anew if that is shorter."""
        part = self._world.parts.get(a.node.task, {}).pop(a.client, None)
        if part is None or part.have != a.have or part.node.version > a.node.version:
            return size
        more = sum(edge.size for edge in self._book.path(part.node, a.node))
        if part.left + more >= size:
            return size
        work.saved = part.got
        self._ledger.saved(a.node.task, a.client, part.got)
        return part.left + more

    def _train(self, a: do.Train) -> None:
        world, lease = self._world, a.lease
        c, k, terms = lease.client, lease.seed, self._terms[lease.task]
        cost = terms.samples[c] * terms.cost
        if terms.parts:
            cost *= self._book.compute(lease)
        took = self._timing.train(c, cost, k)
        fate = self._timing.fate(k) if self._breaks else None
        self._work[lease.id].doing = TRAIN
        if fate is not None:
            world.push(world.now + int(took * fate[0]), Broke(lease.id, c, fate[1]))
            return
        if terms.learns:
            self._training.start(lease)
        heappush(self._heap, (world.now + took, world.sequence, on.Trained(lease.id, c)))
        world.sequence += 1

    def _upload(self, a: do.Upload) -> None:
        world, lease = self._world, a.lease
        c, now, terms = lease.client, world.now, self._terms[lease.task]
        size, exact = terms.upload, terms.exact
        if terms.parts:
            size, exact = self._book.update_size(lease)
        if not exact and terms.learns:
            size = self._training.size(lease)
        work = self._work[lease.id]
        work.doing, work.begin, work.size, work.flow = UP, now, size, -1
        work.end = end = now + self._timing.upload(c, size, lease.seed, now)
        heappush(self._heap, (end, world.sequence, on.Uploaded(lease.id, c, size, terms.samples[c])))
        world.sequence += 1

    def _abort(self, a: do.Abort) -> None:
        world, ledger = self._world, self._ledger
        work = self._work.get(a.lease if a.lease >= 0 else ~a.client)
        if work is None or work.doing not in (DOWN, UP):
            return
        part = self.part(work, a.client)
        if work.doing == UP:
            work.up += part
            ledger.up += part
        else:
            if self._leaves:
                self._set_aside(a, work, part)
            if work.flow >= 0 and world.flows.pop(work.flow, None) is not None:
                assert world.egress is not None, "a flow needs a shared link"
                world.egress.cancel(work.flow, world.now)
                self._next_drain()
            if a.lease < 0:
                assert work.node is not None, "an offer has a node"
                ledger.early(work.node.task, a.client, part)
                del self._work[~a.client]
                self._book.let_go(work.node)
            else:
                work.down += part
                ledger.down += part
        work.doing = IDLE

    def _set_aside(self, a: do.Abort, work: Work, part: int) -> None:
        """A device that leaves keeps what came through of a download."""
        node = work.node if work.lease is None else work.lease.node
        if node is not None and work.saved + part > 0:
            have = self._world.holds[node.task][a.client]
            kept = Part(have, node, work.size - part, work.saved + part)
            self._world.parts.setdefault(node.task, {})[a.client] = kept

    def part(self, work: Work, client: int) -> int:
        """Bytes of a transfer in progress that have been sent by now."""
        if self._timing.steady or work.flow >= 0 or work.end <= work.begin:
            return self._world.part(work)
        share = self._timing.sent(client, work.doing == DOWN, work.begin, work.end, self._world.now)
        return min(work.size, int(work.size * share))

    # --- what time brings --------------------------------------------------------------------------------

    def _fetched(self, e: on.Fetched) -> None:
        lease_id, size = e.lease, e.size
        work = self._work.get(lease_id if lease_id >= 0 else ~e.client)
        if work is None or work.doing != DOWN or work.end != self._world.now:
            return
        work.doing = IDLE
        client, carry = self._clients[e.client], self._carry
        if lease_id < 0:
            self._ledger.early(e.node.task, e.client, size)
            del self._work[~e.client]
            self._book.let_go(e.node)
        else:
            work.down += size
            self._ledger.down += size
        for action in client.fetched(e):
            carry[type(action)](action)
        if lease_id < 0:
            self._rest(client)

    def _trained(self, e: on.Trained) -> None:
        work = self._work.get(e.lease)
        if work is not None and work.doing == TRAIN:
            work.doing = IDLE
            if self._remember:
                self._finish(work)
            carry = self._carry
            for action in self._clients[e.client].trained(e):
                carry[type(action)](action)

    def _finish(self, work: Work) -> None:
        assert work.lease is not None, "only leases are trained"
        if self._training.remembers(work.lease.task):
            self._training.finish(work.lease)

    def _uploaded(self, e: on.Uploaded) -> None:
        work = self._work.get(e.lease)
        if work is not None and work.doing == UP:
            work.doing = IDLE
            work.up += e.size
            self._ledger.up += e.size
            client, carry = self._clients[e.client], self._carry
            for action in client.uploaded(e):
                carry[type(action)](action)
            if client.idle:
                del self._clients[e.client]

    def _broke(self, e: Broke) -> None:
        work = self._work.get(e.lease)
        if work is None or work.doing != TRAIN:
            return
        self.drop(on.Cancelled(e.lease, e.client))
        if not e.silent:
            self.inbox.append(on.Failed(e.lease, e.client, "failed"))

    def _costs(self, e: Costs) -> None:
        self._world.costs[e.task] = e.cost
        self._terms[e.task] = replace(self._terms[e.task], cost=e.cost)

    def _next_toggle(self) -> None:
        time = self._fleet.availability.upcoming(self._world.toggles)
        if time is not None:
            self._world.push(time, Toggle())

    def _toggle(self, e: Toggle) -> None:
        _, clients, ups = self._fleet.availability.until(self._world.toggles, self._world.now)
        self._next_toggle()
        for c in clients[~ups].tolist():
            self.inbox.append(on.Left(c))
            self._leaves = True
            self.drop(on.Lost(c, "left"))
            self._leaves = False
            self._ledger.left(c)
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
            world.push(work.end, replace(done, took=work.end - work.begin))
            moved = True
        if moved:
            self._next_drain()


def _terms(task: Task, upload: int, exact: bool, offer_key: int, parts: bool) -> _Terms:
    samples = array("q", [task.local.samples(int(n)) for n in task.samples])
    return _Terms(samples, task.cost, upload, exact, task.learner is not None, offer_key, parts)
