"""The server of a run: the core at its desk, devices over HTTPS, operators over a socket, results when it is over."""

import asyncio
import gc
import os
import platform
import resource
import signal
import ssl
import sys
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from aiohttp import web
from msgspec import Struct

from hocket.errors import InvalidInput, StoreFailed
from hocket.experiment import python_task
from hocket.experiment.document import FILE, Experiment
from hocket.files import replace
from hocket.record.log import EventLog
from hocket.record.summary import summarise
from hocket.schedule import check_real
from hocket.service.desk import Desk
from hocket.service.door import Door
from hocket.service.edges import Edges
from hocket.service.exchange import Exchanges
from hocket.service.front import LOG, Front
from hocket.service.host import Host
from hocket.service.limits import Quota
from hocket.service.measured import Rates, write_fleet
from hocket.service.messages import Message
from hocket.service.operate import Operator, answers, socket_path
from hocket.service.plans import Plans
from hocket.service.register import Register
from hocket.service.routes import Routes
from hocket.service.sessions import Sessions
from hocket.service.tls import development, loopback, server_context
from hocket.service.uploads import Uploads
from hocket.service.watch import Meters, Watch
from hocket.simulation import checkpoint
from hocket.simulation.run import Run
from hocket.store import SQLiteStore
from hocket.store.aside import Aside
from hocket.store.journal import EVERY, state_digest
from hocket.store.secret import take
from hocket.store.spill import beside

JOURNAL, REGISTER, TLS, UPLOADS = "journal", "register.sqlite", "tls", "uploads"
MEASURED = "measured.parquet"
MEASURE = ("finite",)
BACKLOG = 4096
READ = 1 << 16  # bytes read from a connection at once; asyncio keeps a buffer for so many (256 KiB) per TLS connection
YOUNG = 10_000  # objects made and not let go of between two collections: what a request leaves behind has no cycles
HEADER_S = 5.0  # for a handshake, and for a first request by a device that is known
KEEP_S = 30.0  # between two requests of a connection; longer than devices keep theirs


class Options(Struct, frozen=True, kw_only=True):
    """How a run is served.

    Args:
        host: address to listen on; ``port`` 0 is any that is free.
        certificate: PEM file, with ``key``; left out, a certificate authority is made for the run (development).
        names: names and addresses that a made certificate is for, besides the host's.
        clients: PEM file of the authority that devices' own certificates must come from (mutual TLS).
        plain: no TLS; on loopback addresses only.
        hold: seconds that a long poll waits.
        patience: seconds of silence after which a device counts as gone.
        every: accepted updates from one checkpoint to the next.
        part_limit: bytes of updates that may be on their way at once.
        rate: requests per second of one device; ``failures``: rejected requests per second of one address.
        connections: that one address may have open at once; all together have three quarters of the files that the
            process may open (:mod:`hocket.service.door`).
        linger: seconds to wait, at the end, for devices to hear of it.
    """

    host: str = "127.0.0.1"
    port: int = 8440
    certificate: Path | None = None
    key: Path | None = None
    names: tuple[str, ...] = ()
    clients: Path | None = None
    plain: bool = False
    hold: float = 25.0
    patience: float = 60.0
    every: int = EVERY
    part_limit: int = 1 << 31
    rate: float = 200.0
    failures: float = 50.0
    connections: int = 10_000
    linger: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.hold < self.patience:
            raise InvalidInput(f"hold = {self.hold}, patience = {self.patience}: a poll must end before patience does")
        if self.connections < 1:
            raise InvalidInput(f"connections = {self.connections}: must be 1 or more per address")
        if not 0 <= self.port < 1 << 16:
            raise InvalidInput(f"port = {self.port}: must be from 1 to 65535, or 0 for any")
        if self.every < 1:
            raise InvalidInput(f"checkpoint = {self.every}: must be 1 or more updates")
        if (self.certificate is None) != (self.key is None):
            raise InvalidInput("certificate, key: give both, or neither")
        if self.plain and not loopback(self.host):
            raise InvalidInput(
                f"host = {self.host}: not without TLS, others can reach it; leave --plain out, or listen on 127.0.0.1"
            )
        if not self.plain and self.certificate is None and not loopback(self.host) and not self.names:
            raise InvalidInput(
                f"host = {self.host}: say by what name devices reach this server (--name), or give --certificate and "
                "its --key"
            )


