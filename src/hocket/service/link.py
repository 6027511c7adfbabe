"""A device's way to the server: signed requests, each repeated until it is answered, over sessions that are reopened.

Between two tries it waits longer and longer, with jitter keyed by the device, so that a fleet does not come back all
at once; a time that the server names comes first. Every wait has an end, and no request depends on the wall clock.
"""

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp

from hocket.errors import HocketError, InvalidInput
from hocket.keyed import key as keyed
from hocket.keyed import uniform
from hocket.service import protocol
from hocket.service.identity import Claim, Key, digest_header, enrol_text, request_text, session_text
from hocket.service.keep import Keep, unwritable
from hocket.service.protocol import (
    Body,
    Enrol,
    Enrolled,
    Exchange,
    Hello,
    Instructions,
    Open,
    Opened,
    Problem,
    Progress,
    Step,
    Want,
)
from hocket.service.tls import loopback

FIRST_S, LONGEST_S = 0.1, 30.0  # of a pause between two tries
CONNECT_S, READ_S = 10.0, 20.0
KEEP_S = 20.0  # that a connection is kept for the next request: a handshake costs both sides as much as an update
UNSEEN_S = 10.0  # that a device which never saw its server looks for it
LOUD = 6  # tries in a row, some ten seconds, after which a device says that it waits
_DISK = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.EACCES, errno.EISDIR, errno.ENOTDIR,
    errno.ENOENT, errno.ELOOP,
}  # fmt: skip
PIECE = 1 << 18
STALE = 20  # sessions that may end under one request
T = TypeVar("T")
SHARED_S = 120.0  # of refusals after which a device gives its identity up


class Away(Exception):
    """The server did not answer, or not now; ``retry``: seconds that it named."""

    def __init__(self, why: str, retry: float = 0.0) -> None:
        super().__init__(why)
        self.retry = retry


class Stale(Away):
    """The session is over; open another one."""


