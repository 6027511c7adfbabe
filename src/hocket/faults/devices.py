"""Devices far away: each runs the core's own client, asks and says everything again until it is answered, and fails.

They crash and come back with nothing, or with what an old backup held; they die right after they were given
work; they clone themselves; their clocks step; and some lie: about whose lease it is, about the start, the number of
samples, the bytes. What a device was told about its updates is written down outside of it (:class:`Witness`).
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, Protocol

import numpy as np
from msgspec.structs import replace

from hocket import actions as do
from hocket import events as on
from hocket.client import Client
from hocket.errors import InvalidInput
from hocket.faults.dice import Dice
from hocket.fleet.timing import Timing
from hocket.keyed import below, mix, uniform
from hocket.learning.task import Task
from hocket.lease import Lease
from hocket.received import Sent
from hocket.service.device import Device as Worker
from hocket.service.messages import Answer, Ask, Drop, Message, Poll, Told, Update, Value, Work
from hocket.setup import Setup

KINDS = ("device crash", "device rolled back", "dies with work", "device cloned", "clock step")
LIES = (
    "lie: another's lease", "lie: no such lease", "lie: wrong start", "lie: no samples", "lie: not finite",
    "lie: garbage", "lie: wrong size", "lie: second answer",
)  # fmt: skip
REMEMBERED = 64  # answered leases that a device does not take up again


class Witness(Protocol):
    """Stands beside the devices and writes down what they sent and what they were told."""

    def uploaded(self, update: Update) -> None: ...

    def answered(self, client: int, lease: int, reason: str) -> None: ...

    def trained(self, client: int, lease: int) -> None: ...


class Surroundings(Protocol):
    """What a device has around it."""

    @property
    def poll(self) -> int:
        """Time between two signs of life, ns."""

    def send(self, message: Message, transfer: int = 0) -> None:
        """Give a message to the network."""

    def after(self, delay: int, then: Callable[[], None]) -> None:
        """Have something done later; ``delay`` in ns."""

    def clone(self, device: "Device") -> None:
        """A second device with this one's identity and memory."""


