"""The life of leases in the server's tables: routed, sent, closed once, for whatever reason."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from hocket import actions as do
from hocket import events as on
from hocket.errors import InvalidInput
from hocket.keyed import key, mix
from hocket.learning.local import LocalSGD
from hocket.lease import Cover, Lease, Node
from hocket.policies import Pick
from hocket.server_state import ServerState
from hocket.strategy import FullStrategy
from hocket.submodel.whole import Whole
from hocket.until import SECOND
from hocket.view import TaskState

Actions = list[do.Action]


class _Terms(Struct, frozen=True):
    """What the leases of one task have in common; ``cover`` None: the whole model."""

    key: int
    local: LocalSGD
    attach: Literal["issue", "start"]
    cover: Callable[[int], Cover] | None


class LeaseTable:
    """Keeps ``state.leases`` and every table that counts them; actions are added to ``out``.

    ``facts`` collects a ``Closed`` per lease that ended, if a policy ``observes`` them; ``changed`` gets its task.
    """

    __slots__ = ("_changed", "_observed", "_state", "_terms", "_timeout", "facts")

    def __init__(
        self,
        state: ServerState,
        strategy: FullStrategy,
        local: Mapping[str, LocalSGD],
        seed: int,
        observed: bool,
        changed: dict[str, None],
    ) -> None:
        self._state, memory = state, state.memories.__getitem__
        self._changed = changed
        self._terms = {
            n: _Terms(key(seed, "lease", n), local[n], strategy.attach, _cover(p.submodel, memory("submodel." + n)))
            for n, p in strategy.tasks.items()
        }
        timeout = strategy.pacing.timeout
        self._timeout = None if timeout is None else round(timeout * SECOND)
        self._observed = observed
        self.facts: list[on.Closed] = []

    def route(self, pick: Pick, now: int, out: Actions, base: Node | None = None) -> None:
        """Give a pick's client a lease; it is sent now, or waits at the server under ``attach="start"``.

        ``base``: what it starts from if that is not the newest node.

        Raises:
            InvalidInput: the matching picked a client or a task that cannot be given work.
        """
        s, c, name = self._state, pick.client, pick.task
        task, terms = s.tasks[name], self._terms[name]
        if (s.idle.where[c] < 0 and s.online.where[c] < 0) or task.status != "active":
            raise InvalidInput(f"matching picked client {c} for task {name!r}; one of them takes no work now")
        ordinal, lease_id, busy = task.ordinals[c], s.next_lease, s.busy[c]
        task.ordinals[c] = ordinal + 1
        s.next_lease = lease_id + 1
        s.busy[c] = busy + 1
        task.open += 1
        node = base or (task.node if terms.cover is None else self._start(task, terms, c))
        lease = s.leases[lease_id] = Lease(
            lease_id, name, c, ordinal, node, node.cover, terms.local, mix(terms.key ^ (c << 32 | ordinal)),
            now, now, -1, -1, pick.probability, pick.weight, pick.group, "", terms.attach, task.epoch, node.version,
        )  # fmt: skip
        if not busy:
            s.idle.discard(c)
        elif terms.attach == "start":
            lease.node, lease.version, lease.issued = None, -1, -1
            s.waiting.setdefault(c, []).append(lease_id)
            return
        if self._timeout is not None:
            s.deadlines[lease_id] = lease.deadline = now + self._timeout
        task.given[c] = node.version
        out.append(do.Assign(lease))

    def _start(self, task: TaskState, terms: _Terms, client: int) -> Node:
        """The node, in the cover of its sub-model, that a client is given to train from."""
        node = task.node
        if terms.cover is None:
            return node
        cover = terms.cover(client)
        return node if cover == node.cover else replace(node, cover=cover)

    def send_waiting(self, now: int, out: Actions) -> None:
        """Send the next waiting lease of every client that has none issued, unless its task is held up."""
        s = self._state
        held: list[int] = []
        for c in s.freed:
            queue = s.waiting.get(c)
            if not queue or s.busy[c] > len(queue):
                continue
            ready = (i for i in queue if not (t := s.tasks[s.leases[i].task]).stepping and t.status == "active")
            lease_id = next(ready, None)
            if lease_id is None:
                held.append(c)
                continue
            queue.remove(lease_id)
            if not queue:
                del s.waiting[c]
            lease = s.leases[lease_id]
            task = s.tasks[lease.task]
            lease.node = node = self._start(task, self._terms[lease.task], c)
            lease.cover, lease.epoch, lease.version, lease.issued = node.cover, task.epoch, node.version, now
            task.given[c] = node.version
            if self._timeout is not None:
                s.deadlines[lease_id] = lease.deadline = now + self._timeout
            out.append(do.Assign(lease))
        s.freed = held

    def close(self, lease: Lease, outcome: str, size: int = 0, samples: int = 0) -> None:
        """End a lease; it is in no table afterwards."""
        s, c = self._state, lease.client
        del s.leases[lease.id]
        s.tasks[lease.task].open -= 1
        self._changed[lease.task] = None
        s.busy[c] = busy = s.busy[c] - 1
        if lease.deadline >= 0:
            s.deadlines.pop(lease.id, None)
        if s.measuring:
            s.measuring.pop(lease.id, None)
        if s.waiting and (queue := s.waiting.get(c)):
            if lease.issued < 0:
                queue.remove(lease.id)
            if not queue:
                del s.waiting[c]
            elif c not in s.freed:
                s.freed.append(c)
        if not busy and s.online.where[c] >= 0:
            s.idle.add(c)
        if self._observed:
            self.facts.append(on.Closed(lease, outcome, size, samples))

    def lose(self, lease: Lease, reason: str, out: Actions) -> None:
        """A lease whose client, or whose wait, came to an end without an update."""
        self.close(lease, reason)
        self._state.lost += 1
        out.append(do.Release(lease.id, lease.task, reason))

    def cancel(self, lease: Lease, reason: str, out: Actions) -> None:
        """End a lease that is still under way; an update that is being measured is refused."""
        measuring = lease.id in self._state.measuring
        self.close(lease, reason)
        if measuring:
            out.append(do.Refuse(lease.id, lease.client, reason))
        elif lease.issued >= 0:
            out.append(do.Cancel(lease.id, lease.client, lease.task, reason))
        out.append(do.Release(lease.id, lease.task, reason))

    def expire(self, now: int, out: Actions) -> None:
        """Cancel every lease whose deadline has come."""
        s = self._state
        expired = []
        for lease_id, deadline in s.deadlines.items():
            if deadline > now:
                break
            expired.append(lease_id)
        for lease_id in expired:
            self.cancel(s.leases[lease_id], "expired", out)
            s.lost += 1


def _cover(submodel: Any, memory: Any) -> Callable[[int], Cover] | None:
    return None if isinstance(submodel, Whole) else partial(submodel.cover, memory)