class Link:
    """Requests of one device.

    Args:
        url: of the server.
        keep: where key, client and session are remembered.
        context: whom to trust; None for http on a loopback address.
        say: told when the server has been away for a while, and when it is there again.

    Raises:
        InvalidInput: http to another machine.
    """

    def __init__(
        self, url: str, keep: Keep, context: ssl.SSLContext | None, say: Callable[[str], None] = lambda line: None
    ) -> None:
        try:
            parts = urlsplit(url)
            host = "" if parts.port == 0 or parts.query or parts.fragment else parts.hostname or ""
        except ValueError:  # half an IPv6 address, or no such port
            host = ""
        if not host or parts.scheme not in ("https", "http"):
            raise InvalidInput(f"url {url!r}: give https://HOST:PORT")
        if parts.scheme == "http" and not loopback(host):
            raise InvalidInput(f"url {url!r}: http goes to this machine only; use https")
        self._url, self._keep, self._context = url.rstrip("/"), keep, context
        self._key = Key.at(keep.folder / "device.key")
        self._who = int(self._key.public[:15], 16)
        self._http: aiohttp.ClientSession | None = None
        self._lock = asyncio.Lock()
        self._say, self._missed = say, False
        self._session, self._number = "", 0
        self.run, self.term, self.hold = "", 0, 25.0
        self.up = self.down = self.reopened = 0

    async def __aenter__(self) -> "Link":
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S)
        tls = True if self._context is None else self._context
        connector = aiohttp.TCPConnector(ssl=tls, limit=8, keepalive_timeout=KEEP_S)
        self._http = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._http is not None, "entered before"
        await self._http.close()

    # --- requests ----------------------------------------------------------------------------------------

    async def join(self, token: str) -> int:
        """Enrol if need be, and open a session; the client that this device is.

        Raises:
            InvalidInput: the server knows neither the key nor the token, or a device that never saw it finds nobody.
        """
        hello = await self._insist(self._hello, None if self._keep.fact("client") else UNSEEN_S)
        if self._keep.fact("run") not in ("", hello.run):
            raise InvalidInput(
                f"{self._keep.folder} belongs to a device of another run; give another folder, or remove it"
            )
        if not self._keep.fact("client"):
            if not token:
                raise InvalidInput("token: missing; the operator of the run gives one")
            proof = self._key.sign(enrol_text(hello.run, token, self._key.public))
            body = protocol.encode(Enrol(token, self._key.public, proof))
            enrolled = await self._insist(lambda: self._bare("POST", "/v1/enrol", Enrolled, body))
            self._keep.note(client=str(enrolled.client), run=hello.run)
        await self._insist(lambda: self._open(self._session))
        return int(self._keep.fact("client"))

    async def experiment(self) -> str:
        """What is run, in TOML."""

        async def once() -> str:
            async with self._request("GET", "/v1/experiment") as response:
                await _check(response)
                return await response.text()

        return await self._insist(once)

    async def exchange(self, what: Exchange) -> Instructions:
        """Tell and be told; one try, so that what is told is always the newest."""
        timeout = self.hold + READ_S if what.wait else READ_S
        said = await self._json("POST", "/v1/exchange", Instructions, what, timeout)
        self._heard()
        return said

    async def path(self, want: Want) -> tuple[Step, ...] | None:
        """How to get to a node; None: it is gone."""
        return (await self._insist(lambda: self._json("POST", "/v1/path", protocol.Path, want))).steps

    async def part(self) -> None:
        """Say good-bye, once; whether it is heard or not."""
        with suppress(Away, InvalidInput, aiohttp.ClientError, TimeoutError, OSError):
            await self._json("POST", "/v1/leave", Progress, None, 2.0)

    async def download(self, step: Step, lease: int) -> bytes | None:
        """The bytes of an edge, from where an earlier try, or life, left off; None: they are gone."""
        part = self._keep.part(step.digest)

        async def once() -> bool:
            have = part.stat().st_size if part.exists() else 0
            if have >= step.size:
                return True
            headers = {"Range": f"bytes={have}-"} if have else {}
            path = f"/v1/edges/{step.digest}?lease={lease}"
            async with self._request("GET", path, headers=headers) as response:
                if response.status == 404:
                    return False
                await _check(response)
                left = step.size - (have if response.status == 206 else 0)
                with open(part, "ab" if response.status == 206 else "wb") as file:
                    async for piece in response.content.iter_chunked(PIECE):
                        self.down += len(piece)
                        left -= len(piece)
                        if left < 0:
                            raise HocketError(f"edge {step.digest}: more than the {step.size} bytes that it has")
                        file.write(piece)
            if part.stat().st_size < step.size:
                raise Away("the connection ended early")
            return True

        for _ in range(3):
            if not await self._insist(once):
                return None
            data = part.read_bytes()
            part.unlink()
            if sha256(data).hexdigest() == step.digest:
                return data
        raise HocketError(f"edge {step.digest}: three downloads were not what its digest names")

    async def upload(self, lease: int, update: bytes, resume: bool = False) -> str:
        """Send an update until it is answered; "" if it is accepted, else why not.

        ``resume``: an earlier life may have sent a part, or all of it.
        """
        digest, name, known = digest_header(update), sha256(update).hexdigest(), Progress()
        if resume:
            known = await self._insist(lambda: self._known(lease, name))
        while known.answer is None:
            at = min(known.offset, len(update))
            known = await self._insist(lambda at=at: self._send(lease, update, digest, at))  # type: ignore[misc]
        return known.answer

    async def _known(self, lease: int, digest: str) -> Progress:
        return await self._json("GET", f"/v1/updates/{lease}/{digest}", Progress)

    async def _send(self, lease: int, update: bytes, digest: str, at: int) -> Progress:
        headers = {
            protocol.DIGEST: digest, protocol.OFFSET: str(at), protocol.LENGTH: str(len(update)),
            "Content-Type": "application/octet-stream",
        }  # fmt: skip
        try:
            async with self._request(
                "PATCH", f"/v1/updates/{lease}", headers=headers, data=update[at:], timeout=self.hold + READ_S
            ) as response:
                if response.status == 409:
                    return protocol.decode(await response.read(), Progress)
                await _check(response)
                said = protocol.decode(await response.read(), Progress)
        except (aiohttp.ClientError, TimeoutError, OSError):
            said = await self._known(lease, sha256(update).hexdigest())
            self.up += max(0, said.offset - at)
            return said
        self.up += len(update) - at
        return said

    # --- how ---------------------------------------------------------------------------------------------

    async def _insist(self, once: Callable[[], Awaitable[T]], patience: float | None = None) -> T:
        """Try until there is an answer, over a new session if the old one is over; for so many seconds (None: ever)."""
        tries = stale = 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            used, moved = self._session, self.up + self.down
            try:
                found = await once()
                self._heard()
                return found
            except Stale as e:
                stale += 1
                if stale > STALE:
                    raise InvalidInput(f"{self._url}: {e}, over {STALE} new sessions in a row") from None
                await self.renew(used, e.retry)
            except (Away, aiohttp.ClientError, TimeoutError, OSError) as e:
                if isinstance(e, aiohttp.ClientConnectorCertificateError):
                    raise InvalidInput(f"{self._url}: {e.certificate_error}; give the right --ca") from None
                if isinstance(e, OSError) and not isinstance(e, aiohttp.ClientError) and e.errno in _DISK:
                    raise unwritable(self._keep.folder, e) from e
                why = " ".join(str(e).split()) or type(e).__name__
                if patience is not None and isinstance(e, aiohttp.ServerDisconnectedError):
                    why = "it hangs up, as one does that wants https, or a --certificate"
                if patience is not None and loop.time() - began > patience:
                    raise InvalidInput(
                        f"{self._url}: nobody answers ({why}); is the address right, and the server up?"
                    ) from None
                tries = 0 if self.up + self.down > moved else tries + 1
                await self.pause(tries, getattr(e, "retry", 0.0), why)

    def _heard(self) -> None:
        if self._missed:
            self._missed = False
            self._say(f"{self._url} is there again")

    async def pause(self, tries: int, named: float = 0.0, why: str = "") -> None:
        """Wait before the next try, after so many that failed; at least as long as the server named, s."""
        if tries >= LOUD and not self._missed and why:
            self._missed = True
            self._say(f"{self._url}: nobody answers ({why}); trying on")
        longest = min(FIRST_S * 2.0 ** min(tries, 16), LONGEST_S)
        jitter = 0.5 + uniform(keyed(self._who, "pause", tries, self._number))
        await asyncio.sleep(max(named, longest) * jitter)

    @property
    def session(self) -> str:
        """The name of the session that requests carry."""
        return self._session

    async def renew(self, over: str, named: float = 0.0) -> None:
        """Open a session in place of one that is over, unless that was done."""
        await self.pause(0, named)
        await self._insist(lambda: self._open(over))

    async def _hello(self) -> Hello:
        return await self._bare("GET", "/v1/hello", Hello)

    async def _open(self, before: str) -> None:
        loop = asyncio.get_running_loop()
        async with self._lock:
            if self._session != before:
                return  # somebody else has opened one meanwhile
            until = loop.time() + SHARED_S
            while True:
                hello = await self._hello()
                previous = self._keep.fact("session")
                proof = self._key.sign(session_text(hello.run, hello.term, hello.challenge, previous))
                body = protocol.encode(Open(self._key.public, hello.challenge, previous, proof))
                try:
                    opened = await self._bare("POST", "/v1/session", Opened, body)
                except Shared as e:
                    if loop.time() > until:
                        raise InvalidInput(f"{e}; give this one a folder and a token of its own") from None
                    await self.pause(3, min(e.retry, 5.0))
                    continue
                break
            self._keep.note(session=opened.session)
            self.run, self.term, self.hold = hello.run, hello.term, opened.hold
            self._session, self._number = opened.session, 0
            self.reopened += 1

    async def _json(
        self, method: str, path: str, kind: type[protocol.T], body: Body | None = None, timeout: float = READ_S
    ) -> protocol.T:
        data = b"" if body is None else protocol.encode(body)
        headers = {protocol.DIGEST: digest_header(data), "Content-Type": "application/json"}
        async with self._request(method, path, headers=headers, data=data, timeout=timeout) as response:
            await _check(response)
            return protocol.decode(await response.read(), kind)

    def _request(
        self, method: str, path: str, *, headers: Mapping[str, str] = {}, data: bytes | None = None,
        timeout: float | None = None,
    ) -> "aiohttp.client._RequestContextManager":  # fmt: skip
        """One signed request."""
        assert self._http is not None, "entered before"
        self._number += 1
        digest = headers.get(protocol.DIGEST) or digest_header(b"")
        text = request_text(self.run, self.term, method, path, digest, self._session, self._number)
        claim = Claim(self._session, self._number, self._key.sign(text))
        signed = {**headers, protocol.DIGEST: digest, protocol.AUTHORIZATION: claim.header()}
        limit = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=timeout or READ_S)
        return self._http.request(
            method, self._url + path, headers=signed, data=data, timeout=limit, allow_redirects=False
        )

    async def _bare(self, method: str, path: str, kind: type[protocol.T], data: bytes = b"") -> protocol.T:
        """One request that is not signed."""
        assert self._http is not None, "entered before"
        url = self._url + path
        async with self._http.request(method, url, data=data or None, allow_redirects=False) as response:
            await _check(response)
            return protocol.decode(await response.read(), kind)


class Shared(Away):
    """Another device has this one's identity."""


async def _check(response: aiohttp.ClientResponse) -> None:
    """Raise what a status means.

    Raises:
        Stale, Shared, Away: try again, over a new session, or later.
        InvalidInput: it will not be done.
    """
    if response.status < 300:
        return
    try:
        problem = protocol.decode(await response.read(), Problem)
    except InvalidInput:
        problem = Problem(f"status {response.status}; is the address that of a hocket server, of this version?")
    if response.status == 401:
        raise Stale(problem.error, problem.retry)
    if response.status == 409:
        raise (Shared if response.url.path == "/v1/session" else Stale)(problem.error, problem.retry)
    if response.status in (408, 429) or response.status >= 500:
        raise Away(problem.error, problem.retry)
    raise InvalidInput(f"{response.url.path}: {problem.error}")
