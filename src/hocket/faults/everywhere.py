"""A crash at every effect boundary of a recorded run: before each write, sync, name, acknowledgement and message.

A run is recorded as what its server was told and when it committed. It is made again, and at every boundary a copy
of the disk, with whatever its cache kept, is given to a new server, which recovers and is told the same remaining
events. Its state must then be, bit for bit, that of the run which was not interrupted; and everything that had
been said to a device by then must be known to it.
"""

from collections.abc import Callable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from hocket import actions as do
from hocket import events as on
from hocket.archive import Archive
from hocket.events import Event
from hocket.faults.disk import Disk, DiskFile
from hocket.faults.disk_store import DiskStore
from hocket.faults.reference import Wrong
from hocket.faults.swarm import Plan
from hocket.faults.world import Crash, World
from hocket.fleet import Fleet
from hocket.keyed import below, key
from hocket.received import Sent
from hocket.service.host import Host
from hocket.service.messages import Message
from hocket.setup import Setup
from hocket.shelf import Shelf
from hocket.snapshot import digest, pack, unpack
from hocket.store.journal import state_digest
from hocket.store.recovery import COMPUTED

PATIENCE = 1 << 62


class Item(Struct, frozen=True):
    """Something a server was told at ``now`` (ns); ``event`` None is a commit."""

    now: int
    event: Event | None
    body: bytes = b""


class Count(Struct):
    """Crash points tried, recoveries made, and how many runs were followed to their end."""

    points: int = 0
    recoveries: int = 0
    ends: int = 0


