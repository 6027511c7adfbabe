"""What an operator may do, over a socket in the run directory: whoever may open the file may use it.

| request | what it does |
|---|---|
| GET /status | how the run stands |
| GET /metrics | Prometheus |
| GET /fleet | how fast devices were measured to be, as a Parquet fleet |
| POST /pause/TASK, /resume/TASK, /end/TASK | no new work; work again; end it |
| POST /drain | pause every task, wait until nothing is in flight, and stop serving; the run can go on later |
| POST /stop | stop serving now; the run can go on later |
| POST /revoke/CLIENT | its key counts no more, its work is given to others |
| POST /invite?count=N or ?client=C | one-time tokens |
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from hocket import events as on
from hocket.errors import HocketError, InvalidInput, StoreFailed
from hocket.events import Event
from hocket.privacy.accountant import ledgers, statement
from hocket.service.desk import Desk
from hocket.service.exchange import Exchanges
from hocket.service.host import Host
from hocket.service.measured import Rates, write_fleet
from hocket.service.plans import Plans
from hocket.service.register import Register
from hocket.service.sessions import Sessions
from hocket.service.uploads import Uploads
from hocket.service.watch import Meters

SOCKET = "operator.sock"
ANSWERS_S = 3.0  # after which a service that says nothing counts as dead


class Operator:
    """Answers operators; ``stop`` ends the service."""

    def __init__(
        self,
        desk: Desk,
        register: Register,
        sessions: Sessions,
        exchanges: Exchanges,
        uploads: Uploads,
        meters: Meters,
        rates: Mapping[int, Rates],
        plans: Plans,
        stop: Callable[[], None],
    ) -> None:
        self._plans = plans
        self._desk, self._register, self._sessions, self._exchanges = desk, register, sessions, exchanges
        self._uploads, self._meters, self._rates, self._stop = uploads, meters, rates, stop
        self._draining: asyncio.Task[None] | None = None

    def table(self) -> list[web.RouteDef]:
        """Every route."""
        return [
            web.get("/status", self.status), web.get("/metrics", self.metrics),
            web.get("/fleet", self.fleet),
            web.post("/pause/{task}", self._telling(on.TaskPaused)),
            web.post("/resume/{task}", self._telling(on.TaskAdded)),
            web.post("/end/{task}", self._telling(lambda task: on.TaskEnded(task, "operator"))),
            web.post("/drain", self.drain), web.post("/stop", self.stop),
            web.post("/revoke/{client:[0-9]{1,9}}", self.revoke), web.post("/invite", self.invite),
        ]  # fmt: skip

    @web.middleware
    async def guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Say what was wrong."""
        try:
            out: web.StreamResponse = await handler(request)
        except (InvalidInput, ValueError) as e:
            return _json({"error": str(e)}, 400)
        except StoreFailed as e:
            return _json({"error": str(e)}, 503)
        return out

    async def status(self, request: web.Request) -> web.Response:
        said, spent = await self._desk.call(lambda host: (self._status(host), ledgers(host.server)))
        private = await asyncio.to_thread(statement, spent)  # the accountant takes seconds to load
        return _json({**said, **({} if private is None else {"privacy": private})})

    def _status(self, host: Host) -> dict[str, Any]:
        state = host.server.state
        tasks = {
            n: {"status": t.status, "version": t.version, "open": t.open, "buffered": len(t.buffer),
                "accepted": t.accepted, "refused": t.refused, **getattr(host.account.curve.last(n), "metrics", {})}
            for n, t in state.tasks.items()
        }  # fmt: skip
        return {
            "finished": state.finished, "time_s": host.now / 1e9, "updates": state.updates, "refused": state.refused,
            "lost": state.lost, "online": len(state.online), "clients": state.clients, "leases": len(state.leases),
            "enrolled": self._register.enrolled, "sessions": len(self._sessions), "shared": self._sessions.shared,
            "term": host.term, "tasks": tasks, **({"no_new_plan": why} if (why := self._plans.trouble) else {}),
        }  # fmt: skip

    async def metrics(self, request: web.Request) -> web.Response:
        online, leases = await self._desk.call(lambda h: (len(h.server.state.online), len(h.server.state.leases)))
        m = self._meters
        for gauge, value in (
            (m.online, online), (m.open, leases), (m.waiting, self._exchanges.waiting),
            (m.sessions, len(self._sessions)), (m.shared, self._sessions.shared), (m.uploads, self._uploads.announced),
        ):  # fmt: skip
            gauge.set(value)
        return web.Response(body=m.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def fleet(self, request: web.Request) -> web.Response:
        clients = await self._desk.call(lambda host: host.server.state.clients)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "fleet.parquet"
            write_fleet(path, self._rates, clients)
            return web.Response(body=path.read_bytes(), content_type="application/vnd.apache.parquet")

    def _telling(self, make: Callable[[str], Event]) -> Any:
        async def tell(request: web.Request) -> web.Response:
            task = request.match_info["task"]

            def act(host: Host) -> dict[str, Any]:
                if task not in host.server.state.tasks:
                    raise InvalidInput(f"no task {task!r}; this run has {', '.join(host.server.state.tasks)}")
                host.tell(make(task))
                host.commit()  # nothing is said to a device, and still it must be so after a crash
                return self._status(host)

            return _json(await self._desk.call(act))

        return tell

    async def drain(self, request: web.Request) -> web.Response:
        def pause(host: Host) -> dict[str, Any]:
            for name in host.server.state.tasks:
                host.tell(on.TaskPaused(name))
            host.commit()
            return self._status(host)

        said = await self._desk.call(pause)
        if self._draining is None:
            self._draining = asyncio.create_task(self._drained())
        return _json(said)

    async def _drained(self) -> None:
        while await self._desk.call(lambda host: len(host.server.state.leases)):
            await asyncio.sleep(0.1)
        self._stop()

    async def stop(self, request: web.Request) -> web.Response:
        said = await self._desk.call(self._status)
        asyncio.get_running_loop().call_soon(self._stop)
        return _json(said)

    async def revoke(self, request: web.Request) -> web.Response:
        client = int(request.match_info["client"])
        clients = await self._desk.call(lambda host: host.server.state.clients)
        if client >= clients:
            raise InvalidInput(f"client {client}: this run has clients 0..{clients - 1}")
        had = await asyncio.to_thread(self._register.revoke, client)
        self._sessions.end(client)
        if had:
            await self._desk.call(lambda host: host.leave(client, "revoked"))
        return _json({"client": client, "revoked": had})

    async def invite(self, request: web.Request) -> web.Response:
        client, count = request.query.get("client"), int(request.query.get("count", "1"))
        if not 1 <= count <= 100_000:
            raise InvalidInput(f"count = {count}: from 1 to 100000 tokens at a time")
        tokens = await asyncio.to_thread(self._register.invite, count, None if client is None else int(client))
        return _json({"tokens": tokens})


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def ask(folder: Path, method: str, path: str) -> bytes:
    """What the service of a run directory answers its operator.

    Raises:
        InvalidInput: nothing serves there, or it objects.
    """
    where = socket_path(folder)

    async def go() -> tuple[int, bytes]:
        connector = aiohttp.UnixConnector(str(where))
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.request(method, f"http://operator{path}") as response,
        ):
            return response.status, await response.read()

    try:
        status, data = asyncio.run(go())
    except (aiohttp.ClientConnectorError, FileNotFoundError) as e:
        if isinstance(e, aiohttp.ClientConnectorError) and isinstance(e.os_error, PermissionError):
            raise InvalidInput(f"{where}: this socket is its server's user's; operate the run as that user") from None
        raise InvalidInput(f"{folder}: nothing serves a run there; give the directory of hocket serve --out") from None
    except aiohttp.ClientError as e:
        raise HocketError(f"{folder}: the service did not answer ({e})") from None
    if status == 200:
        return data
    try:
        said = msgspec.json.decode(data, type=dict[str, str])["error"]
    except (msgspec.DecodeError, KeyError):
        raise HocketError(f"{folder}: the service answered {status} to {path}; is it of another version?") from None
    raise InvalidInput(said) if status == 400 else StoreFailed(said)


async def answers(folder: Path) -> bool:
    """Whether a service of a run directory is there and answers its operator."""
    connector = aiohttp.UnixConnector(str(socket_path(folder)))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=ANSWERS_S)) as http,
            http.get("http://operator/status") as response,
        ):
            return response.status == 200
    except (aiohttp.ClientError, FileNotFoundError, TimeoutError):
        return False


def socket_path(folder: Path) -> Path:
    """Where the operator's socket is; relative, where its whole path would be too long for a socket."""
    where = (folder / SOCKET).absolute()
    return where if len(os.fsencode(where)) < 100 else Path(os.path.relpath(where))
