"""A served run within a test: the service in this loop or in a process of its own, devices by hand or for real."""

import asyncio
import os
import signal
import sys
import tomllib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from hocket import actions as do
from hocket.experiment import document
from hocket.experiment.document import Experiment
from hocket.lease import Lease
from hocket.received import Received
from hocket.service import join
from hocket.service.keep import Keep
from hocket.service.link import Link
from hocket.service.protocol import Exchange, Head, Instructions, join_update
from hocket.service.serve import MEASURE, Options, Service, Serving
from hocket.service.tls import client_context
from hocket.setup import Setup
from hocket.simulation.replay import Replayed, replay
from hocket.store import read
from hocket.store.journal import End, Header, decode

EXPERIMENT = """
seed = 3
[task]
kind = "gaussian"
clients = {clients}
samples = 40
[fleet]
kind = "synthetic"
[strategy]
use = "fedbuff"
buffer = {buffer}
in_flight = {in_flight}
{strategy}
[until]
updates = {updates}
"""


def experiment(
    clients: int = 4, buffer: int = 2, in_flight: int = 3, updates: int = 1000, strategy: str = ""
) -> Experiment:
    """A small task, quick to train."""
    return document.parse(tomllib.loads(text(clients, buffer, in_flight, updates, strategy)))


def text(clients: int = 4, buffer: int = 2, in_flight: int = 3, updates: int = 1000, strategy: str = "") -> str:
    """The file of such an experiment."""
    return EXPERIMENT.format(
        clients=clients, buffer=buffer, in_flight=in_flight, updates=updates, strategy=strategy
    )  # fmt: skip


def setup_of(e: Experiment) -> Setup:
    """What the service makes of an experiment."""
    return e.setup(MEASURE)


@asynccontextmanager
async def served(e: Experiment, folder: Path, **options: Any) -> AsyncIterator[tuple[Service, Serving]]:
    """The service in this event loop; it ends with the block, the run goes on if it is served again."""
    service = Service(e, folder, Options(**{"port": 0, "linger": 3.0, "hold": 5.0, "patience": 20.0, **options}))
    up: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(service.serve(up.set_result))
    await asyncio.wait({task, up}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield service, up.result()
    finally:
        service.stop()
        await task


class Hand:
    """A device that does what a test says; it trains nothing."""

    def __init__(self, link: Link, keep: Keep, client: int, setup: Setup) -> None:
        self.link, self.keep, self.client, self.setup = link, keep, client, setup

    @classmethod
    @asynccontextmanager
    async def join(cls, url: str, ca: Path | None, folder: Path, setup: Setup, token: str = "") -> AsyncIterator[Self]:
        """A device with its memory in a folder."""
        keep = Keep(folder)
        try:
            async with Link(url, keep, client_context(ca) if ca else None) as link:
                yield cls(link, keep, await link.join(token), setup)
        finally:
            keep.close()

    async def poll(self, *leases: int, wait: bool = False, **told: Any) -> Instructions:
        """One exchange."""
        return await self.link.exchange(Exchange(leases, wait=wait, **told))

    async def work(self) -> Lease:
        """A lease to work on, as soon as there is one."""
        while not (said := await self.poll(wait=True)).work:
            assert not said.finished, said.finished
        return said.work[0]

    def update(self, lease: Lease, value: float | None = None, samples: int = 5, **metrics: float) -> bytes:
        """An update of a lease: the same numbers for the same lease, or ``value`` everywhere."""
        task = self.setup.tasks[lease.task]
        delta = np.random.default_rng(lease.seed).normal(0, 0.01, task.schema.size).astype(np.float32)
        if value is not None:
            delta[...] = value
        data, _ = self.setup.strategy.tasks[lease.task].uplink.encode(None, delta, None, task.schema, lease)
        start = "" if lease.node is None else lease.node.digest
        return join_update(Head(samples, {"loss": 1.0, **metrics}, start), data)

    async def submit(self, lease: Lease, **how: Any) -> str:
        """Send an update of a lease; what was answered."""
        return await self.link.upload(lease.id, self.update(lease, **how))


@asynccontextmanager
async def hands(serving: Serving, folder: Path, setup: Setup, count: int) -> AsyncIterator[list[Hand]]:
    """Devices 0 to ``count`` - 1."""
    async with AsyncExitStack() as stack:
        out = []
        for c in range(count):
            (token,) = serving.register.invite(client=c)
            hand = Hand.join(serving.url, serving.ca, folder / f"hand{c}", setup, token)
            out.append(await stack.enter_async_context(hand))
        yield out


async def devices(serving: Serving, folder: Path, count: int, **options: Any) -> list["asyncio.Task[str]"]:
    """Devices that work for real, as tasks of this loop."""
    tokens = serving.register.invite(count)
    return [
        asyncio.create_task(
            join.work(serving.url, folder / f"device{i}", join.Options(token=t, ca=serving.ca, **options))
        )
        for i, t in enumerate(tokens)
    ]


class Process:
    """``hocket serve`` in a process of its own, to be killed and started again at the same address.

    ``file``: the experiment, in place of one that is ``written``; ``python``: what comes between python and serve.
    """

    def __init__(
        self, folder: Path, file: str = "", python: tuple[str, ...] = ("-m", "hocket"), every: int = 1_000_000,
        **written: Any,
    ) -> None:  # fmt: skip
        self.folder, self.port, self.url, self.lives = folder, 0, "", 0
        self._python, self._every = python, every
        self.recoveries: list[float] = []
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file.toml").write_text(file or text(**written))
        self.experiment = document.load(folder / "file.toml")
        self.setup = setup_of(self.experiment)
        self.process: asyncio.subprocess.Process

    @property
    def run(self) -> Path:
        """Its run directory."""
        return self.folder / "run"

    @property
    def ca(self) -> Path:
        """Whom to trust."""
        return self.run / "tls" / "ca.pem"

    async def start(self, *arguments: str) -> None:
        """A new life."""
        self.lives += 1
        command = (
            sys.executable, *self._python, "serve", str(self.folder / "file.toml"), "--out", str(self.run), "--port",
            str(self.port), "--checkpoint", str(self._every), *arguments,
        )  # fmt: skip
        self.process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=dict(os.environ)
        )
        assert self.process.stdout is not None
        said = ""
        while line := (await self.process.stdout.readline()).decode():
            said += line
            if line.startswith("recovered in"):
                self.recoveries.append(float(line.split()[2]))
            if line.startswith("serving"):
                self.url = line.split()[1].rstrip(";")
                self.port = int(self.url.rpartition(":")[2])
                return
        raise AssertionError(f"it did not start: {said}")

    async def kill(self, number: int = signal.SIGKILL) -> None:
        """The end of a life."""
        self.process.send_signal(number)
        await self.process.communicate()

    async def end(self) -> tuple[int, str]:
        """Wait for the end of the run: exit code and what was said."""
        out, _ = await self.process.communicate()
        return self.process.returncode or 0, out.decode()


def replayed(run: Path, e: Experiment) -> Replayed:
    """The journal of a run, run again."""
    return replay(run / "journal", setup_of(e))


def accumulated(run: Path, e: Experiment) -> Counter[int]:
    """How often the journal of a run has each lease go into a step or in line for one (it has no checkpoint)."""
    setup = setup_of(e)
    server, _ = setup.build(Received(setup.strategy.tasks, setup.tasks), journaled=True)
    out: Counter[int] = Counter()
    for record in read(run / "journal").records:
        entry = decode(record, "journal")
        if not isinstance(entry.event, Header | End):
            out.update(a.lease for a in server.handle(entry.event, entry.now) if isinstance(a, do.Accumulate))
    return out
