"""The server's control plane: a pure state machine, events in, actions out.

It decides who works on what and when a model steps; it sees identities, counts, sizes and scalars, never
arrays, and does no I/O. One event is handled in three moves: the *tables* change (leases, tasks), the policies
*observe* the facts, then the *scheduler* decides (is a step due? may work start?).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hocket import actions as do
from hocket import events as on
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.guard.staleness import Staleness
from hocket.learning.local import LocalSGD
from hocket.lease import Lease, Node
from hocket.lease_table import Actions, LeaseTable
from hocket.policies import Estimate, Facts, Guard
from hocket.scheduler import Scheduler
from hocket.schema import Schema
from hocket.server_state import ServerState, fresh, invariants, policy_memories
from hocket.snapshot import pack, unpack
from hocket.strategy import FullStrategy, policies_of
from hocket.task_table import TaskTable
from hocket.until import Evaluation, Until
from hocket.view import View

ANSWERS = 4096  # how many answers a journaled server remembers for clients that ask again

Apply = Callable[[Any, int, Actions], bool]
"""Changes the tables for an event at a time, adds actions; whether decisions may differ now."""


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
        first: task to the node of its version 0 (a plain model if left out).
        schemas: task to what its model is made of, for policies that give out parts of it.
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
        first: Mapping[str, Node] | None = None,
        schemas: Mapping[str, Schema] | None = None,
    ) -> None:
        if clients < 1:
            raise InvalidInput(f"clients = {clients}: a fleet has at least 1")
        self.strategy = strategy
        self._local, self._seed = dict(local), seed
        self._until, self._evaluation = until, evaluation or Evaluation()
        self._objective = dict(objective or {})
        self._journaled = journaled
        self._estimate = dict(estimate or {})
        self._needs = {
            t: tuple(sorted({*measure, *(n for p in policies_of(strategy, t) for n in getattr(p, "needs", ()))}))
            for t in strategy.tasks
        }
        self._admit = {n: None if _admits_all(p.guard) else p.guard.admit for n, p in strategy.tasks.items()}
        state = fresh({t: (first or {}).get(t, Node(t, 0)) for t in strategy.tasks}, clients)
        self._schemas = dict(schemas or {})
        view = _view(state, self._schemas)
        state.memories = policy_memories(strategy, view)
        self._bind(state, view)

    # --- the one entry -----------------------------------------------------------------------------------

    def handle(self, event: Event, now: int) -> list[do.Action]:
        """Take one event at a time in nanoseconds (never before the last one); return what is to be done.

        Raises:
            InvalidInput: an event that does not exist or names something that does not; nothing has changed.
        """
        try:
            apply = self._apply[type(event)]
        except KeyError:
            raise InvalidInput(f"server: no event {type(event).__name__}; see hocket.events") from None
        out: Actions = []
        decide = apply(event, now, out)
        self.state.events += 1
        if (observers := self._observers) and (type(event) in observers or self._leases.facts):
            self._observe(event, now, out)
        if decide and not self.state.finished:
            self._decide(now, out)
        return out

    def _observe(self, event: Event, now: int, out: Actions) -> None:
        facts, self._leases.facts = self._leases.facts, []
        for fact in (event, *facts):
            for policy, memory in self._observers.get(type(fact), ()):
                self._tasks.ask(policy.observe(memory, fact, self.view, now), out)

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
        self._bind(state, _view(state, self._schemas))

    def pending(self) -> list[do.Action]:
        """What was asked and is not answered, for a driver that lost it (after a restart)."""
        s = self.state
        out: list[do.Action] = [do.Assign(x) for x in s.leases.values() if x.issued >= 0 and x.id not in s.measuring]
        out += [do.Decode(i, self._needs[s.leases[i].task]) for i in s.measuring]
        out += [do.Restore(t.name) if t.restoring else self._scheduler.step(t) for t in s.tasks.values() if t.stepping]
        return out if s.wake < 0 else [*out, do.WakeAt(s.wake)]

    def validate(self) -> None:
        """Check every invariant of the tables.

        Raises:
            AssertionError: one is broken; the message names it.
        """
        invariants(self.state)

    def _bind(self, state: ServerState, view: View) -> None:
        self.state, self.view = state, view
        s, memories = self.strategy, state.memories
        policies: list[tuple[Any, Any]] = [
            (getattr(s, level), memories[level]) for level in ("pacing", "matching", "prefetch")
        ]
        policies += [(part.submodel, memories["submodel." + n]) for n, part in s.tasks.items()]
        policies += [(p, memories["privacy." + n]) for n, part in s.tasks.items() if (p := part.privacy) is not None]
        self._observers: dict[type[Event], list[tuple[Any, Any]]] = {}
        for p, memory in policies:
            for fact in p.observes:
                self._observers.setdefault(fact, []).append((p, memory))
        changed = view.changed
        self._leases = LeaseTable(state, s, self._local, self._seed, on.Closed in self._observers, changed)
        both = on.Evaluated in self._observers
        self._tasks = tasks = TaskTable(state, self._leases, self._until, self._evaluation, both, changed)
        self._scheduler = Scheduler(
            state, view, self._leases, tasks, s, self._seed, self._until, self._estimate
        )  # fmt: skip
        self._decide = self._scheduler.decide
        self._apply: dict[type[Event], Apply] = {
            on.Joined: self._joined, on.Left: self._left, on.Fetched: self._fetched,
            on.Started: self._started, on.Arrived: self._arrived, on.Measured: self._measured,
            on.Failed: self._failed, on.Woke: self._woke, on.Durable: self._durable,
            on.TaskAdded: tasks.added, on.TaskPaused: tasks.paused, on.TaskEnded: tasks.ended,
            on.Halted: tasks.halted, on.Stepped: tasks.stepped, on.Evaluated: tasks.evaluated,
            on.Ranked: tasks.ranked, on.Restored: tasks.restored, on.Kept: tasks.noted, on.Planned: tasks.noted,
        }  # fmt: skip

    # --- the fleet ---------------------------------------------------------------------------------------

    def _joined(self, e: on.Joined, now: int, out: Actions) -> bool:
        s = self.state
        if e.clients and not 0 <= min(e.clients) <= max(e.clients) < s.clients:
            raise InvalidInput(f"clients {e.clients} joined; this server has clients 0..{s.clients - 1}")
        for c in e.clients:
            s.online.add(c)
            if not s.busy[c]:
                s.idle.add(c)
        if not s.begun:
            s.begun = True
            for t in s.tasks.values():
                self._tasks.measure(t, out)
        return True

    def _left(self, e: on.Left, now: int, out: Actions) -> bool:
        s = self.state
        if not 0 <= e.client < s.clients:
            raise InvalidInput(f"client {e.client} left; this server has clients 0..{s.clients - 1}")
        s.online.discard(e.client)
        s.idle.discard(e.client)
        if s.offers:
            s.offers = [offer for offer in s.offers if offer[0] != e.client]
        waiting = list(s.waiting.get(e.client, ()))
        for lease_id in waiting:
            self._leases.lose(s.leases[lease_id], "left", out)
        return bool(waiting)

    # --- the life of a lease -----------------------------------------------------------------------------

    def _fetched(self, e: on.Fetched, now: int, out: Actions) -> bool:
        s, node = self.state, e.node
        if e.size > 0:
            s.down += e.size
        task = s.tasks.get(node.task)
        if task is not None and 0 <= e.client < s.clients and 0 <= node.version <= task.node.version:
            task.held[e.client] = node.version
        return False

    def _started(self, e: on.Started, now: int, out: Actions) -> bool:
        lease = self.state.leases.get(e.lease)
        if lease is not None and lease.client == e.client and lease.started < 0 <= lease.issued:
            lease.started = now
        return False

    def _arrived(self, e: on.Arrived, now: int, out: Actions) -> bool:
        s = self.state
        if e.size > 0:
            s.up += e.size
        lease = s.leases.get(e.lease)
        if lease is None or s.finished:
            self._answer_again(e, out)
        elif lease.client != e.client:
            out.append(do.Refuse(e.lease, e.client, "not yours"))
        elif lease.issued < 0:
            out.append(do.Refuse(e.lease, e.client, "not issued"))
        elif e.lease not in s.measuring:  # a repeat gets the first one's answer
            refusal = _refusal(lease, e) if e.samples < 1 or e.digest else None
            if refusal is not None or not (needs := self._needs[lease.task]):
                return self._judge(lease, e.size, e.samples, {}, refusal, out)
            s.measuring[e.lease] = (e.size, e.samples)
            s.deadlines.pop(e.lease, None)
            lease.deadline = -1
            out.append(do.Decode(e.lease, needs))
        return False

    def _answer_again(self, e: on.Arrived, out: Actions) -> None:
        s = self.state
        told = s.answers.get(e.lease)
        if told is None or told[0] != e.client:
            known = "closed" if 0 <= e.lease < s.next_lease else "unknown"
            out.append(do.Refuse(e.lease, e.client, (s.finished and "finished") or known))
        elif told[1]:
            out.append(do.Refuse(e.lease, e.client, told[1]))
        elif all(e.lease != lease for _, lease, _ in s.unacknowledged):
            out.append(do.Accept(e.lease, e.client))

    def _measured(self, e: on.Measured, now: int, out: Actions) -> bool:
        s = self.state
        pending = s.measuring.pop(e.lease, None)
        lease = s.leases.get(e.lease)
        if pending is None or lease is None:
            return False
        if s.finished:
            out.append(do.Refuse(lease.id, lease.client, "finished"))
            return False
        finite = e.facts.get("finite", 1.0) == 1.0
        return self._judge(lease, *pending, e.facts, None if finite else "not finite", out)

    def _judge(
        self,
        lease: Lease,
        size: int,
        samples: int,
        measured: Mapping[str, float],
        refusal: str | None,
        out: Actions,
    ) -> bool:
        s, i, name = self.state, lease.id, lease.task
        task = s.tasks[name]
        if refusal is None and (admit := self._admit[name]) is not None:
            refusal = admit(lease, Facts(task.node.version - lease.version, size, samples, measured))
        self._leases.close(lease, refusal or "accepted", size, samples)
        if self._journaled:
            s.answers[i] = (lease.client, refusal or "")
            if len(s.answers) > ANSWERS:
                del s.answers[next(iter(s.answers))]
        if refusal is not None:
            task.refused += 1
            s.refused += 1
            out += (do.Refuse(i, lease.client, refusal), do.Release(i, name, refusal))
            return True
        task.accepted += 1
        s.updates += 1
        task.buffer.append(i)
        if self._journaled:
            s.unacknowledged.append((s.events + 1, i, lease.client))
        else:
            out.append(do.Accept(i, lease.client))
        weight = lease.weight
        if name in self._objective:
            weight *= self._objective[name][lease.client]
        out.append(do.Accumulate(i, name, weight))
        return True

    def _failed(self, e: on.Failed, now: int, out: Actions) -> bool:
        lease = self.state.leases.get(e.lease)
        if lease is None or lease.client != e.client or lease.issued < 0:
            return False
        self._leases.lose(lease, e.reason, out)
        return True

    # --- time and storage --------------------------------------------------------------------------------

    def _woke(self, e: on.Woke, now: int, out: Actions) -> bool:
        if 0 <= self.state.wake <= now:
            self.state.wake = -1
        self._leases.expire(now, out)
        if self._scheduler.is_over(now):
            self._tasks.finish("time", out)
        return True

    def _durable(self, e: on.Durable, now: int, out: Actions) -> bool:
        held = self.state.unacknowledged
        ready = [x for x in held if x[0] <= e.count]
        out += (do.Accept(lease, client) for _, lease, client in ready)
        del held[: len(ready)]
        return False


def _refusal(lease: Lease, e: on.Arrived) -> str | None:
    if e.samples < 1:
        return "no samples"
    if e.digest and lease.node is not None and lease.node.digest not in ("", e.digest):
        return "wrong start"
    return None


def _admits_all(guard: Guard) -> bool:
    return isinstance(guard, Staleness) and guard.limit is None


def _view(state: ServerState, schemas: Mapping[str, Schema]) -> View:
    return View(state.clients, state.tasks, state.leases, state.idle, state.online, state.busy, schemas)
