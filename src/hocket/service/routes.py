"""The service's HTTP: one handler per request of :mod:`hocket.service.protocol`."""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from aiohttp import web
from msgspec.structs import replace

from hocket import events as on
from hocket.errors import InvalidInput, StoreFailed
from hocket.lease import Lease
from hocket.ranking import Ranking
from hocket.received import Sent, decode
from hocket.service import protocol
from hocket.service.desk import Desk
from hocket.service.edges import Edges
from hocket.service.exchange import Exchanges
from hocket.service.front import SLOWEST, STALL, Front, Rejected, answer, body, read
from hocket.service.host import Host
from hocket.service.identity import digest_of, enrol_text, session_text, verified
from hocket.service.measured import Rates
from hocket.service.messages import Answer, Ask, Poll, Told, Update, Value
from hocket.service.protocol import Enrol, Enrolled, Exchange, Head, Hello, Open, Opened, Path, Progress, Step, Want
from hocket.service.uploads import Part, Uploads
from hocket.service.watch import Meters
from hocket.setup import Setup
from hocket.strategy import policies_of

CHUNK = 1 << 18  # bytes written at once
REMEMBERED = 4096  # leases whose update's digest is kept, to tell a repeat from a second one
LARGEST = 1e30  # of an update's coordinates: sums and models stay far from float32's end
FETCHES = 1 << 16  # leases whose sent bytes are remembered until their device has told that it has the node
TOLD = 256  # things that a device may tell at once


class Spoilt(Exception):
    """An update that was damaged on its way: send it again."""


