"""A server on a model disk with its devices played by hand: who is given what, who answers when, what is said."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hocket.faults.disk import Disk
from hocket.faults.disk_store import DiskStore
from hocket.faults.everywhere import Recorder
from hocket.faults.stub import task
from hocket.keyed import key
from hocket.learning.learner import Job
from hocket.service.host import Host
from hocket.service.messages import Answer, Message, Update, Work
from hocket.setup import Setup
from hocket.strategy import Strategy
from hocket.until import Until

SECOND = 10**9


class Table:
    """One server; messages to devices pile up in ``said``."""

    def __init__(self, method: Strategy, clients: int = 12, updates: int = 100, every: int = 5, seed: int = 0) -> None:
        self.setup = Setup.of(task("a", clients, seed), method, Until(updates=updates), seed=seed, measure=("finite",))
        self.disk, self._every, self.now, self.crashes = Disk(), every, 0, 0
        self.said: list[Message] = []
        self.host = self.life()
        self.host.commit()

    def life(self) -> Host:
        """A new process on the disk."""
        return Host(
            self.setup, DiskStore(self.disk), self.said.append, Recorder(), step=lambda step: None, every=self._every,
            patience=1 << 60,
        )  # fmt: skip

    def restart(self) -> None:
        """The process ends, its disk's cache is lost, and another one begins."""
        self.crashes += 1
        self.disk.crash(key(self.crashes, "crash"))
        self.host = self.life()
        self.host.commit()

    def work(self) -> list[Work]:
        """Every open lease as it was given out."""
        still = self.host.server.view.leases
        return list({m.lease.id: m for m in self.said if isinstance(m, Work) and m.lease.id in still}.values())

    def update(self, work: Work, change: float = 0.0) -> Update:
        """What an honest device sends; ``change`` is added to its first number."""
        lease, run = work.lease, self.setup.tasks["a"]
        assert run.learner is not None and lease.node is not None
        job = Job(lease.id, lease.client, self.host.book.start(lease), lease.local, lease.seed, lease.version)
        (done,) = run.learner.train([job])
        delta = done.delta + np.array([change] + [0] * (len(done.delta) - 1), np.float32)
        body, _ = self.setup.strategy.tasks["a"].uplink.encode(None, delta, None, run.schema, lease)
        return Update(lease.client, lease.id, done.samples, done.metrics, lease.node.digest, len(body), body)

    def send(self, *messages: Message) -> list[Answer]:
        """Messages come in, the server commits; what it answers to updates."""
        before = len(self.said)
        for message in messages:
            self.now += SECOND // 100
            self.host.receive(message, self.now)
        self.host.commit()
        return [m for m in self.said[before:] if isinstance(m, Answer)]

    def state(self) -> tuple[Any, ...]:
        """Model, version, line and counters: what copies and late updates must leave as it is."""
        t, shelf = self.host.server.state.tasks["a"], self.host.book.shelves["a"]
        x = shelf.x
        assert x is not None
        line = [(lease.id, weight) for lease, weight in shelf.pending]
        return x.tobytes(), t.version, list(t.buffer), line, t.accepted, sorted(self.host.received.sent)


@pytest.fixture
def table() -> Callable[..., Table]:
    """Makes a :class:`Table`."""
    return Table