class Device:
    """One device; ``twin``: how many others had its identity before."""

    def __init__(
        self, setup: Setup, client: int, timing: Timing, dice: Dice, world: Surroundings, witness: Witness,
        overlap: bool, twin: int = 0,
    ) -> None:  # fmt: skip
        self.id, self.twin = client, twin
        self._setup, self._timing, self._dice, self._world, self._witness = setup, timing, dice, world, witness
        self._tasks: Mapping[str, Task] = setup.tasks
        self._overlap = overlap
        self.life = self._beats = 0
        self._skew = 1.0
        self._backup: tuple[Any, ...] | None = None
        self._forget()
        self._carry: dict[type[Any], Callable[[Any], None]] = {
            do.Fetch: lambda a: self._fetch(a, self.life, 0), do.Train: lambda a: self._train(a.lease),
            do.Upload: lambda a: self._upload(a.lease), do.Abort: lambda a: self._abort(a.lease),
            on.Fetched: self._tell, on.Started: self._tell, on.Failed: self._tell, on.Arrived: lambda e: None,
        }  # fmt: skip

    def _forget(self) -> None:
        """Everything this device remembers, as new."""
        holds: dict[str, dict[int, Any]] = {t: {self.id: None} for t in self._tasks}
        self.work = Worker(Client(self.id, holds, self._overlap), self._tasks, self._setup.strategy.tasks)
        self.waiting: dict[int, Update] = {}  # sent, and no answer yet
        self._over: dict[int, None] = {}
        self.up = True

    def _later(self, delay: float, then: Callable[[], None]) -> None:
        life = self.life
        self._world.after(int(delay * self._skew), lambda: then() if self.life == life else None)

    # --- coming and going --------------------------------------------------------------------------------

    def beat(self) -> None:
        """Show a sign of life, and whatever may happen to a device meanwhile."""
        n, dice, who = self._beats, self._dice, (self.id, self.twin)
        self._beats = n + 1
        self._skew = 0.2 + 3 * uniform(dice.key("skew", *who, n)) if dice.strikes("clock step", *who, n) else 1.0
        if n % 5 == 0:
            self._backup = self._memory()
        if dice.strikes("device crash", *who, n):
            self.crash(dice.key("down", *who, n))
            return
        if dice.strikes("device rolled back", *who, n):
            self.crash(dice.key("down", *who, n), self._backup)
            return
        if not self.twin and dice.strikes("device cloned", *who, n):
            self._world.clone(self)
        client = self.work.client
        in_hand = tuple(x.id for x in (*client.downloads, *client.ready, *client.uploads) if x.id not in self.waiting)
        self._world.send(Poll(self.id, (*in_hand, *self.waiting)))
        self._later(self._world.poll * (0.75 + uniform(dice.key("beat", *who, n)) / 2), self.beat)

    def crash(self, k: int, memory: tuple[Any, ...] | None = None) -> None:
        """Lose everything under way; come back later, with nothing or with a ``memory``."""
        self.life += 1
        self._forget()
        self.up = False
        self._later(self._world.poll * (1 + 24 * uniform(k) ** 2), lambda: self._return(memory))

    def _return(self, memory: tuple[Any, ...] | None) -> None:
        self.up = True
        if memory is not None:
            self.adopt(memory)
        self.beat()

    def _memory(self) -> tuple[Any, ...]:
        c, w = self.work.client, self.work
        return (
            {t: dict(held) for t, held in c.holds.items()}, dict(w.nodes), dict(self.waiting), dict(self._over),
            deepcopy(w.memories), deepcopy(w.lists),
        )  # fmt: skip

    def adopt(self, memory: tuple[Any, ...]) -> None:
        """Take what a backup or a twin remembers; what was sent and not answered is sent again."""
        holds, nodes, waiting, over, memories, lists = memory
        for t, held in holds.items():
            self.work.client.holds[t].update(held)
        self.work.nodes, self.waiting = dict(nodes), dict(waiting)
        self._over, self.work.memories, self.work.lists = dict(over), deepcopy(memories), deepcopy(lists)
        for lease_id in self.waiting:
            self._later(self._world.poll / 4, partial(self._again, lease_id, 0))

    def twin_of(self, other: "Device") -> None:
        """Begin as another device is."""
        self.adopt(other._memory())

    # --- messages ----------------------------------------------------------------------------------------

    def receive(self, message: Message) -> None:
        """A message has come."""
        client = self.work.client
        match message:
            case Work(lease=lease):
                known = any(x.id == lease.id for x in (*client.downloads, *client.ready, *client.uploads))
                if known or lease.id in self.waiting or lease.id in self._over:
                    return
                if self._dice.strikes("dies with work", self.id, self.twin, lease.id, self.life):
                    self.crash(self._dice.key("down", self.id, self.twin, lease.id, self.life))
                else:
                    self._do(client.assigned(on.Assigned(lease)))
            case Value():
                self._receive(message)
            case Answer(lease=lease_id, reason=reason):
                self._witness.answered(self.id, lease_id, reason)
                if lease_id in self.waiting:  # else it is about a lie, or said twice
                    self.work.settle(lease_id, not reason)
                    self._close(lease_id)
            case Drop(lease=lease_id):
                in_hand = any(x.id == lease_id for x in (*client.downloads, *client.ready, *client.uploads))
                if in_hand and lease_id not in self.waiting:  # what was sent waits for its own answer
                    self._close(lease_id)
            case _:
                raise AssertionError(f"a device was sent {message}")

    def _close(self, lease_id: int) -> None:
        self.waiting.pop(lease_id, None)
        self._do(self.work.client.cancelled(on.Cancelled(lease_id, self.id)))
        self._over[lease_id] = None
        if len(self._over) > REMEMBERED:
            del self._over[next(iter(self._over))]

    def _receive(self, m: Value) -> None:
        client, lease = self.work.client, next((x for x in self.work.client.downloads if x.id == m.lease), None)
        if lease is None or lease.node != m.node:
            return
        if m.data is None:
            self._give_up(lease, "gone")
            return
        try:
            received = self.work.receiving(m.node, m.edges, m.data)()
        except InvalidInput as e:  # what is held here is not what the edges begin at: begin from nothing
            client.holds[m.node.task][self.id] = None
            self._give_up(lease, f"cannot apply: {e}")
            return
        self.work.keep(m.node, *received)
        size = sum(map(len, m.data))
        self._do(client.fetched(on.Fetched(m.lease, self.id, m.node, size)))
        self.work.tidy()

    def _give_up(self, lease: Lease, reason: str) -> None:
        self._do(self.work.client.cancelled(on.Cancelled(lease.id, self.id)))
        self._tell(on.Failed(lease.id, self.id, reason))

    # --- what the client asks for ------------------------------------------------------------------------

    def _do(self, actions: list[Any]) -> None:
        for action in actions:
            self._carry[type(action)](action)

    def _tell(self, event: on.Fetched | on.Started | on.Failed) -> None:
        self._world.send(Told(self.id, event))

    def _fetch(self, a: do.Fetch, life: int, tries: int) -> None:
        """Ask for a node until it comes."""
        if life == self.life and any(x.id == a.lease for x in self.work.client.downloads):
            self._world.send(Ask(self.id, a.lease, a.node, a.have))
            self._later(self._pause(a.lease, tries), lambda: self._fetch(a, life, tries + 1))

    def _pause(self, lease: int, tries: int) -> float:
        """Back-off with jitter, from half a poll to four."""
        jitter = uniform(self._dice.key("pause", self.id, self.twin, lease, tries))
        return self._world.poll * min(2.0 ** (tries - 1), 4.0) * (0.75 + jitter / 2)

    def _train(self, lease: Lease) -> None:
        task = self._tasks[lease.task]
        cost = task.local.samples(int(task.samples[lease.client])) * task.cost
        took = self._timing.train(self.id, cost, lease.seed)
        fate = self._timing.fate(mix(lease.seed ^ self.life))
        if fate is None:
            self._later(took, lambda: self._trained(lease))
        elif fate[1]:  # a dropout of this fleet: gone without a word
            self._later(took * fate[0], lambda: self.crash(mix(lease.seed ^ self.life)))
        else:
            self._later(took * fate[0], lambda: self._give_up(lease, "failed"))

    def _trained(self, lease: Lease) -> None:
        ready = self.work.client.ready
        if ready and ready[0].id == lease.id:
            self._witness.trained(self.id, lease.id)
            self.work.finish(lease, self.work.training(lease)())
            self._do(self.work.client.trained(on.Trained(lease.id, self.id)))
            self.work.tidy()

    def _upload(self, lease: Lease) -> None:
        sent = self.work.updates.pop(lease.id)
        digest = "" if lease.node is None else lease.node.digest
        update = Update(self.id, lease.id, sent.samples, sent.metrics, digest, len(sent.data), sent.data)
        self._lie(lease, update)
        update = self.waiting.get(lease.id, update)
        self.waiting[lease.id] = update
        transfer = self._timing.upload(self.id, len(sent.data), lease.seed)
        self._send(update, transfer)
        self._later(transfer, lambda: self._do(self.work.client.uploaded(_uploaded(lease, sent))))
        self._later(transfer + self._pause(lease.id, 1), lambda: self._again(lease.id, 2))

    def _again(self, lease: int, tries: int) -> None:
        """Send an update again until it is answered."""
        if (update := self.waiting.get(lease)) is not None:
            self._send(update, 0)
            self._later(self._pause(lease, tries), lambda: self._again(lease, tries + 1))

    def _send(self, update: Update, transfer: int) -> None:
        self._witness.uploaded(update)
        self._world.send(update, transfer)

    def _abort(self, lease: int) -> None:
        self.work.updates.pop(lease, None)

    # --- lies --------------------------------------------------------------------------------------------

    def _lie(self, lease: Lease, honest: Update) -> None:
        """Send something else beside or instead of an honest update."""
        for kind in LIES:
            if not self._dice.strikes(kind, self.id, self.twin, lease.id):
                continue
            k = self._dice.key(kind, self.id, lease.id, 1)
            match kind.removeprefix("lie: "):
                case "another's lease":
                    near = lease.id + 1 + below(k, 6) - 4
                    self._send(replace(honest, lease=near if near != lease.id else near + 1), 0)
                case "no such lease":
                    self._send(replace(honest, lease=(-1, -(2**40), lease.id + 10**6, 2**62)[below(k, 4)]), 0)
                case "wrong start":
                    self._send(replace(honest, digest="0" * 32), 0)
                case "no samples":
                    self._send(replace(honest, samples=-below(k, 3)), 0)
                case "not finite":
                    self._send(self._body(lease, honest, np.nan if k & 1 else np.inf, k), 0)
                case "garbage":
                    body = mix(k).to_bytes(8, "little") * (1 + below(k, 20))
                    self._send(replace(honest, body=body, length=len(body)), 0)
                case "wrong size":
                    body = honest.body[: below(k, len(honest.body))] if k & 1 else honest.body + b"\0" * 4
                    self._send(replace(honest, body=body, length=len(body)), 0)
                case "second answer":
                    self._send(self._body(lease, honest, 0.5, k), 0)

    def _body(self, lease: Lease, honest: Update, value: float, k: int) -> Update:
        """The honest update with one number changed."""
        schema = self.work.part(lease)
        uplink = self._setup.strategy.tasks[lease.task].uplink
        delta, aux = uplink.decode(honest.body, schema, lease)
        delta = delta.copy()
        delta[below(mix(k), len(delta))] = value
        try:
            with np.errstate(invalid="ignore"):  # a residual of what is not finite
                body, _ = uplink.encode(None, delta, aux, schema, lease)
        except InvalidInput:  # a codec that does not take what is not finite: a damaged update instead
            body = honest.body[:-1]
        return replace(honest, body=body, length=len(body))


def _uploaded(lease: Lease, sent: Sent) -> on.Uploaded:
    return on.Uploaded(lease.id, lease.client, len(sent.data), sent.samples)