class Serving(Struct):
    """A service that is up: its address, what devices must trust, and how long it took to recover, s."""

    url: str
    ca: Path | None
    host: Host
    desk: Desk
    register: Register
    recovery: float


def tls_of(options: Options, folder: Path) -> tuple[ssl.SSLContext | None, Path | None]:
    """The context to listen with, and the file of the authority that devices must trust if one was made."""
    if options.plain:
        return None, None
    if options.certificate is not None and options.key is not None:
        return server_context(options.certificate, options.key, options.clients), None
    names = tuple(dict.fromkeys((options.host, "localhost", "127.0.0.1", "::1", *options.names)))
    ca, certificate, key = development(folder / TLS, names)
    return server_context(certificate, key, options.clients), ca


class Service:
    """Serves an experiment out of a run directory.

    Args:
        experiment: what is run.
        folder: where it is kept; a run that is there goes on.
        options: how.
    """

    def __init__(self, experiment: Experiment, folder: Path, options: Options) -> None:
        self.experiment, self.folder, self.options = experiment, folder, options
        self.setup = experiment.setup(MEASURE)
        check_real(self.setup.schedule)
        if bare := [n for n, t in self.setup.tasks.items() if t.learner is None]:
            raise InvalidInput(f"task {bare[0]!r} is size-only; give it a learner, or simulate the run")
        if code := [n for n, t in experiment.table["tasks"].items() if t["kind"] == python_task.KIND]:
            raise InvalidInput(
                f"task {code[0]!r} is made by a Python file, and devices run no code that a server names; simulate the "
                "run, or serve a task that hocket has and give devices their own learners (hocket join --learner)"
            )
        self._error: BaseException | None = None
        self._stop = asyncio.Event()
        self._watching: list[asyncio.Task[None]] = []
        self.parts: Uploads
        self.edges: Edges

    def run(self, up: Callable[[Serving], None] = lambda serving: None) -> dict[str, Any] | None:
        """Serve until the run is over, or somebody stops it; the summary, or None if it is to go on later.

        Raises:
            InvalidInput: the directory holds another run, or the address cannot be used.
            Damaged, Differs: its journal is not whole, or does not replay.
            StoreFailed: the disk takes no writes; what was acknowledged is in the journal.
        """

        async def until_signalled() -> dict[str, Any] | None:
            loop, numbers = asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT)
            for number in numbers:
                loop.add_signal_handler(number, self.stop)
            return await self.serve(settled)

        def settled(serving: Serving) -> None:
            gc.collect()
            gc.freeze()  # libraries and the experiment stay: a full collection over them would make updates wait
            gc.set_threshold(YOUNG)
            up(serving)

        SSLProtocol.max_size = READ
        _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # a connection is one
        return asyncio.run(until_signalled())

    def stop(self) -> None:
        """End the service; a run that is not over can go on later."""
        self._stop.set()

    async def serve(self, up: Callable[[Serving], None] = lambda serving: None) -> dict[str, Any] | None:
        """As :meth:`run`, in an event loop that is there; signals are somebody else's."""
        try:
            return await self._serve(up)
        except OSError as e:  # all that is left to go wrong here are files of the run
            why = e.strerror or " ".join(str(e).split())
            raise StoreFailed(
                f"{e.filename or self.folder}: {why}; make room or repair the disk, then start again"
            ) from e

    async def _serve(self, up: Callable[[Serving], None]) -> dict[str, Any] | None:
        self._begin()
        o = self.options
        if await answers(self.folder):
            raise InvalidInput(
                f"{self.folder}: another process serves this run; end it first with hocket operate {self.folder} stop"
            )
        meters, exchanges = Meters(), Exchanges()
        context, ca = tls_of(o, self.folder)
        tasks, events = tuple(self.setup.tasks), self.folder / "events"
        aside = Aside()
        log = EventLog(tasks, events, len(list(events.glob("*.parquet"))), aside.give)
        register = Register(self.folder / REGISTER, self._clients)
        loop, rates = asyncio.get_running_loop(), dict[int, Rates]()
        desk = Desk(
            lambda say: self._host(say, Watch(meters, log), plans, aside), exchanges.deliver, self._failed,
            o.patience / 4,
        )  # fmt: skip

        def no_plan(error: BaseException) -> None:
            loop.call_soon_threadsafe(self._failed, error)

        plans = Plans(self.setup, self.experiment.fleet, rates, desk.tell, no_plan)
        began = monotonic()
        with ExitStack() as undo:
            undo.callback(register.close)
            undo.callback(aside.close)
            door = undo.enter_context(self._door())  # first: who cannot listen must not take a run over from who can
            host = await desk.open()
            undo.pop_all()
        recovery = monotonic() - began
        sessions = Sessions(monotonic, o.hold + 5.0)
        failures, each = Quota(o.failures, 4 * o.failures, monotonic), Quota(o.rate, 4 * o.rate, monotonic)
        front = Front(self.setup.digest(), host.term, register, sessions, meters, failures, each)
        edges = self.edges = Edges(host.book.read)
        host.read = edges.read
        uploads = self.parts = Uploads(self.folder / UPLOADS, monotonic, o.patience, o.part_limit)
        pool = ThreadPoolExecutor(max(2, (os.cpu_count() or 2) // 2), "decode")
        routes = Routes(
            self.setup, self.experiment.told, desk, host, front, exchanges, edges, uploads, meters, pool, o.hold, rates
        )
        operator = Operator(desk, register, sessions, exchanges, uploads, meters, rates, plans, self.stop)
        runners: list[web.AppRunner] = []
        listening: asyncio.Server | None = None
        sweeping = asyncio.create_task(_sweep(uploads, o.patience / 4))
        try:
            listening = await self._listen(door, routes, front, context, runners)
            port = listening.sockets[0].getsockname()[1]
            await self._listen_to_operator(operator, runners)
            scheme = "http" if context is None else "https"
            up(Serving(f"{scheme}://{_bracketed(o.host)}:{port}", ca, host, desk, register, recovery))
            await self._until_over(desk, routes, sessions, exchanges)
            if self._error is None and any(r.known for r in routes.rates.values()):
                replace(self.folder / MEASURED, lambda p: write_fleet(p, routes.rates, self._clients))
        finally:
            for task in (sweeping, *self._watching):
                task.cancel()
            routes.ready = False
            if listening is not None:
                listening.close()
            door.close()
            exchanges.release()
            for runner in runners:
                await runner.cleanup()
            await asyncio.to_thread(desk.close)
            plans.close()
            pool.shutdown(cancel_futures=True)
            register.close()
            (self.folder / "operator.sock").unlink(missing_ok=True)
            await asyncio.to_thread(aside.close)
        if self._error is not None:
            raise self._error
        log.flush()
        return self._results(host, log) if host.server.finished else None

    # --- parts of it -------------------------------------------------------------------------------------

    @property
    def _clients(self) -> int:
        return next(iter(self.setup.tasks.values())).clients

    def _begin(self) -> None:
        """Make the run directory, or make sure that it holds this run."""
        from hocket.experiment import folder as runs

        if self.folder.exists() and not self.folder.is_dir():
            raise InvalidInput(f"{self.folder} is a file; give a directory")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / FILE
        if path.exists() and not runs.same(self.experiment, self.folder):
            raise InvalidInput(f"{self.folder} holds another experiment; choose another directory")
        if (self.folder / "summary.json").exists():
            raise InvalidInput(f"{self.folder} holds a run that is over; choose another directory")
        if not path.exists():
            replace(path, lambda p: p.write_text(self.experiment.toml(), encoding="utf-8"))
            for name, source in self.experiment.files.items():
                data = source.read_bytes()
                replace(self.folder / name, lambda p, data=data: p.write_bytes(data))  # type: ignore[misc]

    def _host(self, say: Callable[[Message], None], watch: Watch, plans: Plans, aside: Aside) -> Host:
        """In the core's thread: SQLite wants to be used where it was opened."""
        hidden = any(part.privacy is not None for part in self.setup.strategy.tasks.values())
        secret = take(self.folder / JOURNAL) if hidden else None
        store = SQLiteStore(self.folder / JOURNAL, aside=aside)
        return Host(
            self.setup, store, say, watch, step=lambda name: None, secret=secret,
            every=self.options.every, patience=int(self.options.patience * 1e9), down=self.experiment.fleet.down,
            everybody=False, plan=plans.ask, log=watch, spill=beside(self.folder / JOURNAL),
        )  # fmt: skip

    def _failed(self, error: BaseException) -> None:
        self._error = error
        self._stop.set()

    def _door(self) -> Door:
        o = self.options
        try:
            return Door.open(o.host, o.port, o.connections, BACKLOG)
        except OSError as e:
            raise InvalidInput(f"host = {o.host}, port = {o.port}: {e.strerror or e}; choose another") from None

    async def _listen(
        self, door: Door, routes: Routes, front: Front, context: ssl.SSLContext | None, runners: list[web.AppRunner]
    ) -> asyncio.Server:
        app = web.Application(middlewares=[front.guard], client_max_size=0)
        app.add_routes(routes.table())
        runner = web.AppRunner(
            app, access_log=None, handle_signals=False, handler_cancellation=True, keepalive_timeout=KEEP_S,
            shutdown_timeout=5.0, lingering_time=1.0, auto_decompress=False, logger=LOG,
        )  # fmt: skip
        await runner.setup()
        runners.append(runner)
        loop = asyncio.get_running_loop()
        assert runner.server is not None, "it was set up"
        self._watching.append(asyncio.create_task(front.hang_up(runner.server, HEADER_S)))
        handshake = None if context is None else HEADER_S
        return await loop.create_server(
            runner.server, sock=door, ssl=context, backlog=BACKLOG, ssl_handshake_timeout=handshake
        )

    async def _listen_to_operator(self, operator: Operator, runners: list[web.AppRunner]) -> None:
        app = web.Application(middlewares=[operator.guard])
        app.add_routes(operator.table())
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        runners.append(runner)
        where = socket_path(self.folder)
        where.unlink(missing_ok=True)
        before = os.umask(0o077)
        try:
            await web.UnixSite(runner, str(where)).start()
        finally:
            os.umask(before)

    async def _until_over(self, desk: Desk, routes: Routes, sessions: Sessions, exchanges: Exchanges) -> None:
        """Wait for the end of the run, and then until devices know; or for somebody who stops the service."""
        stopped = asyncio.create_task(self._stop.wait())
        over = asyncio.create_task(desk.over.wait())
        try:
            await asyncio.wait({stopped, over}, return_when=asyncio.FIRST_COMPLETED)
            exchanges.release()
            deadline = monotonic() + self.options.linger
            while len(routes.told) < len(sessions) and monotonic() < deadline and not self._stop.is_set():
                await asyncio.wait({stopped}, timeout=0.05)
        finally:
            stopped.cancel()
            over.cancel()

    def _results(self, host: Host, log: EventLog) -> dict[str, Any]:
        """Write what a finished run leaves."""
        account, setup = host.account, self.setup
        summary = summarise(
            host.server, account.ledger, account.totals(), account.curve, host.now, setup.until, setup.seed
        )  # fmt: skip
        machine = {
            "python": sys.version.split()[0], "numpy": np.__version__, "platform": platform.platform(),
            "term": host.term, "digest": state_digest(host.server, host.book),
        }  # fmt: skip
        models = {n: host.book.model(n) for n in setup.tasks}
        run = Run(setup.tasks, setup.strategy, summary, machine, account.curve, models, log, self.folder)
        checkpoint.finish(self.folder, run)
        return summary


async def _sweep(uploads: Uploads, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        uploads.sweep()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
