"""The device of a served run: the core's own client, with its work done for real and its memory kept.

Downloads, training and uploads go on side by side. One exchange with the server is always open; what happens here is
told over another one at once. Whatever is cut off is taken up again: a download where it ended, an update where the
server has it to, a lease by polling.
"""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from time import monotonic_ns
from typing import Any

import aiohttp

from hocket import actions as do
from hocket import events as on
from hocket.client import Client
from hocket.errors import HocketError, InvalidInput
from hocket.keyed import key, mix
from hocket.lease import WHOLE, Lease, Node
from hocket.received import Sent
from hocket.record.account import Station
from hocket.service.device import Device
from hocket.service.keep import Keep
from hocket.service.link import Away, Link, Stale
from hocket.service.measured import Meter
from hocket.service.pace import Pace
from hocket.service.protocol import Exchange, Head, Instructions, Step, Want, join_update
from hocket.setup import Setup

LARGEST = 4  # times the size of a model that an edge may have


class Daemon:
    """Works for one client until the run is over.

    Args:
        setup: what is run.
        client: which one this is.
        link: to the server.
        keep: what is remembered.
        overlap: transfers of one direction go on side by side.
        pace: play a device that is slower than this machine.
    """

    def __init__(
        self, setup: Setup, client: int, link: Link, keep: Keep, *, overlap: bool = False, pace: Pace | None = None
    ) -> None:
        self._setup, self._link, self._keep, self._pace = setup, link, keep, pace
        parts = setup.strategy.tasks
        holds: dict[str, dict[int, Node | None]] = {t: {client: None} for t in setup.tasks}
        self.work = Device(Client(client, holds, overlap), setup.tasks, parts)
        self._client = self.work.client
        self._waiting: dict[int, tuple[Lease, Sent]] = {}
        self._over: set[int] = set()
        self._resumed: set[int] = set()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._ahead: list[Step] = []  # of the fetch ahead of any lease, what is not there yet
        self._news = asyncio.Event()
        self._fetched: list[tuple[int, Node]] = []
        self._started: list[int] = []
        self._failed: list[tuple[int, str]] = []
        self._group: asyncio.TaskGroup
        self._trainer = ThreadPoolExecutor(1, "train")
        self._meter = Meter()
        self.finished = ""
        self.trained = 0
        self._carry: dict[type[Any], Any] = {
            do.Fetch: lambda a: self._spawn(a.lease, self._fetch(a)),
            do.Train: lambda a: self._spawn(a.lease.id, self._train(a.lease)),
            do.Upload: lambda a: self._spawn(a.lease.id, self._upload(a.lease)),
            do.Abort: lambda a: self._abort(a.lease),
            on.Fetched: lambda e: self._tell(self._fetched, (e.lease, e.node)),
            on.Started: lambda e: self._tell(self._started, e.lease),
            on.Failed: lambda e: self._tell(self._failed, (e.lease, e.reason)),
            on.Arrived: lambda e: None,
        }  # fmt: skip

    async def run(self) -> str:
        """Work until the run is over; why it is.

        Raises:
            InvalidInput: the server does not want this device any more.
        """
        try:
            async with asyncio.TaskGroup() as self._group:
                self._restore()
                listening = self._group.create_task(self._listen())
                telling = self._group.create_task(self._report())
                await asyncio.wait({listening})
                telling.cancel()
                for task in self._running.values():
                    task.cancel()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._trainer.shutdown(wait=False, cancel_futures=True)
        return self.finished

    def _restore(self) -> None:
        """Take up what an earlier life left."""
        c, keep = self._client, self._keep
        self.work.nodes = keep.nodes({n: t.schema for n, t in self._setup.tasks.items()})
        for node in self.work.nodes:
            c.holds[node.task][c.id] = node
        for task, part in self._setup.strategy.tasks.items():
            kind = getattr(part.uplink, "memory", None)
            if kind is not None and (memory := keep.memory(task, kind)) is not None:
                self.work.memories[task] = memory
        self._over = keep.over()
        waiting = keep.waiting()
        self._waiting = {w.lease.id: (w.lease, w.sent) for w in waiting}
        self.work.adopt([w.lease for w in waiting])
        c.uploads = tuple(w.lease for w in waiting)
        self._resumed = set(self._waiting)
        self._do([do.Upload(lease) for lease in (c.uploads if c.overlap else c.uploads[:1])])

    # --- what the server says ----------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Keep an exchange open."""
        tries = 0
        while not self.finished:
            tries = await self._exchange(True, tries)

    async def _report(self) -> None:
        """Tell at once what happens here."""
        tries = 0
        while True:
            await self._news.wait()
            tries = await self._exchange(False, tries)

    async def _exchange(self, wait: bool, tries: int) -> int:
        """One exchange after so many that failed; how many have by now."""
        link = self._link
        used = link.session
        told: tuple[Any, Any, Any] = (), (), ()
        if not wait:  # one of the two tells, so that nothing is told twice
            self._news.clear()
            told = tuple(self._fetched), tuple(self._started), tuple(self._failed)
        try:
            said = await link.exchange(Exchange(self._in_hand(), *told, wait, self._meter.rates))
        except Stale as e:
            await link.renew(used, e.retry)
        except (Away, aiohttp.ClientError, TimeoutError, OSError) as e:
            tries += 1
            await link.pause(tries, getattr(e, "retry", 0.0), str(e) or type(e).__name__)
        else:
            tries = 0
            self._fetched = self._fetched[len(told[0]) :]
            self._started = self._started[len(told[1]) :]
            self._failed = self._failed[len(told[2]) :]
            self._hear(said)
        if self._fetched or self._started or self._failed:
            self._news.set()
        return tries

    def _in_hand(self) -> tuple[int, ...]:
        c = self._client
        return tuple({x.id: None for x in (*c.downloads, *c.ready, *c.uploads)} | dict.fromkeys(self._waiting))

    def _hear(self, said: Instructions) -> None:
        c = self._client
        self.finished = said.finished
        for lease_id in said.drop:
            if lease_id not in self._waiting:  # what was sent waits for its own answer
                self._over.add(lease_id)
                self._do(c.handle(on.Cancelled(lease_id, c.id), 0))
        known = {*self._in_hand(), *self._over}
        for lease in said.work:
            if lease.id not in known and lease.client == c.id and lease.task in self._setup.tasks and lease.node:
                self._do(c.handle(on.Assigned(lease), 0))
                if c.offer is not None and c.offer.task == lease.task and not c.overlap:
                    self._group.create_task(self._reconsider(lease, c.offer))
        for node in said.hints:
            if node.task in self._setup.tasks:
                self._do(c.handle(on.Offered(c.id, node), 0))

    # --- what the client asks for ------------------------------------------------------------------------

    def _do(self, actions: list[Any]) -> None:
        for action in actions:
            self._carry[type(action)](action)

    def _tell(self, to: list[Any], what: Any) -> None:
        to.append(what)
        self._news.set()

    def _spawn(self, name: int, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._running[name] = task
        task.add_done_callback(lambda t: self._running.pop(name, None) if self._running.get(name) is t else None)

    def _abort(self, name: int) -> None:
        self.work.updates.pop(name, None)
        if (task := self._running.get(name)) is not None and task is not asyncio.current_task():
            task.cancel()

    def _give_up(self, lease: int, reason: str) -> None:
        c = self._client
        self._do(c.handle(on.Cancelled(lease, c.id), 0))
        if lease >= 0:
            self._over.add(lease)
            self._tell(self._failed, (lease, reason))

    async def _reconsider(self, lease: Lease, offer: Node) -> None:
        """Give up a fetch ahead of a lease if finishing it takes more bytes than beginning anew."""
        c, want, ask = self._client, lease.node, self._link.path
        assert want is not None, "a lease is sent with its node"
        direct, rest = [await ask(Want(lease.id, want, at)) for at in (c.holds[lease.task][c.id], offer)]
        if direct is None or rest is None or c.offer != offer or lease not in c.downloads:
            return
        left = sum(step.size for step in (*self._ahead, *rest))
        if self._ahead and (part := self._keep.part(self._ahead[0].digest)).exists():
            left -= part.stat().st_size
        if sum(step.size for step in direct) < left:
            self._do(c.handle(on.Cancelled(-1, c.id), 0))

    async def _fetch(self, a: do.Fetch) -> None:
        c, node, began = self._client, a.node, monotonic_ns()
        for have in dict.fromkeys((a.have, None)):  # if what is held cannot be gone on from: from nothing
            if have is not None and have not in self.work.nodes:
                continue
            steps = await self._link.path(Want(a.lease, node, have))
            largest = LARGEST * self._setup.tasks[node.task].schema.nbytes + 4096
            if steps is None or any(s.size > largest for s in steps):
                self._give_up(a.lease, "gone")
                return
            data: list[bytes] = []
            for at, step in enumerate(steps):
                if a.lease < 0:
                    self._ahead = list(steps[at:])
                if (piece := await self._link.download(step, a.lease)) is None:
                    break
                data.append(piece)
            else:
                c.holds[node.task][c.id] = have
                work = self.work.receiving(node, [s.edge for s in steps], data)
                try:
                    value, lists = await asyncio.to_thread(work)
                except InvalidInput:
                    continue
                break
        else:
            c.holds[node.task][c.id] = None
            self._give_up(a.lease, "cannot be fetched")
            return
        if self._pace is not None:
            await self._pace.keep("download", began, sum(map(len, data)), self._key(a))
        self._note("download", sum(map(len, data)), began)
        self.work.keep(node, value, lists)
        if node.cover.length == WHOLE:  # the coordinates of a part are not kept, so a restart fetches both again
            await asyncio.to_thread(self._keep.hold, node, value)
        if a.lease < 0:
            self._ahead = []
        self._do(c.handle(on.Fetched(a.lease, c.id, node, sum(map(len, data))), 0))
        self.work.tidy()

    def _note(self, station: Station, amount: float, began: int) -> None:
        self._meter.note(station, amount, (monotonic_ns() - began) / 1e9)

    def _key(self, a: do.Fetch) -> int:
        """What keys the duration of a transfer, as in the simulator."""
        lease = next((x for x in self._client.downloads if x.id == a.lease), None)
        if lease is not None:
            return lease.seed
        return mix(key(self._setup.seed, "offer", a.node.task) ^ (a.client << 32 | a.node.version))

    async def _train(self, lease: Lease) -> None:
        began, task, loop = monotonic_ns(), self._setup.tasks[lease.task], asyncio.get_running_loop()
        try:
            result = await loop.run_in_executor(self._trainer, self.work.training(lease))
        except Exception as e:  # whatever a learner of somebody's raises has failed this lease, no more
            self._give_up(lease.id, " ".join(f"{type(e).__name__}: {e}".split()))
            return
        cost = task.local.samples(int(task.samples[lease.client])) * task.cost
        if self._pace is not None:
            await self._pace.keep("train", began, cost, lease.seed)
        self._note("train", cost, began)
        self.trained += 1
        self.work.finish(lease, result)
        sent = self.work.updates[lease.id]
        self._waiting[lease.id] = lease, sent
        self._keep.trained(lease, sent, self.work.memories.get(lease.task))
        self._do(self._client.handle(on.Trained(lease.id, lease.client), 0))
        self.work.tidy()

    async def _upload(self, lease: Lease) -> None:
        began, (_, sent) = monotonic_ns(), self._waiting[lease.id]
        self.work.updates.pop(lease.id, None)
        if self._pace is not None:
            await self._pace.keep("upload", began, len(sent.data), lease.seed)
        start = "" if lease.node is None else lease.node.digest
        update = join_update(Head(sent.samples, sent.metrics, start), sent.data)
        try:
            answer = await self._link.upload(lease.id, update, lease.id in self._resumed)
        except InvalidInput as e:
            answer = str(e)
        self._note("upload", len(sent.data), began)
        self.work.settle(lease.id, not answer)
        self._keep.answered(lease, self.work.memories.get(lease.task))
        self._over.add(lease.id)
        del self._waiting[lease.id]
        self._do(self._client.handle(on.Uploaded(lease.id, lease.client, len(sent.data), sent.samples), 0))


def check_run(setup: Setup, run: str) -> None:
    """Make sure that this device builds the same run as the server.

    Raises:
        HocketError: it does not.
    """
    if setup.digest() != run:
        raise HocketError("the experiment is another one here than at the server; use the same version and data there")
