"""What a request passes before anything is done for it: quotas, then its claim, then its size, then its digest.

Nothing is read of a body before its sender is known, and never more of it than its kind may have.
"""

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from logging import getLogger
from weakref import WeakSet

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from hocket.errors import InvalidInput
from hocket.service import protocol
from hocket.service.identity import Claim, digest_header, digest_of, request_text, verified
from hocket.service.limits import Quota
from hocket.service.protocol import Body, Problem
from hocket.service.register import Register
from hocket.service.sessions import Session, Sessions
from hocket.service.watch import Meters

STALL = 10.0  # seconds that a body may stand still
SLOWEST = 1024  # bytes per second of a body, averaged, after the first STALL seconds
EMPTY = digest_header(b"")
CLAIM = web.RequestKey("claim", Claim)

LOG = getLogger("hocket.service")
"""Of errors of ours; what is no HTTP is its sender's, who could fill a disk with it otherwise."""
LOG.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Rejected(Exception):
    """A request that is not done; ``why`` is counted."""

    def __init__(self, status: int, why: str, sentence: str, retry: float = 0.0) -> None:
        super().__init__(sentence)
        self.status, self.why, self.retry = status, why, retry


class Front:
    """Knows who may ask for what; ``run`` and ``term`` are what signatures must name."""

    def __init__(
        self, run: str, term: int, register: Register, sessions: Sessions, meters: Meters, failures: Quota, each: Quota
    ) -> None:
        self.run, self.term, self.register, self.sessions = run, term, register, sessions
        self._meters, self._failures, self._each = meters, failures, each
        self._proven: WeakSet[asyncio.BaseTransport] = WeakSet()
        self._answering: set[asyncio.BaseTransport | None] = set()

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn rejections into answers, and slow down addresses that cause them, but for sessions that are open."""
        try:
            claim = Claim.read(request.headers.get(protocol.AUTHORIZATION, ""))
            known = claim is not None and self.sessions.find(claim.session) is not None
            if claim is not None:
                request[CLAIM] = claim
            if not known and (wait := self._failures.wait(request.remote)):
                raise Rejected(429, "address", "too many rejected requests from this address", wait)
            return await (handler(request) if known else self._stranger(request, handler))
        except Rejected as e:
            if e.status in (400, 401, 403):
                self._failures.take(request.remote)
            self._meters.rejected.labels(e.why).inc()
            return answer(Problem(str(e), e.retry), e.status)
        except InvalidInput as e:
            self._failures.take(request.remote)
            self._meters.rejected.labels("invalid").inc()
            return answer(Problem(str(e)), 400)
        except (ConnectionError, TimeoutError) as e:  # whoever asked is gone, or the core is busy
            self._meters.rejected.labels("cut").inc()
            return answer(Problem(f"{type(e).__name__}: come again", 1.0), 503)

    async def _stranger(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Whoever is being answered is not hung up on."""
        transport = request.transport
        self._answering.add(transport)
        try:
            return await handler(request)
        finally:
            self._answering.discard(transport)

    def session(self, request: web.Request) -> Session:
        """Who sends a request.

        Raises:
            Rejected: nobody we know, or a request that was sent before.
        """
        claim = request.get(CLAIM)
        session = None if claim is None else self.sessions.find(claim.session)
        if claim is None or session is None:
            raise Rejected(401, "session", "no such session; open one")
        if wait := self._each.take(session.client):
            raise Rejected(429, "quota", "too many requests of this device", wait)
        digest = request.headers.get(protocol.DIGEST, EMPTY)
        if digest_of(digest) is None:
            raise Rejected(400, "digest", "Repr-Digest: give sha-256=:BASE64: of the body")
        text = request_text(
            self.run, self.term, request.method, request.raw_path, digest, claim.session, claim.number
        )  # fmt: skip
        if not verified(session.key, claim.signature, text):
            raise Rejected(401, "signature", "the signature does not match the request")
        if self.register.client(session.key) != session.client:
            self.sessions.end(session.client)
            raise Rejected(
                403, "revoked", "this key was revoked; to come back, join with a new token and an empty --state folder"
            )
        if not session.takes(claim.number):
            raise Rejected(409, "replay", f"request {claim.number} of this session was made before, or is too old")
        self.sessions.heard(session)
        if request.transport is not None:
            self._proven.add(request.transport)
        return session

    async def hang_up(self, server: web.Server, every: float) -> None:
        """Close connections on which no device has proven who it is in ``every`` s, or twice as many; never returns."""
        before: set[web.RequestHandler] = set()
        while True:
            await asyncio.sleep(every)
            strangers = {c for c in server.connections if c.transport not in self._proven}
            for connection in strangers & before:
                if connection.transport not in self._answering:
                    connection.force_close()
            before = strangers


async def body(request: web.Request, kind: type[protocol.T], limit: int = protocol.CONTROL) -> protocol.T:
    """A small body, checked against its digest if it names one.

    Raises:
        Rejected: too large, too slow, or not what was signed.
        InvalidInput: not of this kind.
    """
    data = bytearray()
    await read(request, limit, data.extend)
    named = request.headers.get(protocol.DIGEST)
    if named is not None and digest_of(named) != sha256(data).digest():
        raise Rejected(400, "digest", "the body is not what its digest names")
    return protocol.decode(bytes(data), kind)


async def read(request: web.Request, limit: int, take: Callable[[bytes], None]) -> None:
    """Give a body to ``take`` as it comes.

    Raises:
        Rejected: more than ``limit`` bytes, announced or sent, or fewer per second than a link has.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Rejected(
            415, "encoding", "a body is sent as it is; what is to be compressed, the task's codec compresses"
        )
    if (request.content_length or 0) > limit:
        raise Rejected(413, "size", f"a body of {request.content_length} bytes; at most {limit}")
    content = request.content
    if content.is_eof():  # it came with its header
        if len(data := content.read_nowait()) > limit:
            raise Rejected(413, "size", f"a body of more than {limit} bytes")
        take(data)
        return
    loop = asyncio.get_running_loop()
    began = looked = loop.time()
    got = 0
    try:
        async with asyncio.timeout(STALL) as patience:
            while chunk := await content.readany():
                got += len(chunk)
                if got > limit:
                    raise Rejected(413, "size", f"a body of more than {limit} bytes")
                now = loop.time()
                if now - began > STALL and got < SLOWEST * (now - began):
                    raise Rejected(408, "slow", f"fewer than {SLOWEST} bytes/s")
                if now - looked > STALL / 8:  # most bodies come at once
                    looked = now
                    patience.reschedule(now + STALL)
                take(chunk)
    except TimeoutError:
        raise Rejected(408, "slow", f"the body stood still for {STALL:g} s") from None


def answer(what: Body, status: int = 200) -> web.Response:
    """A body as a response."""
    headers = {"Retry-After": str(max(1, round(what.retry)))} if isinstance(what, Problem) and what.retry else None
    return web.Response(body=protocol.encode(what), status=status, headers=headers, content_type="application/json")