class Recorder:
    """Writes down what the one server of a world is told, commits included."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    def recovered(self, host: Host) -> None:
        """The run begins."""

    def handled(self, host: Host, event: Event, body: bytes, actions: list[do.Action]) -> None:
        """Results follow from what is written down already, and a commit tells its own end."""
        if isinstance(event, on.Durable):
            self.items.append(Item(host.now, None))
        elif not isinstance(event, COMPUTED):
            self.items.append(Item(host.now, event, body))

    def leaving(self, host: Host, message: Message) -> None:
        """What leaves follows."""


def record(setup: Setup, fleet: Fleet, plan: Plan) -> list[Item]:
    """The script of a run in a world whose server and disk have no faults."""
    rates = {k: r for k, r in plan.rates.items() if "crash" not in k or k.startswith("device")}
    calm = replace(plan, rates={k: r for k, r in rates.items() if k not in ("disk full", "sync fails", "bit flip")})
    recorder = Recorder()
    outcome = World(setup, fleet, calm, watcher=recorder).run()
    if outcome.violated:
        raise Wrong(outcome.violated)
    first = next(i for i, x in enumerate(recorder.items) if isinstance(x.event, on.Joined))
    return recorder.items[first + 1 :]  # a new server tells itself who is there


class Everywhere:
    """Tries every crash point of a script.

    Args:
        setup: what is run.
        script: from :func:`record`.
        every: accepted updates from one checkpoint to the next.
        seed: keys what the disk's cache keeps.
        nested: crashes in a row before a recovery is let through.
        to_the_end: one trial in so many is followed to the end of the script, the others to where they crashed; the
            rest is the same function of the same state.
        spill: what merges keep of every client goes to a file on the disk once it does not fit into memory.
    """

    def __init__(
        self, setup: Setup, script: list[Item], *, every: int, seed: int = 0, nested: int = 0, to_the_end: int = 50,
        spill: bool = False,
    ) -> None:  # fmt: skip
        self._setup, self._script, self._every, self._seed = setup, script, every, seed
        self._nested, self._to_the_end, self._spill = nested, to_the_end, spill
        self.count = Count()
        self._said = 0  # events that something which left depends on

    def run(self, stride: int = 1, most: int | None = None) -> Count:
        """Try every ``stride``-th point, ``most`` of them at most.

        Raises:
            Wrong: a trial came to another state, or forgot what had been said.
        """
        self._states, self._before = self._uninterrupted()
        disk, at = Disk(), [0]
        self._said = 0

        def point(name: str) -> None:
            self.count.points += 1
            if self.count.points % stride == 0 and (most is None or self.count.recoveries < most):
                self._trial(disk, at[0], name)

        def sent(message: Message) -> None:
            self._said = host.durable

        host = self._host(disk, point, sent)
        for index, item in enumerate(self._script):
            at[0] = index
            point("told")
            take(host, item)
        return self.count

    def _uninterrupted(self) -> tuple[list[str], list[int]]:
        """The state after each item, and how many events there were before it."""
        host = self._host(Disk())
        states, before = [], []
        for item in self._script:
            before.append(host.server.state.events)
            take(host, item)
            states.append(state(host))
        return states, before

    def _host(
        self, disk: Disk, step: Callable[[str], None] = lambda name: None, sent: Callable[[Message], None] | None = None
    ) -> Host:
        spill = (lambda t: DiskFile(disk, f"latest-{t}", step)) if self._spill else None
        return Host(
            self._setup, DiskStore(disk, hook=step), sent or _nowhere, Recorder(), step=step, every=self._every,
            patience=PATIENCE, spill=spill,
        )  # fmt: skip

    def _trial(self, live: Disk, at: int, name: str) -> None:
        """Crash here, recover, go on to here."""
        self.count.recoveries += 1
        number, disk = self.count.points, live.clone()
        disk.crash(key(self._seed, "cache", number))
        for depth in range(self._nested):
            step = below(key(self._seed, "nested", number, depth), 8)
            try:
                self._host(disk, _fatal(step))
            except Crash:
                disk.crash(key(self._seed, "cache", number, depth))
        host = self._host(disk)
        where = f"crash {number}, before {name!r} in item {at}"
        if host.server.state.events < self._said:
            raise Wrong(f"I3 ack after sync: {where}: {host.server.state.events} events are left of {self._said} said")
        index = next((i for i, n in enumerate(self._before) if n == host.server.state.events), len(self._before))
        if index > at + 1:
            raise Wrong(f"I2 no phantom: {where}: recovered beyond what was told, to item {index}")
        follow = self.count.recoveries % self._to_the_end == 0
        self.count.ends += follow
        last = len(self._script) - 1 if follow else at
        for item in self._script[index : last + 1]:
            take(host, item)
        if index <= last and state(host) != self._states[last]:
            raise Wrong(f"I4 replay: {where}: after item {last} the state is not that of the uninterrupted run")
        if index > last and state(host) != self._states[index - 1]:
            raise Wrong(f"I4 replay: {where}: recovered to item {index}, another state than the uninterrupted run's")


def take(host: Host, item: Item) -> None:
    """Tell a server one item of a script."""
    host.now = item.now
    if item.event is None:
        host.commit()
        return
    if isinstance(item.event, on.Arrived) and item.body:
        host.received.put(item.event.lease, unpack(item.body, Sent))
        host.account.count("upload", item.event.lease, item.event.size)
    host.tell(item.event, item.body)


def state(host: Host) -> str:
    """Everything that decides how a run goes on."""
    shelves = {t: _in_memory(s) for t, s in host.book.shelves.items()}
    return digest(
        state_digest(host.server, host.book).encode(), pack(shelves), pack(sorted(host.received.sent.items()))
    )


def _in_memory(shelf: Shelf) -> Shelf:
    """What a shelf holds, wherever it lies."""
    archive = getattr(shelf.merge, "archive", None)
    if archive is None or archive.file is None:
        return replace(shelf, downlink=None)
    held = {n: archive.get(n) for n in sorted({*archive.held, *archive.places})}
    merge = replace(shelf.merge, archive=Archive(held, number=archive.number))
    return replace(shelf, downlink=None, kept=None, merge=merge)


def _fatal(step: int) -> Callable[[str], None]:
    left: Iterator[int] = iter(range(step))

    def crash(name: str) -> None:
        if next(left, None) is None:
            raise Crash

    return crash


def _nowhere(message: Message) -> None:
    """Nobody listens."""
