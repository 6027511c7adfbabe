"""Any sequence of events at all: the server keeps its invariants and a naive referee agrees with what it does."""

from collections.abc import Mapping
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hocket import actions as do
from hocket import events as on
from hocket.errors import InvalidInput
from hocket.guard import Chain, Hinge, NormBound, Staleness
from hocket.learning.local import LocalSGD
from hocket.lease import Lease, Node
from hocket.matching import Uniform
from hocket.merge import MeanByCount
from hocket.pacing import InFlight, Rounds, Windows
from hocket.server import Server
from hocket.strategies import asyncsgd, fedasync, fedavg, fedbuff, fedfix
from hocket.strategy import FullStrategy, Strategy, TaskPart, compose, fill
from hocket.until import SECOND, Evaluation, Until
from hocket.view import View

CLIENTS = 7


class Rewinding(InFlight, frozen=True, tag="rewinding"):
    """Goes back to what was kept at every evaluation below one half."""

    observes: ClassVar[tuple[type[on.Event], ...]] = (on.Evaluated,)

    def observe(self, state: None, fact: on.Event, view: View, now: int) -> list[do.Request]:
        assert isinstance(fact, on.Evaluated)
        return [do.Restore(fact.task)] if fact.metrics["accuracy"] < 0.5 else []


LATE = Strategy("late", attach="start")
METHODS: Mapping[str, Strategy] = {
    "fedavg": fedavg(cohort=3),
    "fedavg overcommit": fedavg(cohort=3, overcommit=1.7),
    "fedavg deadline": fedavg(cohort=4, overcommit=1.5, deadline=5.0, minimum=2),
    "fedavg timeout": fedavg(cohort=3, deadline=3.0, timeout=4.0),
    "fedasync": fedasync(in_flight=4),
    "fedasync limit": fedasync(in_flight=5, decay=Hinge(2.0, 1), staleness_limit=2, timeout=3.0),
    "fedbuff": fedbuff(buffer=3, in_flight=5),
    "fedbuff refill first": fedbuff(buffer=2, in_flight=5, refill_first=True, timeout=6.0),
    "fedbuff limit": fedbuff(buffer=2, in_flight=6, staleness_limit=1, normalise="weight"),
    "fedbuff norm": Strategy(
        "fedbuff norm",
        InFlight(5, 2, timeout=5.0),
        task=TaskPart(merge=MeanByCount(), guard=Chain((Staleness(limit=3), NormBound(1.0)))),
    ),
    "asyncsgd": asyncsgd(in_flight=9),
    "asyncsgd timeout": asyncsgd(in_flight=6, timeout=4.0),
    "asyncsgd start": compose(asyncsgd(in_flight=12), LATE),
    "asyncsgd start timeout": compose(asyncsgd(in_flight=12, timeout=3.0), LATE),
    "fedfix": fedfix(window=4.0),
    "fedfix timeout": fedfix(window=2.0, timeout=3.0),
    "rewinding": Strategy("rewinding", Rewinding(5, 2)),
    "rewinding refill first": Strategy("rewinding", Rewinding(5, 2, refill_first=True)),
    "rewinding start": Strategy("rewinding", Rewinding(12, 1, timeout=9.0), Uniform("queue"), attach="start"),
    "windows": Strategy("windows", Windows(3.0, in_flight=3)),
}
UNTIL = (
    None,
    None,
    Until(updates=9),
    Until(steps=4),
    Until(time=25.0),
    Until(bytes=3000),
    Until(accuracy=0.9, confirm=2),
)


