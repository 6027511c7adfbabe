"""The server's tables as one value, and the invariants they keep."""

from array import array
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hocket import actions as do
from hocket.errors import InvalidInput
from hocket.index_set import IndexSet, Ints
from hocket.lease import Lease, Node
from hocket.strategy import FullStrategy
from hocket.view import TaskState, View


class ServerState(Struct):
    """Everything a server remembers.

    ``measuring``: arrived updates (size, samples) whose facts are awaited. ``deadlines``: lease id to its
    deadline in the order of issue. ``waiting``: client to leases that get their node when it is free;
    ``freed``: clients that may be free now. ``offers``: (client, task, version, time) of prefetches that may
    not begin yet. ``unacknowledged``: (event number, lease, client) accepted and not yet durable. ``asked``:
    restores that wait for an open step. ``answers``: what recently closed leases were told (journaled servers
    only). ``memories``: policy states by level. ``broadcast``: bytes of every step's message, each once.
    """

    clients: int
    tasks: dict[str, TaskState]
    idle: IndexSet
    online: IndexSet
    busy: Ints
    leases: dict[int, Lease] = {}
    measuring: dict[int, tuple[int, int]] = {}
    deadlines: dict[int, int] = {}
    waiting: dict[int, list[int]] = {}
    freed: list[int] = []
    offers: list[tuple[int, str, int, int]] = []
    unacknowledged: list[tuple[int, int, int]] = []
    asked: list[do.Restore] = []
    answers: dict[int, tuple[int, str]] = {}
    memories: dict[str, Any] = {}
    next_lease: int = 0
    draws: int = 0
    events: int = 0
    updates: int = 0
    refused: int = 0
    lost: int = 0
    up: int = 0
    down: int = 0
    broadcast: int = 0
    wake: int = -1
    begun: bool = False
    finished: str = ""


def fresh(first: Mapping[str, Node], clients: int) -> ServerState:
    """The state before the first event: everybody offline, every task at its first node."""
    nothing = array("i", b"\xff" * (4 * clients))
    return ServerState(
        clients,
        {t: TaskState(t, node, array("i", bytes(4 * clients)), nothing[:], nothing[:]) for t, node in first.items()},
        IndexSet.empty(clients),
        IndexSet.empty(clients),
        array("i", bytes(4 * clients)),
    )


def policy_memories(strategy: FullStrategy, view: View) -> dict[str, Any]:
    """What every control-plane policy remembers before the first event, by level.

    Raises:
        InvalidInput: a memory that a snapshot could not bring back.
    """
    out = {level: getattr(strategy, level).init(view) for level in ("pacing", "matching", "prefetch")}
    out |= {"submodel." + n: part.submodel.init(view, n) for n, part in strategy.tasks.items()}
    out |= {"privacy." + n: p.init(view, n) for n, part in strategy.tasks.items() if (p := part.privacy) is not None}
    for level, memory in out.items():
        if memory is not None and not isinstance(memory, Struct):
            raise InvalidInput(
                f"{level}: init returned {type(memory).__name__}; a policy remembers in a msgspec.Struct or None"
            )
    return out


def invariants(s: ServerState) -> None:
    """Check the tables against one another in O(clients + leases).

    Raises:
        AssertionError: the message names the invariant that is broken.
    """
    open_by_task = dict.fromkeys(s.tasks, 0)
    busy = array("i", bytes(4 * s.clients))
    for i, lease in s.leases.items():
        assert i == lease.id < s.next_lease, f"lease {i}: id and key differ or were never given out"
        open_by_task[lease.task] += 1
        busy[lease.client] += 1
        assert lease.ordinal < s.tasks[lease.task].ordinals[lease.client], f"lease {i}: ordinal from the future"
        waits = any(i in q for q in s.waiting.values())
        assert waits == (lease.issued < 0) == (lease.node is None), f"lease {i}: waits, yet has a node"
        if lease.node is not None:
            assert lease.node.version <= s.tasks[lease.task].version, f"lease {i}: node from the future"
        assert lease.routed <= lease.issued or lease.issued < 0, f"lease {i}: issued before routed"
        assert lease.issued <= lease.started or lease.started < 0, f"lease {i}: started before issued"
        assert (i in s.deadlines) == (lease.deadline >= 0), f"lease {i}: deadline not tracked"
    for name, task in s.tasks.items():
        assert task.open == open_by_task[name], f"{name}: {task.open} open, {open_by_task[name]} leases"
        assert len(set(task.buffer)) == len(task.buffer), f"{name}: an update is buffered twice"
        assert not set(task.buffer) & set(s.leases), f"{name}: a buffered update is still open"
        assert task.status != "ended" or (not task.open and not task.buffer), f"{name}: ended with work"
    assert busy == s.busy, "busy counts differ from the open leases"
    assert set(s.measuring) <= set(s.leases), "a closed lease is being measured"
    assert set(s.deadlines) <= set(s.leases), "a closed lease has a deadline"
    assert list(s.deadlines.values()) == sorted(s.deadlines.values()), "deadlines out of order"
    for c in range(s.clients):
        assert (c in s.idle) == (c in s.online and not busy[c]), f"client {c}: idle set is wrong"
        alone = s.waiting.get(c) and busy[c] == len(s.waiting[c])
        assert not alone or c in s.freed, f"client {c}: leases wait for nobody"
    for members in (s.idle, s.online):
        for at, c in enumerate(members.items):
            assert members.where[c] == at, f"client {c}: index set is torn"
