"""The server's control plane: a pure state machine, events in, actions out.

It decides who works on what and when a model steps; it sees identities, counts, sizes and scalars, never
arrays, and does no I/O. One event is handled in three moves: the *tables* change (leases, clients, tasks),
the policies *observe* the facts, then the server *decides* (is a step due? may work start?).
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from hocket import actions as do
from hocket import events as on
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.keyed import key, mix
from hocket.learning.local import LocalSGD
from hocket.lease import Lease, Node
from hocket.lease_table import SECOND, LeaseTable
from hocket.policies import Due, Estimate, Facts
from hocket.server_state import ServerState, fresh, invariants, policy_memories
from hocket.snapshot import pack, unpack
from hocket.strategy import FullStrategy, policies_of
from hocket.until import Evaluation, Until
from hocket.view import TaskState, View

ANSWERS = 4096  # how many answers a journaled server remembers for clients that ask again


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
        journaled: hold acknowledgements back until ``Durable`` covers them, and answer repeats alike.
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
        self._seed = seed
        self._until = until
        self._evaluation = evaluation or Evaluation()
        limits = {} if until is None else until.limits
        self._end_time = round(limits["time"] * SECOND) if "time" in limits else -1
        self._max_updates, self._max_bytes = limits.get("updates", inf), limits.get("bytes", inf)
        self._max_steps = limits.get("steps", inf)
        self._objective = dict(objective or {})
        self._journaled = journaled
        self._estimate = dict(estimate or {})
        self._match_key = key(seed, "match")
        self._needs = {
            t: tuple(sorted({*measure, *(n for p in policies_of(strategy, t) for n in getattr(p, "needs", ()))}))
            for t in strategy.tasks
        }
        self._guards = {n: part.guard for n, part in strategy.tasks.items()}
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
        view = _view(state)
        state.memories = policy_memories(strategy, view)
        self._bind(state, view)

    # --- the one entry -----------------------------------------------------------------------------------

    def handle(self, event: Event, now: int) -> list[do.Action]:
        """Take one event at a time in nanoseconds (never before the last one); return what is to be done.

        Raises:
            InvalidInput: an event that does not exist or names something that does not; nothing has changed.
        """
        table = self._table
        out: list[do.Action] = []
        self._out = table.out = out
        self._now = table.now = now
        self._dirty = False
        try:
            apply, observers = self._handlers[type(event)]
        except KeyError:
            raise InvalidInput(f"server: no event {type(event).__name__}; see hocket.events") from None
        apply(event)
        self.state.events += 1
        if observers:
            for policy, memory in observers:
                self._ask(policy.observe(memory, event, self.view, now))
        if table.facts:
            self._observe_closed()
        if self._dirty and not self.state.finished:
            self._decide()
        return out

    def _observe_closed(self) -> None:
        facts, self._table.facts = self._table.facts, []
        for fact in facts:
            for policy, memory in self._observers[on.Closed]:
                self._ask(policy.observe(memory, fact, self.view, self._now))

    def _ask(self, requests: Sequence[do.Request]) -> None:
        """Pass requests on; a restore keeps its task from new work until it is done, and waits for an open step."""
        for request in requests:
            if isinstance(request, do.Restore):
                task = self._task(request.task)
                if task.stepping:
                    if request not in self.state.asked:
                        self.state.asked.append(request)
                    continue
                task.stepping = task.restoring = True
            self._out.append(request)

    @property
    def finished(self) -> str:
        """Why the run ended, or an empty string while it goes on."""
        return self.state.finished

    @property
    def waits_for(self) -> str:
        """One sentence on what would let the run go on, for the error that a stalled run ends with."""
        s = self.state
        tasks = ", ".join(f"{t.name}: {t.status}, {t.open} open, {len(t.buffer)} buffered" for t in s.tasks.values())
        return f"{len(s.online)} of {s.clients} clients online, {len(s.idle)} idle; {tasks}"

    # --- memory ------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """All memory of the server and its policies, as bytes; equal states give equal bytes."""
        return pack(self.state)

    def restore(self, data: bytes) -> None:
        """Continue from a snapshot of a server built with the same arguments."""
        state = unpack(data, ServerState)
        kinds = {name: type(m) for name, m in self.state.memories.items()}
        if state.memories.keys() != kinds.keys() or state.clients != self.state.clients:
            raise InvalidInput(
                f"snapshot: {state.clients} clients, {', '.join(state.memories)}; this server has "
                f"{self.state.clients} clients, {', '.join(kinds)}. Restore into a server built alike"
            )
        state.memories = {n: unpack(pack(state.memories[n]), kind) for n, kind in kinds.items()}
        self._bind(state, _view(state))

    def pending(self) -> list[do.Action]:
        """What was asked and is not answered, for a driver that lost it (after a restart)."""
        s = self.state
        out: list[do.Action] = [do.Assign(x) for x in s.leases.values() if x.issued >= 0 and x.id not in s.measuring]
        out += [do.Decode(i, self._needs[s.leases[i].task]) for i in s.measuring]
        out += [do.Restore(t.name) if t.restoring else do.Step(t.name) for t in s.tasks.values() if t.stepping]
        return out if s.wake < 0 else [*out, do.WakeAt(s.wake)]

    def validate(self) -> None:
        """Check every invariant of the tables.

        Raises:
            AssertionError: one is broken; the message names it.
        """
        invariants(self.state)

    def _bind(self, state: ServerState, view: View) -> None:
        self.state, self.view = state, view
        self._tasks, self._leases = state.tasks, state.leases
        s, memories = self.strategy, state.memories
        policies: list[tuple[Any, Any]] = [
            (getattr(s, level), memories[level]) for level in ("pacing", "matching", "prefetch")
        ]
        policies += [(part.submodel, memories["submodel." + n]) for n, part in s.tasks.items()]
        self._observers: dict[type[Event], list[tuple[Any, Any]]] = {}
        for p, memory in policies:
            for fact in p.observes:
                self._observers.setdefault(fact, []).append((p, memory))
        self._handlers = {kind: (apply, self._observers.get(kind, ())) for kind, apply in self._apply.items()}
        self._pacing, self._pacing_memory = policies[0]
        self._matching, self._matching_memory = policies[1]
        self._looks_ahead = bool(getattr(s.matching, "looks_ahead", False))
        self._table = LeaseTable(state, s, self._local, self._seed, on.Closed in self._observers)

    # --- the fleet ---------------------------------------------------------------------------------------

    def _joined(self, e: on.Joined) -> None:
        s = self.state
        if e.clients and not 0 <= min(e.clients) <= max(e.clients) < s.clients:
            raise InvalidInput(f"clients {e.clients} joined; this server has clients 0..{s.clients - 1}")
        for c in e.clients:
            s.online.add(c)
            if not s.busy[c]:
                s.idle.add(c)
        self._dirty = True
        if not s.begun:
            s.begun = True
            for t in self._tasks.values():
                self._measure_model(t)

    def _left(self, e: on.Left) -> None:
        s = self.state
        if not 0 <= e.client < s.clients:
            raise InvalidInput(f"client {e.client} left; this server has clients 0..{s.clients - 1}")
        s.online.discard(e.client)
        s.idle.discard(e.client)
        for lease_id in list(s.waiting.get(e.client, ())):
            self._table.lose(self._leases[lease_id], "left")
            self._dirty = True

    # --- the life of a lease -----------------------------------------------------------------------------

    def _fetched(self, e: on.Fetched) -> None:
        self.state.down += max(e.size, 0)
        task = self._tasks.get(e.node.task)
        if task is not None and 0 <= e.client < self.state.clients and 0 <= e.node.version <= task.node.version:
            task.held[e.client] = e.node.version

    def _started(self, e: on.Started) -> None:
        lease = self._leases.get(e.lease)
        if lease is not None and lease.client == e.client and lease.started < 0 <= lease.issued:
            lease.started = self._now

    def _arrived(self, e: on.Arrived) -> None:
        self.state.up += max(e.size, 0)
        lease = self._leases.get(e.lease)
        if lease is None or self.state.finished:
            self._answer_again(e)
        elif lease.client != e.client:
            self._out.append(do.Refuse(e.lease, e.client, "not yours"))
        elif lease.issued < 0:
            self._out.append(do.Refuse(e.lease, e.client, "not issued"))
        elif e.lease in self.state.measuring:
            pass  # a repeat gets the first one's answer
        elif not (needs := self._needs[lease.task]) or self._refusal(lease, e):
            self._judge(lease, e.size, e.samples, {}, self._refusal(lease, e))
        else:
            self.state.measuring[e.lease] = (e.size, e.samples)
            self.state.deadlines.pop(e.lease, None)
            lease.deadline = -1
            self._out.append(do.Decode(e.lease, needs))

    def _refusal(self, lease: Lease, e: on.Arrived) -> str | None:
        if e.samples < 1:
            return "no samples"
        if e.digest and lease.node is not None and lease.node.digest not in ("", e.digest):
            return "wrong start"
        return None

    def _answer_again(self, e: on.Arrived) -> None:
        s = self.state
        told = s.answers.get(e.lease)
        if told is None or told[0] != e.client:
            known = "closed" if 0 <= e.lease < s.next_lease else "unknown"
            self._out.append(do.Refuse(e.lease, e.client, (s.finished and "finished") or known))
        elif told[1]:
            self._out.append(do.Refuse(e.lease, e.client, told[1]))
        elif all(e.lease != lease for _, lease, _ in s.unacknowledged):
            self._out.append(do.Accept(e.lease, e.client))

    def _measured(self, e: on.Measured) -> None:
        pending = self.state.measuring.pop(e.lease, None)
        lease = self._leases.get(e.lease)
        if pending is not None and lease is not None and self.state.finished:
            self._out.append(do.Refuse(lease.id, lease.client, "finished"))
        elif pending is not None and lease is not None:
            finite = e.facts.get("finite", 1.0) == 1.0
            self._judge(lease, *pending, e.facts, None if finite else "not finite")

    def _judge(self, lease: Lease, size: int, samples: int, measured: Mapping[str, float], refusal: str | None) -> None:
        s, task = self.state, self._tasks[lease.task]
        staleness = task.node.version - lease.version
        if refusal is None:
            refusal = self._guards[lease.task].admit(lease, Facts(staleness, size, samples, measured))
        self._table.close(lease, refusal or "accepted", size, samples)
        self._dirty = True
        if self._journaled:
            s.answers[lease.id] = (lease.client, refusal or "")
            if len(s.answers) > ANSWERS:
                del s.answers[next(iter(s.answers))]
        if refusal is not None:
            task.refused += 1
            s.refused += 1
            self._out.append(do.Refuse(lease.id, lease.client, refusal))
            self._out.append(do.Release(lease.id, lease.task, refusal))
            return
        task.accepted += 1
        s.updates += 1
        task.buffer.append(lease.id)
        if self._journaled:
            s.unacknowledged.append((s.events + 1, lease.id, lease.client))
        else:
            self._out.append(do.Accept(lease.id, lease.client))
        weight = lease.weight
        if lease.task in self._objective:
            weight *= self._objective[lease.task][lease.client]
        self._out.append(do.Accumulate(lease.id, lease.task, weight))

    def _failed(self, e: on.Failed) -> None:
        lease = self._leases.get(e.lease)
        if lease is not None and lease.client == e.client and lease.issued >= 0:
            self._table.lose(lease, e.reason)
            self._dirty = True

    # --- time, storage, operators ------------------------------------------------------------------------

    def _woke(self, e: on.Woke) -> None:
        if 0 <= self.state.wake <= self._now:
            self.state.wake = -1
        self._table.expire()
        if 0 <= self._end_time <= self._now:
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
            self._table.cancel(lease, "ended")
        for lease_id in task.buffer:
            self._out.append(do.Release(lease_id, task.name, "ended"))
        dropped, s = set(task.buffer), self.state
        self._out.extend(do.Refuse(i, c, "ended") for _, i, c in s.unacknowledged if i in dropped)
        s.unacknowledged = [x for x in s.unacknowledged if x[1] not in dropped]
        s.answers.update((i, (s.answers[i][0], "ended")) for i in dropped if i in s.answers)
        s.offers = [x for x in s.offers if x[1] != task.name]
        task.buffer.clear()
        self._dirty = True
        if all(t.status == "ended" for t in self._tasks.values()):
            self._finish(reason)

    def _halted(self, e: on.Halted) -> None:
        self._finish(e.reason)

    def _finish(self, reason: str) -> None:
        if not self.state.finished:
            self.state.finished = reason or "halted"
            self._out.append(do.Save())
            self._out.append(do.Finish(self.state.finished))

    # --- results of actions ------------------------------------------------------------------------------

    def _stepped(self, e: on.Stepped) -> None:
        task = self._task(e.task)
        _check_next(task, e.node)
        if not task.stepping or task.restoring:
            raise InvalidInput(f"task {e.task!r} stepped to version {e.node.version} without being asked")
        self._advance(task, e.node)
        task.stepping = False
        waiting = [r for r in self.state.asked if r.task == e.task]
        self.state.asked = [r for r in self.state.asked if r.task != e.task]
        self._ask(waiting)

    def _restored(self, e: on.Restored) -> None:
        task = self._task(e.task)
        _check_next(task, e.node)
        if not task.restoring:
            raise InvalidInput(f"task {e.task!r} was restored to version {e.node.version} without being asked")
        self._advance(task, e.node)
        task.stepping = task.restoring = False
        task.epoch = e.epoch

    def _advance(self, task: TaskState, node: Node) -> None:
        task.node = node
        task.last_step = self._now
        self._out.append(do.Publish(node))
        self._dirty = True
        if node.version % self._evaluation.every == 0:
            self._measure_model(task)
        if node.version >= self._max_steps:
            self._finish("steps")

    def _measure_model(self, task: TaskState) -> None:
        ev = self._evaluation
        self._out.append(do.Evaluate(task.name, ev.subject, ev.split))
        if ev.split != "validation" and on.Evaluated in self._observers:
            self._out.append(do.Evaluate(task.name, ev.subject, "validation"))

    def _evaluated(self, e: on.Evaluated) -> None:
        task = self._task(e.task)
        until, ev = self._until, self._evaluation
        if until is None or not until.targeted or not e.metrics or e.version <= task.measured:
            return
        if (e.split, e.subject) == (ev.split, ev.subject):
            reached = until.reached(e.metrics)
            task.measured = e.version
            task.streak = task.streak + 1 if reached else 0
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
        over = s.updates >= self._max_updates or s.up + s.down >= self._max_bytes
        if self._pacing.refill_first and not over:
            self._refill()
        while (due := self._pacing.due(self._pacing_memory, self.view, self._now)) is not None:
            if due.look_again_at is not None:
                self._look_again(due.look_again_at)
            if due.task is None:
                break
            self._begin_step(due, self._tasks[due.task])
        if over:
            self._finish("updates" if s.updates >= self._max_updates else "bytes")
            return
        if s.freed:
            self._table.send_waiting()
        if not self._pacing.refill_first:
            self._refill()
        if self._looks_ahead:
            self._look_ahead()
        if s.offers:
            self._offer()
        if s.deadlines:
            self._wake(next(iter(s.deadlines.values())))
        if self._end_time >= 0:
            self._wake(self._end_time)

    def _look_again(self, time: int) -> None:
        if time <= self._now:
            raise InvalidInput(f"pacing asks to look again at {time} ns; it is {self._now} ns already")
        self._wake(time)

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
            self._table.cancel(self._leases[lease_id], "overcommitted")
        task.stepping = True
        self._out.append(do.Step(task.name))

    def _key(self) -> int:
        s = self.state
        s.draws += 1
        return mix(self._match_key ^ s.draws)

    def _refill(self) -> None:
        slots = self._pacing.room(self._pacing_memory, self.view, self._now)
        if slots:
            route = self._table.route
            for pick in self._matching.match(self._matching_memory, slots, self.view, self._key()):
                route(pick)

    def _look_ahead(self) -> None:
        s, view = self.state, self.view
        slots = self._pacing.room(self._pacing_memory, view, self._now)
        picks = self._matching.ahead(self._matching_memory, slots, view, self._key())
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


def _view(state: ServerState) -> View:
    return View(state.clients, state.tasks, state.leases, state.idle, state.online, state.busy)


def _check_next(task: TaskState, node: Node) -> None:
    if node.task != task.name:
        raise InvalidInput(f"task {task.name!r} cannot publish a node of task {node.task!r}")
    if node.version != task.version + 1:
        raise InvalidInput(f"task {task.name!r}: version {node.version} after {task.version}; versions go up by one")