class Referee:
    """What must be true of the actions, kept naively and apart from the server's own tables."""

    def __init__(self, strategy: FullStrategy, journaled: bool, until: Until | None) -> None:
        self.strategy, self.journaled, self.until = strategy, journaled, until
        self.events = 0
        self.now = 0
        self.online: set[int] = set()
        self.version = dict.fromkeys(strategy.tasks, 0)
        self.status = dict.fromkeys(strategy.tasks, "active")
        self.assigned: dict[int, Lease] = {}  # every lease that was ever sent
        self.held: set[int] = set()  # sent and not closed
        self.ordinals: set[tuple[str, int, int]] = set()
        self.decoding: set[int] = set()
        self.released: set[int] = set()
        self.buffer: dict[str, list[int]] = {t: [] for t in strategy.tasks}
        self.accumulated: dict[int, int] = {}  # lease to number of the event that accepted it
        self.in_step: dict[int, tuple[str, int]] = {}
        self.stepping: set[str] = set()
        self.restoring: set[str] = set()
        self.acknowledged: set[int] = set()
        self.taken_back: set[int] = set()  # accepted, never acknowledged, and over with their task
        self.durable = 0
        self.finished = ""
        self.wakes: list[int] = []

    def check(self, event: on.Event, now: int, actions: list[do.Action]) -> None:
        """Fold one event and the server's answer in; an assertion fails where the answer is wrong."""
        self.events += 1
        assert now >= self.now
        self.now = now
        self._before(event)
        if isinstance(event, on.Arrived):
            self._one_answer(event, actions)
        elif not isinstance(event, on.Measured):
            assert not any(isinstance(a, do.Accumulate | do.Decode) for a in actions)
        for at, action in enumerate(actions):
            self._action(event, action, actions[:at])

    def _one_answer(self, event: on.Arrived, actions: list[do.Action]) -> None:
        """An arrival is answered now, or later if it or an earlier copy of it is on its way to an answer."""
        about = [a for a in actions if getattr(a, "lease", None) == event.lease]
        answers = [a for a in about if isinstance(a, do.Accumulate | do.Refuse | do.Decode)]
        if not answers:  # else the acknowledgement of an earlier copy, said again
            answers = [a for a in about if isinstance(a, do.Accept)]
        accepted = event.lease in self.accumulated and event.lease not in self.acknowledged | self.taken_back
        mine = event.lease in self.decoding and self.assigned[event.lease].client == event.client
        measured = mine and not self.finished
        assert len(answers) == (0 if accepted or measured else 1)

    def _before(self, event: on.Event) -> None:
        match event:
            case on.Joined(clients):
                self.online |= set(clients)
            case on.Left(client):
                self.online.discard(client)
            case on.TaskPaused(task) if self.status[task] == "active":
                self.status[task] = "paused"
            case on.TaskAdded(task) if self.status[task] == "paused":
                self.status[task] = "active"
            case on.TaskEnded(task):
                self.status[task] = "ended"
            case on.Stepped(task, node):
                self.stepping.remove(task)
                self.version[task] = node.version
            case on.Restored(task, node):
                self.restoring.remove(task)
                self.version[task] = node.version
            case on.Measured(lease) if self.finished:
                self.decoding.discard(lease)
            case on.Durable(count):
                self.durable = max(self.durable, count)
            case _:
                pass

    def _action(self, event: on.Event, action: do.Action, before: list[do.Action]) -> None:
        match action:
            case do.Assign(lease):
                self._assign(lease)
            case do.Decode(lease):
                assert lease in self.held and lease not in self.decoding
                assert isinstance(event, on.Arrived)
                self.decoding.add(lease)
            case do.Accumulate(lease, task, weight):
                self._accumulate(event, lease, task, weight)
            case do.Release(lease, task):
                self._release(lease, task)
            case do.Cancel(lease, client, task):
                mine = self.assigned[lease]
                assert lease in self.held and (mine.client, mine.task) == (client, task)
            case do.Accept(lease, client):
                assert self.assigned[lease].client == client
                if self.journaled:
                    assert self.accumulated[lease] <= self.durable, "acknowledged before it was durable"
                    again = isinstance(event, on.Arrived) and event.lease == lease
                    assert again == (lease in self.acknowledged), "acknowledged twice"
                else:
                    assert isinstance(event, on.Arrived | on.Measured) and event.lease == lease
                    assert lease not in self.acknowledged, "acknowledged twice"
                self.acknowledged.add(lease)
            case do.Refuse(lease) if isinstance(event, on.Arrived | on.Measured) and event.lease == lease:
                assert not any(isinstance(a, do.Accept | do.Accumulate) and a.lease == lease for a in before)
            case do.Refuse(lease) if lease not in self.decoding:
                assert lease in self.accumulated and lease not in self.acknowledged and lease in self.released
                self.taken_back.add(lease)
            case do.Step(task):
                assert task not in self.stepping | self.restoring, "two steps at once"
                assert not self.finished, "a step after the end"
                assert self.buffer[task], "an empty step"
                self.stepping.add(task)
                for lease in self.buffer[task]:
                    assert lease not in self.in_step, "in two steps"
                    self.in_step[lease] = (task, self.version[task] + 1)
                self.buffer[task].clear()
            case do.Restore(task):
                assert task not in self.stepping | self.restoring, "restored under an open step"
                self.restoring.add(task)
            case do.Publish(node):
                assert self.version[node.task] == node.version
            case do.WakeAt(time):
                self.wakes.append(time)
            case do.Finish(reason):
                assert not self.finished, "finished twice"
                self.finished = reason
            case _:
                pass

    def _assign(self, lease: Lease) -> None:
        assert lease.id not in self.assigned, "assigned twice"
        assert not self.finished, "work after the end"
        assert lease.client in self.online, "work for somebody who is away"
        assert lease.node == Node(lease.task, self.version[lease.task]), "not the newest node"
        assert lease.issued == self.now and lease.started < 0 and lease.routed <= self.now
        who = (lease.task, lease.client, lease.ordinal)
        assert who not in self.ordinals, "one job number twice"
        self.ordinals.add(who)
        timeout = self.strategy.pacing.timeout
        assert lease.deadline == (-1 if timeout is None else self.now + round(timeout * SECOND))
        if getattr(self.strategy.matching, "busy", "") == "skip" or self.strategy.attach == "start":
            others = [i for i in self.held if self.assigned[i].client == lease.client]
            assert not others, "a busy client was given more"
        assert lease.task not in self.restoring, "work from a model that is about to go"
        self.assigned[lease.id] = lease
        self.held.add(lease.id)

    def _accumulate(self, event: on.Event, lease: int, task: str, weight: float) -> None:
        assert lease not in self.accumulated, "accumulated twice"
        assert not self.finished, "accepted after the end"
        assert lease in self.held and lease not in self.released, "not an open lease"
        mine = self.assigned[lease]
        assert mine.task == task and self.status[task] != "ended"
        if isinstance(event, on.Arrived):
            assert (event.lease, event.client) == (lease, mine.client) and event.samples > 0
        else:
            assert isinstance(event, on.Measured) and event.lease == lease and lease in self.decoding
            assert event.facts.get("finite", 1.0) == 1.0
        staleness = self.version[task] - mine.version
        guard = self.strategy.tasks[task].guard
        limits = [g.limit for g in (guard, *getattr(guard, "guards", ())) if isinstance(g, Staleness)]
        assert all(limit is None or staleness <= limit for limit in limits), "too old"
        assert weight == OBJECTIVE[mine.client]
        self._close(lease)
        self.accumulated[lease] = self.events
        self.buffer[task].append(lease)

    def _release(self, lease: int, task: str) -> None:
        assert lease not in self.released, "released twice"
        assert lease not in self.in_step, "released after its step"
        self.released.add(lease)
        if lease in self.accumulated:
            assert lease in self.buffer[task]
            self.buffer[task].remove(lease)
        elif lease in self.assigned:
            assert lease in self.held
            self._close(lease)

    def _close(self, lease: int) -> None:
        self.held.remove(lease)
        self.decoding.discard(lease)

    def compare(self, server: Server) -> None:
        """The server's tables against the referee's."""
        view, s = server.view, server.state
        assert {i for i, x in view.leases.items() if x.issued >= 0} == self.held
        assert set(view.online) == self.online
        assert set(s.measuring) == self.decoding
        assert s.updates == len(self.accumulated) == sum(t.accepted for t in view.tasks.values())
        assert s.finished == self.finished
        for name, t in view.tasks.items():
            assert (t.version, t.stepping) == (self.version[name], name in self.stepping | self.restoring)
            assert t.buffer == self.buffer[name]
            self._within(name, t.open, len(t.buffer), len(view.online))
        owed = set(self.accumulated) - self.acknowledged - self.taken_back
        assert {lease for _, lease, _ in s.unacknowledged} == owed
        if self.until is not None and self.until.updates is not None and not self.finished:
            assert s.updates < self.until.updates

    def _within(self, task: str, now_open: int, buffered: int, online: int) -> None:
        pacing = self.strategy.pacing
        if isinstance(pacing, InFlight):
            assert now_open <= pacing.in_flight, "more in flight than allowed"
        elif isinstance(pacing, Rounds):
            assert now_open + buffered <= pacing.asked(task), "more asked than allowed"
        elif isinstance(pacing, Windows):
            assert now_open <= (pacing.in_flight or CLIENTS)


