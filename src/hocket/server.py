"""The server's control plane: a pure state machine, events in, actions out.

It decides who works on what and when a model steps; it sees identities, counts, sizes and scalars, never
arrays, and does no I/O. One event is handled in three moves: the *tables* change (leases, clients, tasks),
the policies *observe* the fact, then the server *decides* (is a step due? may work start?).
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from msgspec.structs import replace

from hocket import actions as do
from hocket import events as on
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.keyed import key, mix
from hocket.learning.local import LocalSGD
from hocket.lease import Lease, Node
from hocket.policies import Due, Estimate, Facts, Pick
from hocket.server_state import ServerState, fresh, invariants
from hocket.snapshot import pack, unpack
from hocket.strategy import FullStrategy, policies_of
from hocket.until import Evaluation, Until
from hocket.view import TaskState, View

SECOND = 1_000_000_000


class Server:
    """Decides for a fleet of ``clients`` devices under a strategy; identical inputs give identical outputs.

    Args:
        strategy: every part set (see :func:`hocket.strategy.fill`).
        clients: number of devices; identities are ``range(clients)``.
        local: task name to its local work.
        seed: of the run; all draws are keyed by it.
        until: stop conditions.
        evaluation: when models are measured.
        objective: task to one weight per client (mean 1); a task left out weighs all clients equally.
        measure: facts the driver measures of every update, whatever the policies need (service: finite).
        journaled: hold acknowledgements back until ``Durable`` covers them.
        estimate: task to what a prefetch policy may know of sizes and rates.
    """

    def __init__(
        self,
        strategy: FullStrategy,
        clients: int,
        local: Mapping[str, LocalSGD],
        *,
        seed: int = 0,
        until: Until | None = None,
        evaluation: Evaluation | None = None,
        objective: Mapping[str, Sequence[float]] | None = None,
        measure: tuple[str, ...] = (),
        journaled: bool = False,
        estimate: Mapping[str, Estimate] | None = None,
    ) -> None:
        if clients < 1:
            raise InvalidInput(f"clients = {clients}: a fleet has at least 1")
        self.strategy = strategy
        self._local = dict(local)
        self._until = until
        self._evaluation = evaluation or Evaluation()
        self._max_updates = inf if until is None or until.updates is None else until.updates
        self._max_bytes = inf if until is None or until.bytes is None else until.bytes
        self._objective = dict(objective or {})
        self._journaled = journaled
        self._estimate = dict(estimate or {})
        self._keys = {t: key(seed, "lease", t) for t in strategy.tasks}
        self._timeout = None if strategy.pacing.timeout is None else round(strategy.pacing.timeout * SECOND)
        self._match_key = key(seed, "match")
        self._needs = {
            t: tuple(
                sorted({*measure, *(n for p in policies_of(strategy, t) for n in getattr(p, "needs", ()))})
            )
            for t in strategy.tasks
        }
        self._apply: dict[type[Event], Callable[[Any], None]] = {
            on.Joined: self._joined, on.Left: self._left, on.Fetched: self._fetched,
            on.Started: self._started, on.Arrived: self._arrived, on.Measured: self._measured,
            on.Failed: self._failed, on.Woke: self._woke, on.Durable: self._durable,
            on.TaskAdded: self._task_added, on.TaskPaused: self._task_paused,
            on.TaskEnded: self._task_ended, on.Halted: self._halted, on.Stepped: self._stepped,
            on.Evaluated: self._evaluated, on.Ranked: self._ranked, on.Kept: self._noted,
            on.Restored: self._restored, on.Planned: self._noted,
        }  # fmt: skip
        self._out: list[do.Action] = []
        self._now = 0
        self._dirty = False
        state = fresh(tuple(strategy.tasks), clients)
        self._bind(state)
        self._init_policies()

    # --- the one entry -----------------------------------------------------------------------------------

    def handle(self, event: Event, now: int) -> list[do.Action]:
        """Take one event at a time in nanoseconds (never before the last one); return what is to be done.

        Raises:
            InvalidInput: an event the server does not know.
        """
        out: list[do.Action] = []
        self._out = out
        self._now = now
        self._dirty = False
        self.state.events += 1
        try:
            apply, observers = self._handlers[type(event)]
        except KeyError:
            raise InvalidInput(f"server: no event {type(event).__name__}; see hocket.events") from None
        apply(event)
        for policy, memory in observers:
            out.extend(policy.observe(memory, event, self.view, now))
        if self._dirty and not self.state.finished:
            self._decide()
        return out

    @property
    def finished(self) -> str:
        """Why the run ended, or an empty string while it goes on."""
        return self.state.finished

    @property
    def waits_for(self) -> str:
        """One sentence on what would let the run go on, for the error that a stalled run ends with."""
        s = self.state
        tasks = ", ".join(
            f"{t.name}: {t.status}, {t.open} open, {len(t.buffer)} buffered" for t in s.tasks.values()
        )
        return f"{len(s.online)} of {s.clients} clients online, {len(s.idle)} idle; {tasks}"

    # --- memory ------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """All memory of the server and its policies, as bytes; equal states give equal bytes."""
        return pack(self.state)

    def restore(self, data: bytes) -> None:
        """Continue from a snapshot of a server built with the same arguments."""
        state = unpack(data, ServerState)
        memories = {name: type(m) for name, m in self.state.memories.items()}
        state.memories = {n: unpack(pack(state.memories[n]), t) for n, t in memories.items()}
        self._bind(state)
        self._index_observers()

    def validate(self) -> None:
        """Check every invariant of the tables.

        Raises:
            AssertionError: one is broken; the message names it.
        """
        invariants(self.state)

    def _bind(self, state: ServerState) -> None:
        self.state = state
        self._tasks = state.tasks
        self._leases = state.leases
        self.view = View(state.clients, state.tasks, state.leases, state.idle, state.online, state.busy)

    def _init_policies(self) -> None:
        s, view = self.strategy, self.view
        memories = self.state.memories
        for level in ("pacing", "matching", "prefetch"):
            memories[level] = getattr(s, level).init(view)
        for name, part in s.tasks.items():
            memories[f"submodel.{name}"] = part.submodel.init(view)
        self._index_observers()

    def _index_observers(self) -> None:
        s, memories = self.strategy, self.state.memories
        policies: list[tuple[Any, Any]] = [
            (getattr(s, level), memories[level]) for level in ("pacing", "matching", "prefetch")
        ]
        policies += [(part.submodel, memories[f"submodel.{n}"]) for n, part in s.tasks.items()]
        self._observers: dict[type[Event], list[tuple[Any, Any]]] = {}
        for p, memory in policies:
            for fact in p.observes:
                self._observers.setdefault(fact, []).append((p, memory))
        self._handlers = {kind: (apply, self._observers.get(kind, ())) for kind, apply in self._apply.items()}
        self._submodels = {n: (part.submodel, memories[f"submodel.{n}"]) for n, part in s.tasks.items()}
        self._guards = {n: part.guard for n, part in s.tasks.items()}
        self._keeps = {n for n, part in s.tasks.items() if getattr(part.merge, "keeps", False)}
        self._pacing, self._pacing_memory = policies[0]
        self._matching, self._matching_memory = policies[1]

    # --- the fleet ---------------------------------------------------------------------------------------

    def _joined(self, e: on.Joined) -> None:
        s = self.state
        for c in e.clients:
            if not 0 <= c < s.clients:
                raise InvalidInput(f"client {c} joined; this server has clients 0..{s.clients - 1}")
            s.online.add(c)
            if not s.busy[c]:
                s.idle.add(c)
        self._dirty = True
        if not s.begun:
            s.begun = True
            for t in self._tasks.values():
                self._measure_model(t)
            if self._until is not None and self._until.time is not None:
                self._out.append(do.WakeAt(round(self._until.time * SECOND)))

    def _left(self, e: on.Left) -> None:
        if not 0 <= e.client < self.state.clients:
            raise InvalidInput(f"client {e.client} left; this server has clients 0..{self.state.clients - 1}")
        self.state.online.discard(e.client)
        self.state.idle.discard(e.client)
        for lease_id in list(self.state.waiting.get(e.client, ())):
            self._lose(self._leases[lease_id], "left")

    # --- the life of a lease -----------------------------------------------------------------------------

    def _fetched(self, e: on.Fetched) -> None:
        self.state.down += e.size
        task = self._tasks.get(e.node.task)
        if task is not None and 0 <= e.client < self.state.clients:
            task.held[e.client] = e.node.version

    def _started(self, e: on.Started) -> None:
        lease = self._leases.get(e.lease)
        if lease is not None and lease.client == e.client and lease.started < 0 <= lease.issued:
            lease.started = self._now

    def _arrived(self, e: on.Arrived) -> None:
        self.state.up += max(e.size, 0)
        lease = self._leases.get(e.lease)
        if lease is None or self.state.finished:
            self._out.append(do.Refuse(e.lease, e.client, self._unknown(e.lease)))
        elif lease.client != e.client:
            self._out.append(do.Refuse(e.lease, e.client, "not yours"))
        elif lease.issued < 0 or e.lease in self.state.measuring:
            self._out.append(do.Refuse(e.lease, e.client, "not issued" if lease.issued < 0 else "duplicate"))
        elif needs := self._needs[lease.task]:
            self.state.measuring[e.lease] = (e.size, e.samples)
            self._out.append(do.Decode(e.lease, needs))
        else:
            self._judge(lease, e.size, e.samples, {})

    def _unknown(self, lease: int) -> str:
        if self.state.finished:
            return "finished"
        return "closed" if 0 <= lease < self.state.next_lease else "unknown"

    def _measured(self, e: on.Measured) -> None:
        pending = self.state.measuring.pop(e.lease, None)
        lease = self._leases.get(e.lease)
        if pending is not None and lease is not None and not self.state.finished:
            self._judge(lease, *pending, e.facts)

    def _judge(self, lease: Lease, size: int, samples: int, measured: Mapping[str, float]) -> None:
        task = self._tasks[lease.task]
        guard = self._guards[lease.task]
        staleness = task.node.version - lease.version
        if measured and measured.get("finite", 1.0) != 1.0:
            reason: str | None = "not finite"
        elif samples < 1:
            reason = "no samples"
        else:
            reason = guard.admit(lease, Facts(staleness, size, samples, measured))
        self._close(lease, task)
        if reason is not None:
            task.refused += 1
            self.state.refused += 1
            self._out.append(do.Refuse(lease.id, lease.client, reason))
            self._out.append(do.Release(lease.id, lease.task, reason))
            return
        task.accepted += 1
        self.state.updates += 1
        task.buffer.append(lease.id)
        if lease.task in self._keeps:
            task.newest[lease.client] = lease
        if self._journaled:
            self.state.unacknowledged.append((self.state.events, lease.id, lease.client))
        else:
            self._out.append(do.Accept(lease.id, lease.client))
        self._out.append(do.Accumulate(lease.id, lease.task, self._weight(lease, staleness)))

    def _failed(self, e: on.Failed) -> None:
        lease = self._leases.get(e.lease)
        if lease is not None and lease.client == e.client and lease.issued >= 0:
            self._lose(lease, e.reason)

    def _lose(self, lease: Lease, reason: str) -> None:
        self._close(lease, self._tasks[lease.task])
        self.state.lost += 1
        self._out.append(do.Release(lease.id, lease.task, reason))

    def _close(self, lease: Lease, task: TaskState) -> None:
        s, c = self.state, lease.client
        del self._leases[lease.id]
        task.open -= 1
        busy = s.busy[c] = s.busy[c] - 1
        if lease.deadline >= 0:
            s.deadlines.pop(lease.id, None)
        s.measuring.pop(lease.id, None)
        if s.waiting and (queue := s.waiting.get(c)):
            if lease.id in queue:
                queue.remove(lease.id)
            elif queue:
                waiting = self._leases[queue.pop(0)]
                self._send(waiting, self._tasks[waiting.task])
            if not queue:
                del s.waiting[c]
        if not busy and s.online.where[c] >= 0:
            s.idle.add(c)
        self._dirty = True

    def _cancel(self, lease: Lease, reason: str) -> None:
        self._close(lease, self._tasks[lease.task])
        if lease.issued >= 0:
            self._out.append(do.Cancel(lease.id, lease.client, lease.task, reason))
        self._out.append(do.Release(lease.id, lease.task, reason))

    # --- time, storage, operators ------------------------------------------------------------------------

    def _woke(self, e: on.Woke) -> None:
        s = self.state
        if 0 <= s.wake <= self._now:
            s.wake = -1
        expired = []
        for lease_id, deadline in s.deadlines.items():
            if deadline > self._now:
                break
            expired.append(lease_id)
        for lease_id in expired:
            self._cancel(self._leases[lease_id], "expired")
            s.lost += 1
        limit = self._until.time if self._until is not None else None
        if limit is not None and self._now >= round(limit * SECOND):
            self._finish("time")
        self._dirty = True

    def _durable(self, e: on.Durable) -> None:
        held = self.state.unacknowledged
        ready = [x for x in held if x[0] <= e.count]
        self._out.extend(do.Accept(lease, client) for _, lease, client in ready)
        del held[: len(ready)]

    def _task(self, name: str) -> TaskState:
        task = self._tasks.get(name)
        if task is None:
            raise InvalidInput(f"no task {name!r}; this run has {', '.join(self._tasks)}")
        return task

    def _task_added(self, e: on.TaskAdded) -> None:
        task = self._task(e.task)
        if task.status == "paused":
            task.status = "active"
            self._dirty = True

    def _task_paused(self, e: on.TaskPaused) -> None:
        task = self._task(e.task)
        if task.status == "active":
            task.status = "paused"

    def _task_ended(self, e: on.TaskEnded) -> None:
        self._end(self._task(e.task), e.reason)

    def _end(self, task: TaskState, reason: str) -> None:
        if task.status == "ended":
            return
        task.status = "ended"
        for lease in [x for x in self._leases.values() if x.task == task.name]:
            self._cancel(lease, "ended")
        for lease_id in task.buffer:
            self._out.append(do.Release(lease_id, task.name, "ended"))
        task.buffer.clear()
        self._dirty = True
        if all(t.status == "ended" for t in self._tasks.values()):
            self._finish(reason)

    def _halted(self, e: on.Halted) -> None:
        self._finish(e.reason)

    def _finish(self, reason: str) -> None:
        if not self.state.finished:
            self.state.finished = reason
            self._out.append(do.Save())
            self._out.append(do.Finish(reason))

    # --- results of actions ------------------------------------------------------------------------------

    def _stepped(self, e: on.Stepped) -> None:
        task = self._task(e.task)
        if not task.stepping:
            raise InvalidInput(f"task {e.task!r} stepped to version {e.node.version} without being asked")
        task.stepping = False
        self._advance(task, e.node)

    def _restored(self, e: on.Restored) -> None:
        task = self._task(e.task)
        task.epoch = e.epoch
        self._advance(task, e.node)

    def _advance(self, task: TaskState, node: Node) -> None:
        if node.version != task.version + 1:
            raise InvalidInput(
                f"task {task.name!r}: version {node.version} after {task.version}; versions go up by one"
            )
        task.node = node
        task.last_step = self._now
        self._out.append(do.Publish(node))
        self._dirty = True
        if node.version % self._evaluation.every == 0:
            self._measure_model(task)
        if self._until is not None and self._until.steps is not None and node.version >= self._until.steps:
            self._finish("steps")

    def _measure_model(self, task: TaskState) -> None:
        ev = self._evaluation
        self._out.append(do.Evaluate(task.name, ev.subject, ev.split))
        if ev.split != "validation" and on.Evaluated in self._observers:
            self._out.append(do.Evaluate(task.name, ev.subject, "validation"))

    def _evaluated(self, e: on.Evaluated) -> None:
        task = self._task(e.task)
        until, ev = self._until, self._evaluation
        if (
            until is None
            or not until.targeted
            or e.split != ev.split
            or e.subject != ev.subject
            or not e.metrics
        ):
            return
        task.streak = task.streak + 1 if until.reached(e.metrics) else 0
        if task.streak >= until.confirm:
            self._end(task, "target")

    def _ranked(self, e: on.Ranked) -> None:
        self._task(e.task).epoch = e.epoch

    def _noted(self, e: on.Kept | on.Planned) -> None:
        self._task(e.task)
        self._dirty = True

    # --- decisions ---------------------------------------------------------------------------------------

    def _decide(self) -> None:
        s = self.state
        if self._pacing.refill_first:
            self._refill()
        while (due := self._pacing.due(self._pacing_memory, self.view, self._now)) is not None:
            if due.look_again_at is not None:
                self._wake(due.look_again_at)
            if due.task is None:
                break
            self._begin_step(due, self._tasks[due.task])
        if s.updates >= self._max_updates or s.up + s.down >= self._max_bytes:
            self._finish("updates" if s.updates >= self._max_updates else "bytes")
        if not s.finished and not self._pacing.refill_first:
            self._refill()
        if self._estimate and not s.finished:
            self._look_ahead()
        if s.offers:
            self._offer()
        if s.deadlines:
            self._wake(next(iter(s.deadlines.values())))

    def _wake(self, time: int) -> None:
        s = self.state
        if s.wake < 0 or time < s.wake:
            s.wake = time
            self._out.append(do.WakeAt(time))

    def _begin_step(self, due: Due, task: TaskState) -> None:
        if due.accepted is not None:
            keep = set(due.accepted)
            for lease_id in task.buffer:
                if lease_id not in keep:
                    self._out.append(do.Release(lease_id, task.name, "discarded"))
        task.buffer.clear()
        for lease_id in due.cancel or ():
            self._cancel(self._leases[lease_id], "overcommitted")
        task.stepping = True
        self._out.append(do.Step(task.name, self._weights_now(task)))

    def _weights_now(self, task: TaskState) -> tuple[tuple[int, float], ...]:
        if task.name not in self._keeps:
            return ()
        return tuple((x.id, self._weight(x, task.version - x.version)) for x in task.newest.values())

    def _weight(self, lease: Lease, staleness: int) -> float:
        weight = self._guards[lease.task].weigh(lease, staleness) * lease.weight
        objective = self._objective.get(lease.task)
        return weight if objective is None else weight * objective[lease.client]

    def _refill(self) -> None:
        slots = self._pacing.room(self._pacing_memory, self.view, self._now)
        if not slots:
            return
        s = self.state
        k = mix(self._match_key ^ s.draws)
        s.draws += 1
        for pick in self._matching.match(self._matching_memory, slots, self.view, k):
            self._route(pick)

    def _look_ahead(self) -> None:
        s, view = self.state, self.view
        slots = self._pacing.room(self._pacing_memory, view, self._now)
        k = mix(self._match_key ^ s.draws)
        s.draws += 1
        picks = self._matching.ahead(self._matching_memory, slots, view, k)
        for name, estimate in self._estimate.items():
            mine = [p for p in picks if p.task == name]
            s.offers += self.strategy.prefetch.starts(s.memories["prefetch"], mine, view, estimate)

    def _offer(self) -> None:
        s, later = self.state, []
        for offer in s.offers:
            client, name, version, time = offer
            if version > self._tasks[name].version or time > self._now:
                later.append(offer)
            elif client in s.online:
                self._out.append(do.Offer(client, self._tasks[name].node))
        s.offers = later
        if times := [time for *_, time in later if time > self._now]:
            self._wake(min(times))

    def _route(self, pick: Pick) -> None:
        s, c, name = self.state, pick.client, pick.task
        task = self._tasks[name]
        submodel, memory = self._submodels[name]
        ordinal = task.ordinals[c]
        task.ordinals[c] = ordinal + 1
        lease_id = s.next_lease
        s.next_lease = lease_id + 1
        attach = self.strategy.attach
        lease = Lease(
            lease_id, name, c, ordinal, None, submodel.cover(memory, c), self._local[name],
            mix(self._keys[name] ^ (c << 32 | ordinal)), self._now, -1, -1, -1,
            pick.probability, pick.weight, pick.group, "", attach, task.epoch,
        )  # fmt: skip
        self._leases[lease_id] = lease
        task.open += 1
        busy = s.busy[c]
        s.busy[c] = busy + 1
        if not busy:
            s.idle.discard(c)
        elif attach == "start":
            s.waiting.setdefault(c, []).append(lease_id)
            return
        self._send(lease, task)

    def _send(self, lease: Lease, task: TaskState) -> None:
        node = task.node
        if lease.cover is not node.cover and lease.cover != node.cover:
            node = replace(node, cover=lease.cover)
        lease.node, lease.version = node, node.version
        lease.issued = self._now
        if self._timeout is not None:
            lease.deadline = self._now + self._timeout
            self.state.deadlines[lease.id] = lease.deadline
        self._out.append(do.Assign(lease))
