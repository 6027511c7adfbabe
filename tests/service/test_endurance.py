"""T34: after many updates, tasks and clients, one life of the server is as large as it was; so is its disk."""

import gc
import os
import tracemalloc
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from msgspec import Struct

from hocket import actions as do
from hocket import events as on
from hocket.faults.stub import SIZE, task
from hocket.pacing import InFlight
from hocket.service.host import Host
from hocket.service.messages import Answer, Message, Poll, Update, Work
from hocket.setup import Setup
from hocket.store import SQLiteStore
from hocket.strategy import Strategy
from hocket.until import Evaluation, Until

MILLISECOND = 10**6


class Size(Struct):
    """Bytes that Python holds, resident bytes, open files, bytes on disk."""

    held: int
    resident: int
    files: int
    disk: int


class Nobody:
    """Looks on and keeps nothing."""

    def recovered(self, host: Host) -> None:
        """A life begins."""

    def handled(self, host: Host, event: on.Event, body: bytes, actions: list[do.Action]) -> None:
        """An event was handled."""

    def leaving(self, host: Host, message: Message) -> None:
        """A message leaves."""


class Endurance:
    """A server on a real disk, whose devices answer at once: every second update is not finite.

    Args:
        tasks: how many there are in all; two at a time are worked on, the others are still, or no longer, paused.
        clients: how many there are in all; ``present`` of them at a time.
    """

    def __init__(self, folder: Path, tasks: int, clients: int, present: int) -> None:
        names = [f"t{i}" for i in range(tasks)]
        method = Strategy("long", InFlight(8, 4, timeout=60.0))
        setup = Setup.of(
            [task(n, clients, 0) for n in names], method, Until(updates=1 << 40), measure=("finite",),
            evaluation=Evaluation(every=1 << 30),
        )  # fmt: skip
        self.folder, self._clients, self._present = folder, clients, present
        self._said: list[Message] = []
        self._work: deque[Work] = deque()
        self._now, self._coming, self._waiting = 0, 0, deque(names)
        self.accepted = self.refused = self.ended = 0
        self.host = Host(
            setup, SQLiteStore(folder), self._said.append, Nobody(), step=lambda step: None, every=1000,
            patience=1 << 62, everybody=False,
        )  # fmt: skip
        for name in names:
            self.host.tell(on.TaskPaused(name))
        self._next_task()
        self._next_task()
        for _ in range(present):
            self._come()
        uplink, schema = setup.strategy.tasks["t0"].uplink, setup.tasks["t0"].schema
        lease = self._take()[0].lease
        good = np.full(SIZE, 1 / 64, np.float32)
        bad = np.full(SIZE, np.nan, np.float32)
        self._bodies = [uplink.encode(None, x, None, schema, lease)[0] for x in (good, bad)]

    def _next_task(self) -> None:
        if self._waiting:
            self.host.tell(on.TaskAdded(self._waiting.popleft()))

    def _come(self) -> None:
        """Another client comes, and the one that was there longest goes."""
        self.host.receive(Poll(self._coming % self._clients, ()), self._now)
        if self._coming >= self._present:
            self.host.leave((self._coming - self._present) % self._clients, "left")
        self._coming += 1

    def _take(self) -> list[Work]:
        """Commit, and what was said of new work."""
        self.host.commit()
        for m in self._said:
            if isinstance(m, Work):
                self._work.append(m)
            elif isinstance(m, Answer):
                self.accepted += not m.reason
                self.refused += m.reason == "not finite"
        self._said.clear()
        return list(self._work)

    def run(self, updates: int, churn: int, end_every: int = 0) -> None:
        """So many updates; a client comes and one goes every ``churn`` of them, a task ends every ``end_every``."""
        goal, n = self.accepted + self.refused + updates, 0
        while self.accepted + self.refused < goal:
            self._take()
            assert self._work, "nothing to do"
            while self._work:
                lease = self._work.popleft().lease
                if lease.id not in self.host.server.view.leases:
                    continue
                n += 1
                self._now += MILLISECOND
                body = self._bodies[n % 2]
                start = "" if lease.node is None else lease.node.digest
                self.host.receive(Update(lease.client, lease.id, 5, {"loss": 1.0}, start, len(body), body), self._now)
                if n % churn == 0:
                    self._come()
                if end_every and n % end_every == 0 and self._waiting:
                    active = next(t.name for t in self.host.server.state.tasks.values() if t.status == "active")
                    self.host.tell(on.TaskEnded(active, "done"))
                    self._next_task()
                    self.ended += 1

    def size(self) -> Size:
        """What it holds now."""
        self._take()
        gc.collect()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        disk = sum(f.stat().st_size for f in self.folder.iterdir())
        held = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
        return Size(held, resident, len(os.listdir("/proc/self/fd")), disk)


def endure(folder: Path, warm: int, updates: int, tasks: int, clients: int, churn: int) -> tuple[Endurance, Size, Size]:
    """Sizes after a warm-up and after as many updates as asked."""
    long = Endurance(folder, tasks, clients, present=40)
    long.run(warm, churn, end_every=warm // max(1, tasks // 4))
    before = long.size()
    long.run(updates, churn, end_every=updates // (tasks // 2))
    return long, before, long.size()


def test_t34_the_server_does_not_grow(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        long, before, after = endure(tmp_path / "run", warm=5000, updates=4000, tasks=12, clients=400, churn=5)
    finally:
        tracemalloc.stop()
    assert min(long.accepted, long.refused) > 3500 and long.ended >= 8
    grown = after.held - before.held
    assert grown < 256 << 10, f"{grown} bytes: more than a table that was made larger, 65 per update would show"
    assert after.files <= before.files and after.disk < before.disk + (2 << 20)
    long.host.close()


@pytest.mark.soak
def test_t34_a_million_accepted_and_a_million_refused(tmp_path: Path) -> None:
    long, before, after = endure(
        tmp_path / "run", warm=100_000, updates=2_000_000, tasks=100, clients=100_000, churn=20
    )
    assert min(long.accepted, long.refused) > 1_000_000 and long.ended >= 50
    grown = (after.resident - before.resident) / 2 / 2**20
    assert grown < 16, f"{grown:.1f} MiB per million updates"
    assert after.files <= before.files and after.disk < before.disk + (64 << 20)
    long.host.close()
