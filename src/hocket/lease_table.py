"""The life of leases in the server's tables: routed, sent, closed once, for whatever reason."""

from collections.abc import Mapping

from msgspec.structs import replace

from hocket import actions as do
from hocket import events as on
from hocket.errors import InvalidInput
from hocket.keyed import key, mix
from hocket.learning.local import LocalSGD
from hocket.lease import Lease
from hocket.policies import Pick
from hocket.server_state import ServerState
from hocket.strategy import FullStrategy

SECOND = 1_000_000_000


class LeaseTable:
    """Keeps ``state.leases`` and every table that counts them; ``out`` and ``now`` are set per event.

    ``facts`` collects a ``Closed`` per lease that ended, if a policy wants to know.
    """

    __slots__ = (
        "_attach",
        "_keys",
        "_local",
        "_state",
        "_submodels",
        "_timeout",
        "facts",
        "now",
        "out",
        "wanted",
    )

    def __init__(
        self,
        state: ServerState,
        strategy: FullStrategy,
        local: Mapping[str, LocalSGD],
        seed: int,
        wanted: bool,
    ) -> None:
        self._state = state
        self._attach = strategy.attach
        self._local = local
        self._keys = {t: key(seed, "lease", t) for t in strategy.tasks}
        self._submodels = {n: (p.submodel, state.memories["submodel." + n]) for n, p in strategy.tasks.items()}
        timeout = strategy.pacing.timeout
        self._timeout = None if timeout is None else round(timeout * SECOND)
        self.wanted = wanted
        self.facts: list[on.Closed] = []
        self.out: list[do.Action] = []
        self.now = 0

    def route(self, pick: Pick) -> None:
        """Give a pick's client a lease; it is sent now, or waits at the server under ``attach="start"``.

        Raises:
            InvalidInput: the matching picked a client or a task that cannot be given work.
        """
        s, c, name = self._state, pick.client, pick.task
        task = s.tasks[name]
        if s.online.where[c] < 0 or task.status != "active":
            raise InvalidInput(f"matching picked client {c} for task {name!r}; one of them takes no work now")
        ordinal = task.ordinals[c]
        task.ordinals[c] = ordinal + 1
        lease_id = s.next_lease
        s.next_lease = lease_id + 1
        lease = Lease(
            lease_id, name, c, ordinal, None, task.node.cover, self._local[name],
            mix(self._keys[name] ^ (c << 32 | ordinal)), self.now, -1, -1, -1,
            pick.probability, pick.weight, pick.group, "", self._attach,
        )  # fmt: skip
        s.leases[lease_id] = lease
        task.open += 1
        busy = s.busy[c]
        s.busy[c] = busy + 1
        if not busy:
            s.idle.discard(c)
        elif self._attach == "start":
            s.waiting.setdefault(c, []).append(lease_id)
            return
        self._send(lease)

    def _send(self, lease: Lease) -> None:
        task = self._state.tasks[lease.task]
        node = task.node
        submodel, memory = self._submodels[lease.task]
        cover = submodel.cover(memory, lease.client)
        if cover is not node.cover and cover != node.cover:
            node = replace(node, cover=cover)
        lease.cover, lease.epoch = cover, task.epoch
        lease.node, lease.version = node, node.version
        lease.issued = self.now
        task.given[lease.client] = node.version
        if self._timeout is not None:
            lease.deadline = self.now + self._timeout
            self._state.deadlines[lease.id] = lease.deadline
        self.out.append(do.Assign(lease))

    def send_waiting(self) -> None:
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
            self._send(s.leases[lease_id])
        s.freed = held

    def close(self, lease: Lease, outcome: str, size: int = 0, samples: int = 0) -> None:
        """End a lease; it is in no table afterwards."""
        s, c = self._state, lease.client
        del s.leases[lease.id]
        s.tasks[lease.task].open -= 1
        busy = s.busy[c] = s.busy[c] - 1
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
        if self.wanted:
            self.facts.append(on.Closed(lease, outcome, size, samples))

    def lose(self, lease: Lease, reason: str) -> None:
        """A lease whose client, or whose wait, came to an end without an update."""
        self.close(lease, reason)
        self._state.lost += 1
        self.out.append(do.Release(lease.id, lease.task, reason))

    def cancel(self, lease: Lease, reason: str) -> None:
        """End a lease that is still under way; an update that is being measured is refused."""
        measuring = lease.id in self._state.measuring
        self.close(lease, reason)
        if measuring:
            self.out.append(do.Refuse(lease.id, lease.client, reason))
        elif lease.issued >= 0:
            self.out.append(do.Cancel(lease.id, lease.client, lease.task, reason))
        self.out.append(do.Release(lease.id, lease.task, reason))

    def expire(self) -> None:
        """Cancel every lease whose deadline has come."""
        s = self._state
        expired = []
        for lease_id, deadline in s.deadlines.items():
            if deadline > self.now:
                break
            expired.append(lease_id)
        for lease_id in expired:
            self.cancel(s.leases[lease_id], "expired")
            s.lost += 1