class Routes:
    """Answers devices.

    Args:
        setup: what is run.
        experiment: the experiment as a client is told of it, in TOML, to build its tasks from.
        desk: runs the core; ``host`` is what it runs.
        hold: seconds that an exchange, or a wait for an answer, may take.
        pool: threads that decode updates.
        rates: where what devices measured is kept, by client.
    """

    def __init__(
        self,
        setup: Setup,
        experiment: Callable[[int], str],
        desk: Desk,
        host: Host,
        front: Front,
        exchanges: Exchanges,
        edges: Edges,
        uploads: Uploads,
        meters: Meters,
        pool: ThreadPoolExecutor,
        hold: float,
        rates: dict[int, Rates],
    ) -> None:
        self._setup, self._experiment, self._desk, self._host, self._front = setup, experiment, desk, host, front
        self._exchanges, self._edges, self._uploads, self._meters = exchanges, edges, uploads, meters
        self._pool, self._hold = pool, hold
        self._sent: dict[tuple[int, int], int] = defaultdict(int)  # bytes of edges, by client and lease
        self._digests: OrderedDict[int, bytes] = OrderedDict()
        self._needs = {
            t: frozenset(n for p in policies_of(setup.strategy, t) for n in getattr(p, "needs", ()))
            - {"norm", "finite"}
            for t in setup.tasks
        }
        self.ready = True
        self.rates = rates
        self.told: set[int] = set()  # clients that know that the run is over

    def table(self) -> list[web.RouteDef]:
        """Every route."""
        get = partial(web.get, allow_head=False)  # a body that is not sent would be counted as sent
        return [
            get("/v1/hello", self.hello), web.post("/v1/enrol", self.enrol), web.post("/v1/session", self.open),
            get("/v1/experiment", self.experiment), web.post("/v1/exchange", self.exchange),
            web.post("/v1/path", self.path), get("/v1/edges/{digest:[0-9a-f]{64}}", self.edge),
            get("/v1/updates/{lease:[0-9]{1,15}}/{digest:[0-9a-f]{64}}", self.progress),
            web.patch("/v1/updates/{lease:[0-9]{1,15}}", self.update), web.post("/v1/leave", self.leave),
            web.get("/healthz", self.healthy), web.get("/readyz", self.readiness),
        ]  # fmt: skip

    # --- who is there ------------------------------------------------------------------------------------

    async def healthy(self, request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def readiness(self, request: web.Request) -> web.Response:
        return web.Response(text="ready\n") if self.ready else web.Response(text="not ready\n", status=503)

    async def hello(self, request: web.Request) -> web.Response:
        return answer(Hello(self._front.run, self._front.term, self._front.sessions.challenge()))

    async def enrol(self, request: web.Request) -> web.Response:
        what = await body(request, Enrol, 1024)
        if not verified(what.key, what.proof, enrol_text(self._front.run, what.token, what.key)):
            raise Rejected(401, "signature", "the proof does not match the key")
        try:
            client = await asyncio.to_thread(self._front.register.enrol, what.token, what.key)  # it waits for the disk
        except InvalidInput as e:
            raise Rejected(403, "token", str(e)) from None
        except StoreFailed as e:
            raise Rejected(503, "disk", str(e), 5.0) from None
        return answer(Enrolled(client))

    async def open(self, request: web.Request) -> web.Response:
        what, front = await body(request, Open, 1024), self._front
        client = front.register.client(what.key)
        if client is None:
            raise Rejected(
                403, "unknown", "this key is not enrolled, or was revoked; to come back, join with a new token and an "
                "empty --state folder",
            )  # fmt: skip
        text = session_text(front.run, front.term, what.challenge, what.previous)
        if not verified(what.key, what.proof, text) or not front.sessions.fresh(what.challenge):
            raise Rejected(401, "signature", "the proof does not match, or its challenge is old; ask for another one")
        session = front.sessions.open(client, what.key, what.challenge, what.previous)
        if session is None:
            raise Rejected(
                409, "shared", f"client {client} has a live session; two devices cannot share one identity", self._hold
            )
        return answer(Opened(client, session.name, self._hold))

    async def experiment(self, request: web.Request) -> web.Response:
        client = self._front.session(request).client
        return web.Response(text=self._experiment(client), content_type="application/toml")

    async def leave(self, request: web.Request) -> web.Response:
        client = self._front.session(request).client
        await self._desk.call(lambda host: host.leave(client, "left"))
        self._front.sessions.end(client)
        return answer(Progress())

    # --- instructions ------------------------------------------------------------------------------------

    async def exchange(self, request: web.Request) -> web.Response:
        client = self._front.session(request).client
        what = await body(request, Exchange)
        if max(len(what.leases), len(what.fetched), len(what.started), len(what.failed)) > TOLD:
            raise InvalidInput(f"exchange: more than {TOLD} things of one kind; tell them in several")
        if what.rates.known:
            self.rates[client] = what.rates
        with self._exchanges.open(client) as box:
            finished = await self._desk.call(lambda host: self._take(host, client, what))
            if what.wait and self.ready and not (finished or box.some.is_set()):
                await self._exchanges.wait(box, self._hold)
            said = self._exchanges.say(client, box, finished or self._host.server.finished)
        if said.finished:
            self.told.add(client)
        return answer(said)

    def _take(self, host: Host, client: int, what: Exchange) -> str:
        """Hear a device out, in the core's thread."""
        leases = host.server.view.leases
        if host.server.finished:
            return host.server.finished
        for lease_id, node in what.fetched:
            lease = leases.get(lease_id)
            mine = lease is not None and lease.client == client and lease.node == node
            mine = mine or (lease_id < 0 and host.account.held.get(client) == node)
            if mine and (size := self._sent.pop((client, lease_id), 0)):  # nothing sent since: told before
                host.receive(Told(client, on.Fetched(lease_id, client, node, size)), host.now)
        for lease_id in what.started:
            if (lease := leases.get(lease_id)) is not None and lease.client == client and lease.started < 0:
                host.receive(Told(client, on.Started(lease_id, client)), host.now)
        for lease_id, reason in what.failed:
            if (lease := leases.get(lease_id)) is not None and lease.client == client:
                text = "".join(c for c in " ".join(reason.split()) if c.isprintable())[: protocol.REASON] or "failed"
                host.receive(Told(client, on.Failed(lease_id, client, text)), host.now)
        host.receive(Poll(client, what.leases), host.now)
        return host.server.finished

    # --- downloads ---------------------------------------------------------------------------------------

    async def path(self, request: web.Request) -> web.Response:
        client = self._front.session(request).client
        what = await body(request, Want)
        if what.node.task not in self._setup.tasks or (what.have and what.have.task != what.node.task):
            raise InvalidInput(f"path: no way to {what.node} from {what.have}")
        with self._exchanges.values.wait(client, what.lease) as coming:
            await self._desk.call(lambda h: h.receive(Ask(client, what.lease, what.node, what.have), h.now))
            async with asyncio.timeout(self._hold):
                value = await coming
        assert isinstance(value, Value), "a path is answered by a value"
        if value.data is None:
            return answer(Path(None))
        pairs = zip(value.edges, value.data, strict=True)
        return answer(Path(tuple(Step(edge, Edges.digest(data), len(data)) for edge, data in pairs)))

    async def edge(self, request: web.Request) -> web.StreamResponse:
        client = self._front.session(request).client
        data = self._edges.find(request.match_info["digest"])
        if data is None:
            raise Rejected(404, "gone", "this edge is gone; ask for the path again")
        try:
            part = request.http_range
        except ValueError:
            raise Rejected(416, "range", f"a range of {len(data)} bytes, as bytes=FIRST-LAST") from None
        first, last, _ = part.indices(len(data))
        if first >= last:
            raise Rejected(416, "range", f"a range of {len(data)} bytes, as bytes=FIRST-LAST")
        whole = (first, last) == (0, len(data))
        headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, immutable"}
        if not whole:
            headers["Content-Range"] = f"bytes {first}-{last - 1}/{len(data)}"
        out = web.StreamResponse(status=200 if whole else 206, headers=headers)
        out.content_type, out.content_length = "application/octet-stream", last - first
        await out.prepare(request)
        named = request.query.get("lease", "")
        lease = int(named) if named.isascii() and named.isdigit() and len(named) <= 15 else -1
        view = memoryview(data)
        for at in range(first, last, CHUNK):
            piece = view[at : min(at + CHUNK, last)]
            async with asyncio.timeout(STALL + len(piece) / SLOWEST):
                await out.write(piece)
            self._sent[client, lease] += len(piece)
            if len(self._sent) > FETCHES:
                del self._sent[next(iter(self._sent))]
            self._meters.sent.inc(len(piece))
        await out.write_eof()
        return out

    # --- updates -----------------------------------------------------------------------------------------

    async def progress(self, request: web.Request) -> web.Response:
        client, lease = self._front.session(request).client, int(request.match_info["lease"])
        if self._conflicts(client, lease, bytes.fromhex(request.match_info["digest"])):
            return answer(Progress(0, "conflict"))
        said = await self._desk.call(lambda host: host.said(client, lease))
        return answer(Progress(self._uploads.offset(client, lease), said))

    def _conflicts(self, client: int, lease: int, digest: bytes) -> bool:
        """Whether another update was handed in for a lease.

        Raises:
            Rejected: one is being handed in, which may turn out to be damaged.
        """
        if self._digests.get(lease, digest) == digest:
            return False
        if self._uploads.busy(client, lease):
            raise Rejected(503, "busy", "another update of this lease is on its way", 0.1)
        return True

    async def update(self, request: web.Request) -> web.Response:
        client, lease_id = self._front.session(request).client, int(request.match_info["lease"])
        digest = digest_of(request.headers.get(protocol.DIGEST, ""))
        offset, length = (_number(request, name) for name in (protocol.OFFSET, protocol.LENGTH))
        if digest is None:
            raise Rejected(400, "digest", "an update names its digest")
        lease = self._host.server.view.leases.get(lease_id)  # a look at one entry, whole or absent
        if self._conflicts(client, lease_id, digest):
            return answer(Progress(0, "conflict"))
        if lease is None or lease.client != client or lease.issued < 0:
            return await self._answered(client, lease_id)
        lease, book = replace(lease), self._host.book
        try:
            ranking = book.ranking(lease.task, lease.cover)  # such looks too: a ranking does not change once it is made
            most = book.update_size(lease)[0] + protocol.HEAD + protocol.SIZES
        except InvalidInput:  # its epoch is over, and so is the lease
            return await self._answered(client, lease_id)
        if not 0 < length <= most:
            raise Rejected(413, "size", f"an update of {length} bytes; this task takes at most {most}")
        try:
            part = self._uploads.begin(client, lease_id, length, digest)
        except OSError as e:
            raise _no_room(e) from None
        if part is None:
            raise Rejected(503, "busy", "this update, or too many others, are on their way", 0.1)
        if part.offset != offset:
            return answer(Progress(part.offset), 409)
        if not await self._receive(request, part):
            return answer(Progress(part.offset))
        with self._meters.accept.time():
            return await self._submit(client, lease, ranking, part)

    async def _receive(self, request: web.Request, part: Part) -> bool:
        """Take in what is sent; whether the update is whole."""

        def take(chunk: bytes) -> None:
            try:
                self._uploads.append(part, chunk)
            except OSError as e:
                self._uploads.release(part)
                raise _no_room(e) from None
            self._meters.received.inc(len(chunk))

        part.busy = True
        try:
            await read(request, part.length - part.offset, take)
        finally:
            part.busy = False
        return part.offset == part.length

    async def _submit(self, client: int, lease: Lease, ranking: Ranking | None, part: Part) -> web.Response:
        """Have a whole update decoded off the loop and dealt with by the core, and wait for the answer.

        Whoever sent it may be gone before that: the part is kept until the core has dealt with it.
        """
        handled: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        part.busy = True
        with self._exchanges.answers.wait(client, lease.id) as coming:

            def dealt_with(handled: asyncio.Future[bool]) -> None:
                error = handled.exception()
                self._uploads.release(part)
                if error is not None or not handled.result():
                    self._digests.pop(lease.id, None)
                    if not coming.done():
                        coming.set_exception(error or Spoilt())

            self._digests[lease.id] = part.digest
            if len(self._digests) > REMEMBERED:
                self._digests.popitem(last=False)
            handled.add_done_callback(dealt_with)
            self._pool.submit(self._hand_in, client, lease, ranking, part, handled)
            try:
                async with asyncio.timeout(self._hold):
                    said = await coming
            except TimeoutError:
                return answer(Progress(part.length))
            except Spoilt:
                return answer(Progress(0), 409)
        assert isinstance(said, Answer), "an update is answered"
        return answer(Progress(part.length, said.reason))

    async def _answered(self, client: int, lease: int) -> web.Response:
        """What became of an update whose lease is not open."""
        self._uploads.drop(client, lease)
        said = await self._desk.call(lambda host: host.said(client, lease))
        return answer(Progress(0, said))

    def _hand_in(
        self, client: int, lease: Lease, ranking: Ranking | None, part: Part, handled: "asyncio.Future[bool]"
    ) -> None:
        """In a decoder's thread: give an update to the core; ``handled``, in the end: whether it was whole."""

        def act(host: Host) -> bool:
            if update is not None:
                host.receive(update, host.now)
            elif text:
                host.receive(Told(client, on.Failed(lease.id, client, text)), host.now)
                host.outbox.append(Answer(client, lease.id, text))
            return data is not None

        update, text = None, ""
        try:
            if (data := part.whole()) is not None:
                update = self._decode(client, lease, ranking, data)
        except InvalidInput as e:
            text = f"malformed: {e}"[: protocol.REASON]
        except Exception as e:
            handled.get_loop().call_soon_threadsafe(handled.set_exception, e)
            return
        self._desk.hand(act, handled)

    def _decode(self, client: int, lease: Lease, ranking: Ranking | None, data: bytes) -> Update:
        head, update = protocol.split_update(data)
        task = self._setup.tasks[lease.task]
        _check(head, task.local.samples(int(task.samples[client])), self._needs[lease.task])
        sent = Sent(update, head.samples, head.metrics)
        decoded = decode(sent, self._setup.strategy.tasks[lease.task].uplink, task.schema, lease, ranking)
        if np.isfinite(largest := float(np.abs(decoded.delta).max(initial=0.0))) and largest > LARGEST:
            raise InvalidInput(f"a coordinate of {largest:.3g}; at most {LARGEST:g}")
        return Update(client, lease.id, head.samples, head.metrics, head.start, len(update), update, decoded)


def _no_room(error: OSError) -> Rejected:
    """A large update goes to a file, and there is no room for it."""
    return Rejected(503, "disk", f"no room for updates: {error.strerror}", 5.0)


def _check(head: Head, most: int, needs: frozenset[str]) -> None:
    """What a device says about its work must be possible, and all that policies want to know."""
    if missing := needs - head.metrics.keys():
        raise InvalidInput(f"metrics: no {min(missing)}, which this run's policies need")
    if head.samples > most:
        raise InvalidInput(f"samples = {head.samples}: this lease has at most {most}")


def _number(request: web.Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Rejected(400, "invalid", f"{name}: {text[:40]!r}; give a number of bytes")
    return int(text)
