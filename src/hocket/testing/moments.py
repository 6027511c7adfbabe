"""Made-up moments of a run: the views, leases and updates that the conformance suites show to policies."""

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import numpy as np
from msgspec.structs import replace

from hocket.index_set import IndexSet
from hocket.keyed import below, generator, key, uniform
from hocket.learning.local import LocalSGD
from hocket.lease import Cover, Lease, Node
from hocket.policies import Contribution, Weigh
from hocket.schema import Kind, Schema, Segment, Vector
from hocket.until import SECOND
from hocket.view import Status, TaskState, View

STATUS: tuple[Status, ...] = get_args(Status)
SCHEMA = Schema((Segment("w", (5, 3)), Segment("mean", (3,), Kind.BUFFER)))
LOCAL = LocalSGD(lr=0.1, batch_size=10)


def empty_view(clients: int = 9, tasks: Sequence[str] = ("a", "b")) -> View:
    """The view before the first event: everybody offline, nothing under way."""
    nothing = array("i", b"\xff" * (4 * clients))
    states = {t: TaskState(t, Node(t, 0), array("i", bytes(4 * clients)), nothing[:], nothing[:]) for t in tasks}
    idle, online, busy = IndexSet.empty(clients), IndexSet.empty(clients), array("i", bytes(4 * clients))
    return View(clients, states, {}, idle, online, busy, dict.fromkeys(tasks, SCHEMA))


def lease(number: int, task: str = "a", client: int = 0, version: int = 0, **fields: Any) -> Lease:
    """A lease that was sent."""
    node = Node(task, version)
    made = Lease(number, task, client, 0, node, Cover(), LOCAL, key(number), 0, 0, version=version)
    return replace(made, **fields)


def moments(seed: int, count: int = 60, clients: int = 9) -> Iterator[tuple[View, int]]:
    """Views of made-up, consistent moments of a run of two tasks, in the order of their time (ns).

    The tables hold what the server's own do: idle clients are online and have no open lease, counts add up.
    """
    now, number = 0, 0
    for i in range(count):
        k = key(seed, "moment", i)
        view = empty_view(clients)
        leases: dict[int, Lease] = {}
        for n, (name, t) in enumerate(view.tasks.items()):
            t.node = Node(name, i // 3 + n)
            t.status = STATUS[below(key(k, name, "status"), 5) % 3 if i % 4 == 0 else 0]
            t.stepping = uniform(key(k, name, "stepping")) < 0.2
            if t.status != "ended":
                t.buffer = list(range(10_000 + number, 10_000 + number + below(key(k, name, "buffer"), 14)))
                number += len(t.buffer)
        for c in range(clients):
            online = uniform(key(k, c, "online")) < (0.0, 0.7, 1.0)[i % 3]
            for _ in range(below(key(k, c, "open"), 3)):
                name = sorted(view.tasks)[below(key(k, c, number), 2)]
                t = view.tasks[name]
                if t.status != "ended":
                    leases[number] = lease(number, name, c, t.version, routed=now)
                    t.open += 1
                    view.busy[c] += 1
                    number += 1
            if online:
                view.online.add(c)
                if not view.busy[c]:
                    view.idle.add(c)
        now += below(key(k, "now"), 4) * SECOND // 2
        yield replace(view, leases=leases), now


def vector(*name: int | str) -> Vector:
    """A reproducible float32 vector of :data:`SCHEMA`'s size."""
    return generator(key("vector", *name)).standard_normal(SCHEMA.size).astype(np.float32)


def contributions(seed: int, count: int = 5) -> list[Contribution]:
    """Updates of different weight and age."""
    return [
        Contribution(
            lease(i, client=i, version=i // 2),
            0.25 + i / 2,
            10 + i,
            vector(seed, "delta", i),
            vector("start", i // 2),
        )
        for i in range(count)
    ]


def weigh_by(contributions: Sequence[Contribution]) -> Weigh:
    """What the server would say these updates weigh by now."""
    weights = {c.lease.id: c.weight for c in contributions}
    return lambda x: weights.get(x.id, 1.0)
