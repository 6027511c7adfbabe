"""The invariants I1 to I4 and I6 to I8, looked at after every event, every message and every recovery.

It stands outside of the server: it has the reference, the log of what devices sent and were told, and a digest
of the state after every event, which a recovery to that event must come to again.
"""

from typing import Any

import numpy as np

from hocket import actions as do
from hocket import events as on
from hocket.events import Event
from hocket.faults.reference import Entry, Reference, Wrong
from hocket.guard import Chain, Staleness
from hocket.lease import Lease, Node
from hocket.pacing import InFlight
from hocket.received import Sent
from hocket.server import ANSWERS
from hocket.service.host import Host
from hocket.service.messages import Answer, Hint, Message, Update, Value, Work
from hocket.setup import Setup
from hocket.snapshot import digest, unpack
from hocket.store.journal import state_digest

WATCHED = 256  # open leases up to which each one is looked for everywhere after every event
CLOSE = 2e-4  # between the model in float32 and the reference in float64, relative to the larger one


class Oracle:
    """Watches a host and witnesses for its devices; raises :class:`~hocket.faults.reference.Wrong`."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self.reference: Reference | None = None
        self._digests: list[str] = []
        self._sent: dict[int, dict[int, set[str]]] = {}  # lease, client: digests of the bodies it sent
        self._issued: dict[int, tuple[Any, ...]] = {}  # leases as devices first saw them
        self.acknowledged: dict[int, int] = {}  # lease to client
        self.uploads = 0
        self.recoveries = 0
        self.passes: dict[tuple[int, int], int] = {}  # client, lease: how often it was trained
        self._alone = len(setup.tasks) > 1 and isinstance(setup.strategy.pacing, InFlight)  # nothing shared is timed
        self._before: dict[str, tuple[Any, ...]] = {}

    # --- devices -----------------------------------------------------------------------------------------

    def uploaded(self, update: Update) -> None:
        """A device sends an update."""
        self.uploads += 1
        self._sent.setdefault(update.lease, {}).setdefault(update.client, set()).add(digest(update.body))

    def trained(self, client: int, lease: int) -> None:
        """A device did the work of a lease."""
        self.passes[client, lease] = self.passes.get((client, lease), 0) + 1

    def answered(self, client: int, lease: int, reason: str) -> None:
        """A device was told what became of an update."""
        if not reason:
            self.acknowledged[lease] = client
            self._hold_to(lease)

    # --- the server --------------------------------------------------------------------------------------

    def handled(self, host: Host, event: Event, body: bytes, actions: list[do.Action]) -> None:
        """An event was handled and its actions were carried out."""
        reference = self._reference(host)
        reference.take(Entry(event, body, tuple(actions)))
        if len(reference.history) != host.server.state.events:
            raise Wrong(f"I4 replay: the server counts {host.server.state.events} events of {len(reference.history)}")
        for a in actions:
            if isinstance(a, do.Accumulate):
                self._sender(reference, a)
        try:
            host.server.validate()
        except AssertionError as e:
            raise Wrong(f"I6 bounds: {e}") from e
        self._bounds(host, event, actions)
        self._owners(host)
        self._isolation(host, event)
        self._digests.append(self._digest(host))

    def leaving(self, host: Host, message: Message) -> None:
        """A message is about to leave the server."""
        reference, count = self._reference(host), host.durable
        if isinstance(message, Work | Value | Hint):
            self._ledger(host, message.lease.node if isinstance(message, Work) else message.node, count)
        match message:
            case Answer(lease=i, reason="", client=c):
                number = reference.accepted.get(i)
                if number is None or reference.leases[i].client != c:
                    raise Wrong(f"I2 no phantom: client {c} is told that lease {i} is accepted, and it is not")
                if number > count:
                    raise Wrong(f"I3 ack after sync: lease {i} is acknowledged, {count} events are durable of {number}")
            case Answer(lease=i, client=c, reason=reason) if i in reference.accepted and i not in reference.taken_back:
                if reference.leases[i].client == c and len(reference.accepted) < ANSWERS:
                    raise Wrong(f"I1 once: client {c} is told {reason!r} of lease {i}, which is accepted")
            case Work(lease=lease):
                self._work(lease)
            case _:
                pass

    def recovered(self, host: Host) -> None:
        """A new life has read what an earlier one left."""
        reference, count = self._reference(host), host.server.state.events
        if count > len(self._digests):
            raise Wrong(f"I2 no phantom: {count} events were recovered, {len(self._digests)} had happened")
        if count and self._digest(host) != self._digests[count - 1]:
            raise Wrong(f"I4 replay: recovered to event {count}, the state is not the one that was live then")
        reference.cut(count)
        del self._digests[count:]
        self._before.clear()
        self.recoveries += 1
        for lease in self.acknowledged:
            self._hold_to(lease)
        gone = [i for i in self._issued if i not in reference.leases]
        if gone:
            raise Wrong(f"I3 ack after sync: lease {gone[0]} was given to a device and is unknown after a crash")

    def over(self, host: Host) -> None:
        """The run has ended."""
        reference, state = self._reference(host), host.server.state
        if state.updates != len(reference.accepted):
            raise Wrong(f"I1 once: the server counts {state.updates} updates, {len(reference.accepted)} were accepted")
        for lease in self.acknowledged:
            self._hold_to(lease)
        for t, task in state.tasks.items():
            if task.buffer != [i for i, _ in reference.buffer[t]]:
                raise Wrong(f"I1 once: task {t} has {task.buffer} in line, accepted were {reference.buffer[t]}")

    # --- each invariant ----------------------------------------------------------------------------------

    def _hold_to(self, lease: int) -> None:
        """I1, I3: what was acknowledged is accepted, for good."""
        reference = self.reference
        if reference is None:
            return  # nobody looks at the server: what devices are told is written down, not judged
        if lease not in reference.accepted:
            raise Wrong(f"I1 once: lease {lease} was acknowledged and is not among the accepted ones")
        if lease in reference.taken_back and reference.leases[lease].task not in reference.ended:
            raise Wrong(f"I1 once: lease {lease} was acknowledged and taken out of line")

    def _sender(self, reference: Reference, a: do.Accumulate) -> None:
        """I2: what is accepted was sent, byte for byte, by the client that holds the lease."""
        body = reference.bodies.get(a.lease, b"")
        client = reference.leases[a.lease].client
        known = self._sent.get(a.lease, {}).get(client, set())
        if not body or digest(unpack(body, Sent).data) not in known:
            raise Wrong(f"I2 no phantom: what was accepted for lease {a.lease} was not sent by client {client}")

    def _work(self, lease: Lease) -> None:
        """A lease says the same to every device that sees it, in every life of the server."""
        said = (lease.task, lease.client, lease.ordinal, lease.version, lease.seed, lease.node)
        if self._issued.setdefault(lease.id, said) != said:
            raise Wrong(f"I2 no phantom: lease {lease.id} was {self._issued[lease.id]} and is {said} now")

    def _ledger(self, host: Host, node: Node | None, durable: int) -> None:
        """I7: a private model leaves when the journal has every noisy step that is in it."""
        if node is None or self._setup.strategy.tasks[node.task].privacy is None:
            return
        history = self._reference(host).history[:durable]
        steps = sum(isinstance(e.event, on.Stepped) and e.event.task == node.task for e in history)
        memory = host.server.state.memories[f"privacy.{node.task}"]
        if not node.version <= steps <= memory.releases:
            raise Wrong(
                f"I7 ledger: version {node.version} of task {node.task} leaves, {steps} steps are durable and "
                f"{memory.releases} in the ledger"
            )

    def _bounds(self, host: Host, event: Event, actions: list[do.Action]) -> None:
        """I6, and the model against the reference after a step."""
        state, reference = host.server.state, self._reference(host)
        if len(state.answers) > ANSWERS:
            raise Wrong(f"I6 bounds: {len(state.answers)} answers are remembered, {ANSWERS} are allowed")
        pacing = self._setup.strategy.pacing
        most = (
            pacing.in_flight
            if isinstance(pacing, InFlight) and isinstance(pacing.in_flight, int)
            else len(state.leases)
        )
        if any(t.open > most for t in state.tasks.values()):
            raise Wrong(f"I6 bounds: more than {most} leases of one task are open")
        if isinstance(event, on.Arrived | on.Measured) and event.lease in reference.accepted:
            self._staleness(reference, reference.leases[event.lease], event.lease)
        if isinstance(event, on.Stepped | on.Restored):
            further = any(isinstance(a, do.Step | do.Restore) and a.task == event.task for a in actions)
            self._model(host, event.task, further)

    def _owners(self, host: Host) -> None:
        """I6: every lease, start value and update that is kept has somebody who will let go of it."""
        reference, open_leases = self._reference(host), host.account.open
        if len(reference.open) > WATCHED:
            return
        issued = {i for i, x in host.server.view.leases.items() if x.issued >= 0}
        if not issued == reference.open == set(open_leases):
            odd = sorted((issued ^ reference.open) | (issued ^ set(open_leases)))
            raise Wrong(f"I6 bounds: lease {odd[0]} is open for the server, the accounts or the reference, not for all")
        in_line = {x.id for shelf in host.book.shelves.values() for x, _ in shelf.pending}
        if lost := set(host.received.sent) - in_line - issued:
            raise Wrong(f"I6 bounds: the update of lease {min(lost)} is kept, and nobody will use it")
        for t, shelf in host.book.shelves.items():
            starts = [x.lease.version for x in open_leases.values() if x.lease.task == t]
            starts += [x.version for x, _ in shelf.pending]
            if shelf.readers != {v: starts.count(v) for v in set(starts)}:
                raise Wrong(f"I6 bounds: task {t} keeps versions {shelf.readers}; leases start at {sorted(starts)}")

    def _staleness(self, reference: Reference, lease: Lease, i: int) -> None:
        if reference.accepted[i] != len(reference.history):
            return
        guard = self._setup.strategy.tasks[lease.task].guard
        limits = [g.limit for g in (guard.guards if isinstance(guard, Chain) else (guard,)) if isinstance(g, Staleness)]
        age = reference.version[lease.task] - lease.version
        if age < 0 or any(limit is not None and age > limit for limit in limits):
            raise Wrong(f"I6 bounds: lease {i} is {age} versions old and was accepted")

    def _model(self, host: Host, task: str, further: bool) -> None:
        """I1: the model is what the accepted updates make of it, each once; ``further``: it has moved on already."""
        reference, x = self._reference(host), host.book.model(task, "kept")
        if x is None or not np.isfinite(x).all():
            raise Wrong(f"I6 bounds: the model of task {task} is not finite")
        if reference.version[task] + further != host.book.shelves[task].node.version:
            raise Wrong(f"I1 once: the book is at version {host.book.shelves[task].node.version} of task {task}")
        if reference.computes(task) and not further:
            want = reference.model[task]
            off = float(np.abs(x - want).max())
            if off > CLOSE * max(1.0, float(np.abs(want).max())):
                raise Wrong(f"I1 once: version {reference.version[task]} of task {task} is off by {off:.3g}")
            reference.model[task] = x.astype(np.float64)  # rounding does not add up

    def _isolation(self, host: Host, event: Event) -> None:
        """I8: an update or a step of one task leaves model, line and version of the others alone."""
        if not self._alone:
            return
        mine = getattr(event, "task", "")
        if isinstance(event, on.Arrived | on.Measured | on.Started | on.Failed):
            lease = self._reference(host).leases.get(event.lease)
            mine = "" if lease is None else lease.task
        for t in self._setup.tasks:
            task, shelf = host.server.state.tasks[t], host.book.shelves[t]
            now = (task.version, task.accepted, task.refused, tuple(task.buffer), task.status, shelf.x)
            before = self._before.get(t, now)
            same = before[:-1] == now[:-1] and before[-1] is now[-1]
            if mine and mine != t and not host.server.finished and not same:
                raise Wrong(f"I8 isolation: {type(event).__name__} of task {mine} changed task {t}")
            self._before[t] = now

    def _digest(self, host: Host) -> str:
        shelves = host.book.shelves
        lines = [(t, [(x.id, w) for x, w in s.pending], s.readers, s.epoch) for t, s in shelves.items()]
        return digest(state_digest(host.server, host.book).encode(), lines)

    def _reference(self, host: Host) -> Reference:
        if self.reference is None:
            self.reference = Reference(self._setup, {t: host.book.model(t, "kept") for t in self._setup.tasks})
        return self.reference
