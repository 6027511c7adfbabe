"""The reference: what a run must have done, kept in lists and dictionaries, written without a look at the server.

It believes the events and the actions, in order, and keeps every update that was accepted. After a crash it
forgets everything after the last durable event and folds the rest again from the beginning. A step is recomputed
from the accepted updates as their devices sent them, in float64, one coordinate sum after the other.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from hocket import actions as do
from hocket import events as on
from hocket.lease import Lease
from hocket.received import Sent, decode
from hocket.setup import Setup
from hocket.snapshot import unpack

DIVISORS = ("mean_by_count", "mean_by_weight", "mean_by_fleet")


class Wrong(AssertionError):
    """The run did what it must not; the message begins with the invariant."""


class Entry(Struct, frozen=True):
    """One event, the body that came with it, and what the server asked for."""

    event: on.Event
    body: bytes
    actions: tuple[do.Action, ...]


class Reference:
    """Folds entries; every method raises :class:`Wrong` where an entry cannot follow those before it."""

    def __init__(self, setup: Setup, first: Mapping[str, Any]) -> None:
        self._setup, self._first = setup, {t: np.asarray(x, np.float64) for t, x in first.items()}
        self.history: list[Entry] = []
        self._reset()

    def _reset(self) -> None:
        tasks = tuple(self._setup.tasks)
        self.leases: dict[int, Lease] = {}  # as they were given out
        self.open: set[int] = set()
        self.bodies: dict[int, bytes] = {}
        self.starts: dict[int, str] = {}  # digests of the nodes that devices say they began at
        self.accepted: dict[int, int] = {}  # lease to the number of its event
        self.refused: set[int] = set()
        self.taken_back: set[int] = set()  # accepted, and out of line again
        self.buffer: dict[str, list[tuple[int, float]]] = {t: [] for t in tasks}
        self.in_step: dict[int, tuple[str, int]] = {}
        self.stepping: dict[str, list[tuple[int, float]]] = {}
        self.version = dict.fromkeys(tasks, 0)
        self.model = {t: x.copy() for t, x in self._first.items()}
        self.kept: dict[str, Any] = {}
        self.ended: set[str] = set()

    def take(self, entry: Entry) -> None:
        """Add an entry to the history."""
        self.history.append(entry)
        self._fold(len(self.history), entry)

    def cut(self, count: int) -> None:
        """Only the first ``count`` events have happened."""
        history = self.history[:count]
        self.history = []
        self._reset()
        for entry in history:
            self.take(entry)

    def _fold(self, number: int, entry: Entry) -> None:
        event = entry.event
        match event:
            case on.Arrived(lease=i, client=c) if (
                i in self.open and self.leases[i].client == c and i not in self.bodies
            ):
                self.bodies[i], self.starts[i] = entry.body, event.digest
            case on.Stepped(task=task, node=node, count=count):
                self._stepped(task, node.version, count)
            case on.Kept(task=task):
                self.kept[task] = self.model[task].copy()
            case on.Restored(task=task, node=node):
                self._next(task, node.version)
                self.model[task] = self.kept[task].copy()
            case on.TaskEnded(task=task):
                self.ended.add(task)
            case _:
                pass
        for action in entry.actions:
            self._act(number, event, action)

    def _act(self, number: int, event: on.Event, action: do.Action) -> None:
        match action:
            case do.Assign(lease=lease):
                if lease.id in self.leases:
                    raise Wrong(f"I1 once: lease {lease.id} was given out twice")
                if lease.version != self.version[lease.task]:
                    raise Wrong(f"I6 bounds: lease {lease.id} starts at {lease.version}, not the newest version")
                self.leases[lease.id] = replace(lease)
                self.open.add(lease.id)
            case do.Accumulate(lease=i, task=task, weight=weight):
                self._accepted(number, event, i, task, weight)
            case do.Release(lease=i, task=task, reason=reason):
                if reason == "ended":
                    self.ended.add(task)
                self._released(i, task)
            case do.Step(task=task):
                if not self.buffer[task] or task in self.stepping:
                    raise Wrong(f"I1 once: task {task} steps with nothing in line, or twice at once")
                self.stepping[task], self.buffer[task] = self.buffer[task], []
            case _:
                pass

    def _accepted(self, number: int, event: on.Event, i: int, task: str, weight: float) -> None:
        if i in self.accepted:
            raise Wrong(f"I1 once: the update of lease {i} was accepted twice")
        if i not in self.open:
            raise Wrong(f"I2 no phantom: an update was accepted for lease {i}, which is not open")
        lease = self.leases[i]
        if isinstance(event, on.Arrived) and event.client != lease.client:
            raise Wrong(f"I2 no phantom: client {event.client} answered lease {i} of client {lease.client}")
        if not isinstance(event, on.Arrived | on.Measured) or event.lease != i or i not in self.bodies:
            raise Wrong(f"I2 no phantom: nothing arrived for lease {i}, and it was accepted")
        if isinstance(event, on.Arrived) and event.samples < 1:
            raise Wrong(f"I6 bounds: lease {i} was accepted with {event.samples} samples")
        if self.starts[i] and lease.node is not None and lease.node.digest not in ("", self.starts[i]):
            raise Wrong(f"I2 no phantom: lease {i} was accepted from another start than its own")
        self.open.remove(i)
        self.accepted[i] = number
        self.buffer[task].append((i, weight))

    def _released(self, i: int, task: str) -> None:
        if i in self.in_step:
            raise Wrong(f"I1 once: lease {i} was released after its step")
        if i in self.accepted:
            self.taken_back.add(i)
            self.buffer[task] = [x for x in self.buffer[task] if x[0] != i]
        else:
            self.open.discard(i)
            self.refused.add(i)

    def _next(self, task: str, version: int) -> None:
        if version != self.version[task] + 1:
            raise Wrong(f"I1 once: task {task} went from version {self.version[task]} to {version}")
        self.version[task] = version

    def _stepped(self, task: str, version: int, count: int) -> None:
        members = self.stepping.pop(task, None)
        if members is None or count != len(members):
            raise Wrong(f"I1 once: a step of task {task} took {count} updates; in line were {members}")
        for i, _ in members:
            if i in self.in_step:
                raise Wrong(f"I1 once: the update of lease {i} went into two steps")
            self.in_step[i] = (task, version)
        before = self.version[task]
        self._next(task, version)
        self._move(task, before, members)

    def _move(self, task: str, before: int, members: list[tuple[int, float]]) -> None:
        """Recompute a step from what was sent, where the merge is a sum and the optimizer a rate."""
        part = self._setup.strategy.tasks[task]
        if not self.computes(task):
            return
        total, weights = np.zeros_like(self.model[task]), 0.0
        for i, weight in members:
            lease = self.leases[i]
            sent = unpack(self.bodies[i], Sent)
            delta = decode(sent, part.uplink, self._setup.tasks[task].schema, lease).delta
            if not np.isfinite(delta).all():
                raise Wrong(f"I6 bounds: the update of lease {i} is not finite, and is in a step")
            weight *= _by_age(part.guard, lease, before - lease.version)
            total, weights = total + weight * delta.astype(np.float64), weights + weight
        by = {"mean_by_count": float(len(members)), "mean_by_weight": weights}
        clients = float(self._setup.tasks[task].clients)
        step = total / by.get(_tag(part.merge), clients) if weights else total
        self.model[task] = self.model[task] + getattr(part.optimizer, "lr", 1.0) * step

    def computes(self, task: str) -> bool:
        """Whether the reference knows the arithmetic of a task's merge and optimizer."""
        part = self._setup.strategy.tasks[task]
        whole = _tag(part.submodel) == "whole"
        return whole and part.privacy is None and _tag(part.merge) in DIVISORS and _tag(part.optimizer) == "sgd"


def _by_age(guard: Any, lease: Lease, age: int) -> float:
    """What an update that is ``age`` versions old weighs, from the formulas of the papers."""
    if _tag(guard) == "chain":
        return float(prod(_by_age(g, lease, age) for g in guard.guards))
    if _tag(guard) != "staleness":
        return float(guard.weigh(lease, age))
    decay = guard.decay
    match _tag(decay):
        case "hinge":
            return float(1 / (1 + decay.slope * max(age - decay.grace, 0)))
        case "polynomial":
            return float(((1 + decay.average) / (1 + age)) ** decay.exponent)
        case "windowed":
            return 1.0 + age
    return 1.0


def _tag(policy: Any) -> str:
    return str(policy.__struct_config__.tag)