OBJECTIVE = [0.5, 1.5, 1.0, 0.25, 1.75, 1.0, 1.0]
LOCAL = LocalSGD(lr=0.1, batch_size=10)


def serve(
    method: str,
    names: tuple[str, ...],
    until: Until | None,
    measure: tuple[str, ...],
    journaled: bool,
    seed: int,
) -> Server:
    return Server(
        fill(METHODS[method], names),
        CLIENTS,
        dict.fromkeys(names, LOCAL),
        seed=seed,
        until=until,
        evaluation=Evaluation(every=2),
        objective=dict.fromkeys(names, OBJECTIVE),
        measure=measure,
        journaled=journaled,
    )


indices = st.integers(0, 40)
delays = st.sampled_from((0, 0, 1, SECOND // 3, SECOND, 2 * SECOND, 7 * SECOND))
sizes = st.sampled_from((100, 100, 100, 1, 0, -5))
samples = st.sampled_from((10, 10, 10, 10, 1, 0, -3))
FACTS = (
    {"finite": 1.0, "norm": 0.5},
    {"finite": 1.0, "norm": 0.5},
    {"finite": 1.0, "norm": 5.0},
    {"finite": 0.0, "norm": float("inf")},
    {"finite": float("nan"), "norm": float("nan")},
    {},
)


class ServerMachine(RuleBasedStateMachine):
    """Plays fleet, network, book and operator, none of them well-behaved."""

    @initialize(
        method=st.sampled_from(sorted(METHODS)),
        names=st.sampled_from((("a",), ("a",), ("a", "b"))),
        until=st.sampled_from(UNTIL),
        measure=st.sampled_from(((), ("finite",))),
        journaled=st.booleans(),
        seed=st.integers(0, 3),
        begin=st.booleans(),
    )
    def begin(self, method, names, until, measure, journaled, seed, begin):
        self.arguments = (method, names, until, measure, journaled, seed)
        self.server = serve(*self.arguments)
        self.twin = None
        self.names = names
        self.now = 0
        self.referee = Referee(self.server.strategy, journaled, until)
        if begin:
            self.send(on.Joined(tuple(range(CLIENTS))))

    def send(self, event):
        """Hand an event to the server (and its twin) and let the referee judge."""
        actions = self.server.handle(event, self.now)
        if self.twin is not None:
            assert self.twin.handle(event, self.now) == actions, "a restored server went another way"
        self.referee.check(event, self.now, actions)
        return actions

    def refused(self, event):
        """An event that makes no sense is an error and changes nothing that matters."""
        for server in (self.server, self.twin) if self.twin else (self.server,):
            with pytest.raises(InvalidInput):
                server.handle(event, self.now)

    def task(self, at):
        return self.names[at % len(self.names)]

    def lease(self, at, how):
        """(lease, client): an open one of the right client, unless ``how`` says otherwise."""
        r = self.referee
        pool = {
            "closed": sorted(set(r.assigned) - r.held),
            "waiting": [i for i, x in self.server.view.leases.items() if x.issued < 0],
        }.get(how, sorted(r.held))
        if how == "unknown" or not pool:
            return (-2, -1, self.server.state.next_lease, 10**6)[at % 4], at % CLIENTS
        lease = pool[at % len(pool)]
        client = r.assigned[lease].client if lease in r.assigned else self.server.view.leases[lease].client
        others = [c for c in range(-1, CLIENTS + 1) if c != client]
        return lease, others[at % len(others)] if how == "foreign" else client

    # --- the fleet ---------------------------------------------------------------------------------------

    @rule(clients=st.sets(st.integers(0, CLIENTS - 1), max_size=CLIENTS), dt=delays)
    def join(self, clients, dt):
        self.now += dt
        self.send(on.Joined(tuple(sorted(clients))))

    @rule(client=st.integers(0, CLIENTS - 1), dt=delays)
    def leave(self, client, dt):
        self.now += dt
        self.send(on.Left(client))

    # --- leases ------------------------------------------------------------------------------------------

    @rule(many=st.integers(1, 6), at=indices, dt=delays)
    def burst(self, many, at, dt):
        """What a fleet does on a good day: leases are fetched, trained and delivered, results come at once."""
        for _ in range(many):
            self.now += dt
            held = sorted(self.referee.held - self.referee.decoding)
            if not held:
                return
            lease = self.referee.assigned[held[at % len(held)]]
            self.send(on.Fetched(lease.id, lease.client, lease.node, 50))
            self.send(on.Started(lease.id, lease.client))
            self.send(on.Arrived(lease.id, lease.client, 100, 10))
            for i in sorted(self.referee.decoding):
                self.send(on.Measured(i, {"finite": 1.0, "norm": 0.5}))
            for task in sorted(self.referee.restoring):
                self.send(on.Restored(task, Node(task, self.referee.version[task] + 1), at))
            for task in sorted(self.referee.stepping):
                self.send(on.Stepped(task, Node(task, self.referee.version[task] + 1), 1))

    @rule(
        kind=st.sampled_from(("started", "fetched", "arrived", "arrived", "failed")),
        at=indices,
        how=st.sampled_from(("open", "open", "open", "closed", "unknown", "foreign", "waiting")),
        size=sizes,
        samples=samples,
        dt=delays,
    )
    def life(self, kind, at, how, size, samples, dt):
        self.now += dt
        lease, client = self.lease(at, how)
        node = Node(self.task(at), at % 5)
        event = {
            "started": on.Started(lease, client),
            "fetched": on.Fetched(lease, client, node, abs(size)),
            "arrived": on.Arrived(lease, client, size, samples),
            "failed": on.Failed(lease, client, "broke"),
        }[kind]
        before = set(self.referee.held)
        self.send(event)
        if how != "open" and kind != "arrived":
            assert self.referee.held == before, "somebody else's word closed a lease"

    @rule(
        at=indices,
        which=st.sampled_from(("decoding", "decoding", "open", "unknown")),
        facts=st.sampled_from(FACTS),
    )
    def measured(self, at, which, facts):
        pool = sorted({"decoding": self.referee.decoding, "open": self.referee.held}.get(which, ()))
        lease = pool[at % len(pool)] if pool else at - 1
        pending = lease in self.referee.decoding
        actions = self.send(on.Measured(lease, facts))
        verdicts = [a for a in actions if isinstance(a, do.Accumulate | do.Refuse) and a.lease == lease]
        assert len(verdicts) == pending, "one answer per measured update"

    # --- results -----------------------------------------------------------------------------------------

    @rule(at=indices, dt=delays)
    def stepped(self, at, dt):
        self.now += dt
        task = self.task(at)
        node = Node(task, self.referee.version[task] + 1)
        if task in self.referee.stepping:
            self.send(on.Stepped(task, node, 1))
        else:
            self.refused(on.Stepped(task, node, 1))

    @rule(at=indices, accuracy=st.sampled_from((0.1, 0.95, 0.95, float("nan"))))
    def evaluated(self, at, accuracy):
        task = self.task(at)
        self.send(
            on.Evaluated(task, self.referee.version[task], "published", "test", {"accuracy": accuracy, "loss": 1.0})
        )
        if self.server.view.tasks[task].status == "ended":
            self.referee.status[task] = "ended"

    @rule(at=indices, kind=st.sampled_from(("ranked", "kept", "restored", "planned")))
    def others(self, at, kind):
        task = self.task(at)
        version = self.referee.version[task]
        event = {
            "ranked": on.Ranked(task, at),
            "kept": on.Kept(task, version),
            "restored": on.Restored(task, Node(task, version + 1), at),
            "planned": on.Planned(task, (1.0,), 3),
        }[kind]
        if kind == "restored" and task not in self.referee.restoring:  # nobody asked
            self.refused(event)
        else:
            self.send(event)

    # --- time, storage, operators ------------------------------------------------------------------------

    @rule(how=st.sampled_from(("due", "due", "due", "spurious")), dt=delays)
    def woke(self, how, dt):
        later = [t for t in self.referee.wakes if t > self.now]
        self.now = min(later) if how == "due" and later else self.now + dt
        self.send(on.Woke())

    @rule(back=st.integers(-3, 8))
    def durable(self, back):
        self.send(on.Durable(self.referee.events - back))

    @rule(at=indices, kind=st.sampled_from(("pause", "add", "add")))
    def operate(self, at, kind):
        task = self.task(at)
        self.send(on.TaskPaused(task) if kind == "pause" else on.TaskAdded(task))

    @precondition(lambda self: self.referee.events > 40)
    @rule(at=indices)
    def end(self, at):
        self.send(on.TaskEnded(self.task(at), "operator"))

    @precondition(lambda self: self.referee.events > 80)
    @rule()
    def halt(self):
        self.send(on.Halted("operator"))

    @rule(kind=st.integers(0, 6), at=indices)
    def nonsense(self, kind, at):
        events = (
            on.Joined((CLIENTS + at,)), on.Left(-1 - at), on.TaskPaused("nobody"), on.TaskEnded("nobody", "x"),
            on.TaskAdded(""), on.Trained(at, at), on.Planned("nobody", (), 1),
        )  # fmt: skip
        self.refused(events[kind])

    @rule()
    def snapshot(self):
        """From here on a restored server runs beside the first one."""
        data = self.server.snapshot()
        self.twin = serve(*self.arguments)
        self.twin.restore(data)
        assert self.twin.snapshot() == data

    # --- always ------------------------------------------------------------------------------------------

    @invariant()
    def holds(self):
        if hasattr(self, "server"):
            self.server.validate()
            self.referee.compare(self.server)

    def teardown(self):
        if getattr(self, "twin", None) is not None:
            self.twin.validate()
            assert self.twin.snapshot() == self.server.snapshot()


SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


class TestServerMachine(ServerMachine.TestCase):
    settings = settings(max_examples=500, stateful_step_count=40, deadline=None, suppress_health_check=SLOW)


@pytest.mark.soak
class TestServerMachineLong(ServerMachine.TestCase):
    settings = settings(max_examples=10_000, stateful_step_count=50, deadline=None, suppress_health_check=SLOW)


# --- what the machine overlooks --------------------------------------------------------------------------


def started(method: str, **options) -> Server:
    """A server of one task with everybody there."""
    given = {"names": ("a",), "until": None, "measure": (), "journaled": False, "seed": 0}
    server = serve(method, **(given | options))
    server.handle(on.Joined(tuple(range(CLIENTS))), 0)
    return server


def test_no_work_is_given_out_after_the_end():
    server = started("asyncsgd start")
    waiting = next(x for x in server.view.leases.values() if x.issued < 0)
    working = next(x for x in server.view.leases.values() if x.client == waiting.client)
    server.handle(on.Halted("operator"), 1)
    assert not any(isinstance(a, do.Assign) for a in server.handle(on.Failed(working.id, working.client, "x"), 2))


def test_an_update_that_arrives_after_the_end_is_refused():
    """Accept promises a step, and there will be none."""
    server = started("fedbuff")
    server.handle(on.Halted("operator"), 1)
    lease = next(iter(server.view.leases.values()))
    actions = server.handle(on.Arrived(lease.id, lease.client, 100, 10), 2)
    assert [a.reason for a in actions if isinstance(a, do.Refuse)] == ["finished"]


def test_an_update_that_is_measured_after_the_end_is_refused():
    """Its client waits for an answer."""
    server = started("fedbuff", measure=("finite",))
    lease = next(iter(server.view.leases.values()))
    server.handle(on.Arrived(lease.id, lease.client, 100, 10), 1)
    server.handle(on.Halted("operator"), 2)
    actions = server.handle(on.Measured(lease.id, {"finite": 1.0}), 3)
    assert [a.reason for a in actions if isinstance(a, do.Refuse)] == ["finished"]


def test_a_bad_copy_does_not_spoil_an_update_that_is_being_measured():
    server = started("fedbuff", measure=("finite",))
    lease = next(iter(server.view.leases.values()))
    server.handle(on.Arrived(lease.id, lease.client, 100, 10), 1)
    server.handle(on.Arrived(lease.id, lease.client, 100, 0), 2)
    assert any(isinstance(a, do.Accumulate) for a in server.handle(on.Measured(lease.id, {"finite": 1.0}), 3))


def test_a_stranger_is_not_acknowledged_for_an_update_that_another_sent():
    server = started("fedbuff", journaled=True)
    lease = next(iter(server.view.leases.values()))
    server.handle(on.Arrived(lease.id, lease.client, 100, 10), 1)
    server.handle(on.Durable(9), 2)
    actions = server.handle(on.Arrived(lease.id, (lease.client + 1) % CLIENTS, 100, 10), 3)
    assert not any(isinstance(a, do.Accept) for a in actions)


def test_a_restore_that_nobody_asked_for_is_refused():
    server = started("fedasync")
    lease = next(iter(server.view.leases.values()))
    server.handle(on.Arrived(lease.id, lease.client, 100, 10), 1)
    with pytest.raises(InvalidInput):
        server.handle(on.Restored("a", Node("a", 1), 1), 2)


@pytest.mark.parametrize("event", [on.Halted(""), on.TaskEnded("a", "")])
def test_a_run_halted_without_a_reason_is_over(event):
    server = started("fedbuff")
    server.handle(event, 1)
    assert server.finished


def test_a_waiting_lease_is_not_sent_only_to_be_cancelled():
    server = started("asyncsgd start", names=("a", "b"))
    assert any(x.issued < 0 and x.task == "a" for x in server.view.leases.values())
    actions = server.handle(on.TaskEnded("a", "operator"), 1)
    gone = {a.lease for a in actions if isinstance(a, do.Cancel | do.Release)}
    assert gone and not [a.lease.id for a in actions if isinstance(a, do.Assign) and a.lease.id in gone]


def test_a_refused_event_changes_nothing():
    server = serve("fedbuff", ("a",), None, (), False, 0)
    with pytest.raises(InvalidInput, match=r"this server has clients 0\.\.6"):
        server.handle(on.Joined((0, 99)), 0)
    assert not len(server.view.online)


def test_a_step_to_a_wrong_version_changes_nothing():
    server = started("fedasync")
    lease = next(iter(server.view.leases.values()))
    server.handle(on.Arrived(lease.id, lease.client, 100, 10), 1)
    with pytest.raises(InvalidInput, match="version 5 after 0; versions go up by one"):
        server.handle(on.Stepped("a", Node("a", 5), 1), 2)
    assert server.view.tasks["a"].stepping


def test_a_restore_to_a_wrong_version_changes_nothing():
    server = started("fedasync")
    with pytest.raises(InvalidInput, match="version 0 after 0; versions go up by one"):
        server.handle(on.Restored("a", Node("a", 0), 3), 2)
    assert server.view.tasks["a"].epoch == 0


def test_a_step_of_one_task_cannot_publish_a_node_of_another():
    server = started("fedasync", names=("a", "b"))
    lease = next(x for x in server.view.leases.values() if x.task == "a")
    server.handle(on.Arrived(lease.id, lease.client, 100, 10), 1)
    with pytest.raises(InvalidInput):
        server.handle(on.Stepped("a", Node("b", 1), 1), 2)


def test_a_negative_size_does_not_take_bytes_back():
    server = started("fedbuff")
    server.handle(on.Fetched(0, 0, Node("a", 0), -500), 1)
    assert server.state.down == 0


@pytest.mark.parametrize("version", [2**40, 7, -9])
def test_a_client_cannot_hold_a_version_that_does_not_exist(version):
    server = started("fedbuff")
    server.handle(on.Fetched(0, 0, Node("a", version), 500), 1)
    assert server.view.tasks["a"].held[0] == -1


def test_a_waiting_lease_gets_the_model_that_its_clients_update_made():
    """attach="start" with refill_first=False: the newest node at that moment is the one after the step."""
    server = started("asyncsgd start")
    waiting = next(x for x in server.view.leases.values() if x.issued < 0)
    working = next(x for x in server.view.leases.values() if x.client == waiting.client)
    out = server.handle(on.Arrived(working.id, working.client, 100, 10), 1)
    out += server.handle(on.Stepped("a", Node("a", 1), 1), 1)
    sent = {a.lease.id: a.lease.version for a in out if isinstance(a, do.Assign)}
    assert sent[waiting.id] == 1


@pytest.mark.parametrize(
    ("field", "build"),
    [
        ("timeout", lambda: started_with(InFlight(2, 1, timeout=float("inf")))),
        ("deadline", lambda: started_with(Rounds(2, deadline=float("inf")))),
        ("window", lambda: started_with(Windows(float("inf")))),
        ("window", lambda: started_with(Windows(1e-10))),
        ("overcommit", lambda: started_with(Rounds(2, overcommit=float("inf")))),
        ("in_flight", lambda: started_with(InFlight(2.5, 1))),
        ("cohort", lambda: started_with(Rounds("5"))),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(field, build):
    with pytest.raises(InvalidInput, match=field):
        build()


def started_with(pacing) -> Server:
    server = Server(fill(Strategy("x", pacing), ("a",)), 4, {"a": LOCAL})
    server.handle(on.Joined((0, 1, 2, 3)), 0)
    for lease in list(server.view.leases.values()):
        server.handle(on.Arrived(lease.id, lease.client, 1, 1), 1)
    return server


def test_a_time_limit_is_finite():
    with pytest.raises(InvalidInput, match="time"):
        started("fedbuff", until=Until(time=float("inf")))


def test_windows_share_an_idle_fleet_between_tasks():
    server = started("fedfix", names=("a", "b"))
    assert sorted(t.open for t in server.view.tasks.values()) == [3, 4]


@pytest.mark.parametrize("lease", [0, 999])
def test_a_stranger_who_calls_itself_minus_one_is_refused(lease):
    server = started("fedbuff")
    server.handle(on.Failed(0, server.view.leases[0].client, "broke"), 1)
    actions = server.handle(on.Arrived(lease, -1, 100, 10), 2)
    assert [type(a) for a in actions] == [do.Refuse]


def test_a_finish_has_a_reason():
    server = started("fedbuff")
    actions = server.handle(on.Halted(""), 1)
    assert do.Finish(server.finished) in actions


def test_no_work_is_given_out_under_a_restore():
    server = Server(fill(Strategy("x", Rewinding(2, 9, refill_first=True)), ("a",)), 4, {"a": LOCAL})
    server.handle(on.Joined((0, 1, 2, 3)), 0)
    server.handle(on.Evaluated("a", 0, "published", "test", {"accuracy": 0.1}), 1)
    lease = server.view.leases[0]
    actions = server.handle(on.Arrived(0, lease.client, 100, 10), 2)
    assert not any(isinstance(a, do.Assign) for a in actions)
