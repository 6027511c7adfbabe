"""Joining a run: enrol, learn what is run, build the same tasks, and work until it is over."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from hocket.errors import InvalidInput
from hocket.experiment import document, toml
from hocket.learning.learner import Learner
from hocket.service.daemon import Daemon, check_run
from hocket.service.keep import Keep, writing
from hocket.service.link import Link
from hocket.service.pace import Pace
from hocket.service.serve import MEASURE
from hocket.service.tls import client_context
from hocket.setup import Setup

INTERRUPTED = "interrupted"
GROUP = "hocket.learners"
"""Entry points by which installed packages offer learners."""


class MakeLearner(Protocol):
    """What such an entry point is: a learner for a task, given its table in the experiment and the client."""

    def __call__(self, task: Mapping[str, Any], client: int) -> Learner: ...


class Options(Struct, frozen=True, kw_only=True):
    """How a device joins.

    Args:
        token: one-time, for the first time.
        ca: PEM file of the authority that the server's certificate must come from (None: those the system trusts).
        certificate: PEM file of this device's own certificate, with ``key``, for mutual TLS.
        data: folder of the data sets.
        learner: name of an installed entry point of the group ``hocket.learners`` (None: the task's own learner).
        emulate: take as long as the simulator says that this device of the fleet takes.
        cache: bytes of nodes, and of parts of downloads, that are kept on disk.
    """

    token: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    data: Path | None = None
    learner: str | None = None
    emulate: bool = False
    cache: int = 1 << 33

    def __post_init__(self) -> None:
        if self.cache < 0:
            raise InvalidInput(f"cache = {self.cache}: must be 0 or more bytes")


def join(url: str, folder: Path, options: Options, say: Callable[[str], None] = lambda line: None) -> str:
    """Work for the run that is served at ``url`` until it is over; why it is, or "interrupted".

    Raises:
        InvalidInput: the server refuses this device, or something given cannot be used.
        StoreFailed: the disk takes no writes; what was not answered is sent when the device is started again.
        HocketError: the experiment is another one here than there.
    """

    async def until_signalled() -> str:
        task, stopped = asyncio.create_task(work(url, folder, options, say)), list[int]()

        def stop() -> None:
            stopped.append(1)
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        try:
            return await task
        except asyncio.CancelledError:
            if not stopped:
                raise
            return INTERRUPTED

    return asyncio.run(until_signalled())


async def work(url: str, folder: Path, o: Options, say: Callable[[str], None] = lambda line: None) -> str:
    """As :func:`join`, in an event loop that is there; when cancelled, it says good-bye."""
    with writing(folder):
        return await _work(url, folder, o, say)


async def _work(url: str, folder: Path, o: Options, say: Callable[[str], None]) -> str:
    context = client_context(o.ca, o.certificate, o.key) if url.startswith("https") else None
    keep = Keep(folder, o.cache)
    try:
        async with Link(url, keep, context, say) as link:
            client = await link.join(o.token)
            table = _table(await link.experiment())
            experiment = document.parse(table, data=o.data, checked=True)
            setup = experiment.setup(MEASURE)
            if o.learner is not None:
                setup = _with_learner(setup, o.learner, table["tasks"], client)
            check_run(setup, link.run)
            say(f"client {client} of {experiment.name} at {url}")
            pace = Pace(experiment.fleet, experiment.seed, client) if o.emulate else None
            overlap = experiment.fleet.links == "parallel"
            daemon = Daemon(setup, client, link, keep, overlap=overlap, pace=pace)
            try:
                return await daemon.run()
            except asyncio.CancelledError:
                await link.part()
                raise
    finally:
        keep.close()


def _table(text: str) -> dict[str, Any]:
    """The experiment that a server tells of; what a device reads from its disk is not for a server to say.

    Raises:
        InvalidInput: it is none, or names a file.
    """
    table = toml.loads(text, "the server's experiment")
    fleet, tasks = table.get("fleet", {}), table.get("tasks", {})
    places = [fleet, fleet.get("down_trace", {}), fleet.get("up_trace", {}), *tasks.values()]
    if named := [key for place in places for key in ("path", "data", "make") if key in place]:
        raise InvalidInput(
            f"the server's experiment names a file here ({named[0]}); a device does not read what it is told"
        )
    return table


def _with_learner(setup: Setup, name: str, tables: Mapping[str, Any], client: int) -> Setup:
    """The same run with the learners of an installed package, which hold this device's own data.

    Raises:
        InvalidInput: there is no such entry point, or its learner is for another model.
    """
    found = {e.name: e for e in entry_points(group=GROUP)}
    if name not in found:
        raise InvalidInput(f"learner {name!r}: not installed; there are {', '.join(sorted(found)) or 'none'}")
    make: MakeLearner = found[name].load()
    tasks = {}
    for task_name, task in setup.tasks.items():
        learner = make(tables[task_name], client)
        if learner.schema != task.schema:
            raise InvalidInput(f"learner {name!r}: its model of task {task_name!r} has another schema than the run's")
        tasks[task_name] = replace(task, learner=_Own(learner, task.samples))
    return replace(setup, tasks=tasks)


class _Own:
    """A learner that knows one client's data only, beside what the run says of everybody's sizes."""

    def __init__(self, learner: Learner, samples: Any) -> None:
        self.schema, self.samples = learner.schema, samples
        self.initial, self.train, self.evaluate = learner.initial, learner.train, learner.evaluate
