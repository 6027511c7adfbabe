"""What every policy must do, whatever it decides: stay frozen, keep its memory in its state, keep to its contract.

One class per level of :mod:`hocket.policies`; inherit it, override ``policy``, name the class ``Test...``, and pytest
runs it. The control-plane suites show a policy a few hundred made-up moments of a run (:func:`moments`); the
data-plane suites feed it small vectors.
"""

from array import array
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any, get_args

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from hocket.errors import InvalidInput
from hocket.index_set import IndexSet
from hocket.keyed import below, generator, key, uniform
from hocket.learning.local import LocalSGD
from hocket.lease import WHOLE, Cover, Lease, Node
from hocket.policies import ANY, Contribution, Estimate, Facts, Pick, Weigh
from hocket.schema import Kind, Schema, Segment, Vector
from hocket.snapshot import pack, unpack
from hocket.until import SECOND
from hocket.view import Status, TaskState, View

STATUS: tuple[Status, ...] = get_args(Status)
SCHEMA = Schema((Segment("w", (5, 3)), Segment("mean", (3,), Kind.BUFFER)))
LOCAL = LocalSGD(lr=0.1, batch_size=10)


def empty_view(clients: int = 9, tasks: Sequence[str] = ("a", "b")) -> View:
    """The view before the first event: everybody offline, nothing under way."""
    nothing = array("i", b"\xff" * (4 * clients))
    states = {t: TaskState(t, Node(t, 0), array("i", bytes(4 * clients)), nothing[:], nothing[:]) for t in tasks}
    return View(clients, states, {}, IndexSet.empty(clients), IndexSet.empty(clients), array("i", bytes(4 * clients)))


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


class Conformance:
    """What holds at every level."""

    def policy(self) -> Any:
        """The policy under test; called once per test, and each time an equal one."""
        raise NotImplementedError

    def memory(self, policy: Any) -> Any:
        """The policy's memory before anything has happened."""
        raise NotImplementedError

    def test_frozen(self) -> None:
        """A policy is a frozen, tagged Struct with a default for every field, equal to its own description."""
        policy = self.policy()
        kind = type(policy)
        assert isinstance(policy, Struct) and kind.__struct_config__.frozen, "a policy is a frozen msgspec.Struct"
        assert kind.__struct_config__.tag is not None, "a policy has a tag, its name in experiment files"
        assert kind() == kind(), "every field has a default"
        assert policy == self.policy(), "equal settings make equal policies"
        assert msgspec.convert(msgspec.to_builtins(policy), kind) == policy, "its description makes another policy"

    def test_memory(self) -> None:
        """Memory is None or a Struct, the same every time, and comes back from a snapshot."""
        policy = self.policy()
        state = self.memory(policy)
        assert state is None or isinstance(state, Struct), "a policy remembers in a Struct or not at all"
        assert pack(self.memory(policy)) == pack(state)
        assert pack(unpack(pack(state), type(state))) == pack(state)


class Observing(Conformance):
    """What holds for the policies that the server asks."""

    def memory(self, policy: Any) -> Any:
        return policy.init(empty_view())

    def use(self, policy: Any, state: Any, view: View, now: int, k: int) -> object:
        """Ask the policy everything it answers at one moment; the answers as plain values."""
        raise NotImplementedError

    def test_pure(self) -> None:
        """Same memory and view, same answers and memory; neither the policy nor the view is changed."""
        policy = self.policy()
        before = msgspec.json.encode(policy)
        state = self.memory(policy)
        for i, (view, now) in enumerate(moments(1)):
            seen = pack(view)
            twin = unpack(pack(state), type(state))
            mine, other = (self.use(policy, s, view, now, key(i)) for s in (state, twin))
            assert pack(mine) == pack(other), "a restored memory answers differently"
            assert pack(state) == pack(twin), "a restored memory becomes another"
            assert pack(view) == seen, "a policy reads the view and nothing else"
        assert msgspec.json.encode(policy) == before, "a policy is a value; what it learns goes into its memory"

    def test_observes(self) -> None:
        """What it wants to be told are classes of events, each once."""
        observes = self.policy().observes
        assert isinstance(observes, tuple) and len(set(observes)) == len(observes)
        assert all(isinstance(fact, type) and issubclass(fact, Struct) for fact in observes)


class PacingConformance(Observing):
    """For a pacing.

    >>> from hocket.pacing import InFlight
    >>> class TestMine(PacingConformance):
    ...     def policy(self):
    ...         return InFlight(4, 2)
    >>> TestMine().test_due()
    """

    def use(self, policy: Any, state: Any, view: View, now: int, k: int) -> object:
        return [policy.due(state, view, now), policy.room(state, view, now)]

    def test_room(self) -> None:
        """Room is never negative, and only for tasks that take new work."""
        policy = self.policy()
        state = self.memory(policy)
        for view, now in moments(2):
            policy.due(state, view, now)
            for name, slots in policy.room(state, view, now).items():
                assert slots >= 0, f"room for {slots} leases"
                assert name == ANY or view.tasks[name].status == "active", f"{name} takes no new work"

    def test_due(self) -> None:
        """A step is due for a task that has something buffered and no step open; a look lies in the future."""
        policy = self.policy()
        state = self.memory(policy)
        for view, now in moments(3):
            for _ in range(10):
                due = policy.due(state, view, now)
                if due is None:
                    break
                assert due.look_again_at is None or due.look_again_at > now, "a look in the past"
                if due.task is None:
                    break
                task = view.tasks[due.task]
                assert task.buffer and not task.stepping and task.status != "ended"
                assert due.accepted is None or (due.accepted and set(due.accepted) <= set(task.buffer))
                for i in due.cancel or ():
                    assert view.leases[i].task == due.task, "cancels another task's lease"
                task.buffer.clear()
                task.stepping = True
            else:
                raise AssertionError("always due: the server would step for ever")

    def test_settings(self) -> None:
        """The timeout is None or positive, and refill_first says yes or no."""
        policy = self.policy()
        assert policy.timeout is None or (policy.timeout > 0 and isfinite(policy.timeout))
        assert policy.refill_first in (True, False)


class MatchingConformance(Observing):
    """For a matching.

    >>> from hocket.matching import Uniform
    >>> class TestMine(MatchingConformance):
    ...     def policy(self):
    ...         return Uniform()
    >>> TestMine().test_picks()
    """

    slots: Sequence[dict[str, int]] = ({"a": 1}, {"a": 3, "b": 2}, {ANY: 5}, {"b": 40}, {"a": 1, ANY: 4})

    def _slots(self, view: View) -> list[dict[str, int]]:
        """Slots that a pacing could offer at this moment."""
        active = {ANY, *(t.name for t in view.tasks.values() if t.status == "active")}
        return [s for s in self.slots if set(s) <= active]

    def use(self, policy: Any, state: Any, view: View, now: int, k: int) -> object:
        out = []
        for slots in self._slots(view):
            out += [policy.match(state, slots, view, k), policy.ahead(state, slots, view, k)]
        return out

    def test_picks(self) -> None:
        """At most as many picks as slots, of clients that are there, for tasks that take work."""
        policy = self.policy()
        state = self.memory(policy)
        for i, (view, _) in enumerate(moments(4)):
            for slots in self._slots(view):
                picks = policy.match(state, slots, view, key(i))
                assert len(picks) <= sum(slots.values()), "more picks than slots"
                anything = slots.get(ANY, 0)
                for t in view.tasks.values():
                    mine = [p for p in picks if p.task == t.name]
                    assert len(mine) <= slots.get(t.name, 0) + anything, f"more picks for {t.name} than slots"
                    assert not mine or t.status == "active", f"{t.name} takes no work"
                for p in picks:
                    assert 0 <= p.client < view.clients and p.client in view.online, "picked somebody who is away"
                    assert 0 < p.probability <= 1 and isfinite(p.weight) and p.weight > 0

    def test_nobody(self) -> None:
        """Nobody there, nobody picked."""
        policy = self.policy()
        state = self.memory(policy)
        assert all(policy.match(state, slots, empty_view(), key(0)) == [] for slots in self.slots)


class PrefetchConformance(Observing):
    """For a prefetch policy.

    >>> from hocket.prefetch import NoPrefetch
    >>> class TestMine(PrefetchConformance):
    ...     def policy(self):
    ...         return NoPrefetch()
    >>> TestMine().test_starts()
    """

    estimate = Estimate(4000, 400, 10 * SECOND, np.linspace(100.0, 1000.0, 9))

    def use(self, policy: Any, state: Any, view: View, now: int, k: int) -> object:
        return policy.starts(state, self._picks(view), view, self.estimate)

    def _picks(self, view: View) -> list[Pick]:
        return [Pick("a", c, 0.1, for_version=view.tasks["a"].version + 1 + c % 3) for c in view.online]

    def test_starts(self) -> None:
        """Starts are of clients and tasks that exist, for versions and times that are not negative."""
        policy = self.policy()
        state = self.memory(policy)
        for view, _ in moments(5):
            for client, task, version, time in policy.starts(state, self._picks(view), view, self.estimate):
                assert 0 <= client < view.clients and task in view.tasks and version >= 0 and time >= 0


class SubmodelConformance(Observing):
    """For a submodel policy.

    >>> from hocket.submodel import Whole
    >>> class TestMine(SubmodelConformance):
    ...     def policy(self):
    ...         return Whole()
    >>> TestMine().test_cover()
    """

    def use(self, policy: Any, state: Any, view: View, now: int, k: int) -> object:
        return [policy.cover(state, c) for c in range(view.clients)]

    def test_cover(self) -> None:
        """A cover is the whole model or at least one coordinate, in an epoch that is not negative."""
        policy = self.policy()
        state = self.memory(policy)
        for c in range(9):
            cover = policy.cover(state, c)
            assert isinstance(cover, Cover) and cover.epoch >= 0
            assert cover.length == WHOLE or cover.length >= 1


class GuardConformance(Conformance):
    """For a guard.

    >>> from hocket.guard import Staleness
    >>> class TestMine(GuardConformance):
    ...     def policy(self):
    ...         return Staleness(limit=3)
    >>> TestMine().test_judgement()
    """

    def memory(self, policy: Any) -> Any:
        return None

    def _facts(self, staleness: int, needs: Sequence[str]) -> list[Facts]:
        values = (0.0, 1.0, 1e30, float("inf"), float("nan"))
        return [Facts(staleness, 100, 10, {n: v for n in (*needs, "finite")}) for v in values]

    def test_judgement(self) -> None:
        """Admits with None, refuses with a reason; the same judgement every time; nothing is changed."""
        policy = self.policy()
        before, given = msgspec.json.encode(policy), lease(0, version=3)
        for staleness in (0, 1, 2, 10, 100_000):
            for facts in self._facts(staleness, policy.needs):
                reason = policy.admit(given, facts)
                assert reason is None or (isinstance(reason, str) and reason), "a refusal says why"
                assert policy.admit(given, facts) == reason
        assert msgspec.json.encode(policy) == before and given == lease(0, version=3)

    def test_weight(self) -> None:
        """Weights are finite and not negative at any age."""
        policy = self.policy()
        for staleness in (*range(30), 1000, 1_000_000):
            weight = policy.weigh(lease(0), staleness)
            assert isinstance(weight, float) and isfinite(weight) and weight >= 0
            assert policy.weigh(lease(0), staleness) == weight

    def test_needs(self) -> None:
        """What it needs measured are names, each once."""
        needs = self.policy().needs
        assert isinstance(needs, tuple) and all(isinstance(n, str) and n for n in needs)
        assert len(set(needs)) == len(needs)


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


class MergeConformance(Conformance):
    """For a merge. ``keeps``: updates stay in beyond the step, so a step does not empty the memory.

    >>> from hocket.merge import MeanByCount
    >>> class TestMine(MergeConformance):
    ...     def policy(self):
    ...         return MeanByCount()
    >>> TestMine().test_step()
    """

    keeps = False

    def memory(self, policy: Any) -> Any:
        return policy.init(SCHEMA, 9)

    def test_step(self) -> None:
        """A step is finite float64[size]; inputs are left alone; facts are numbers."""
        policy = self.policy()
        state, given, x = self.memory(policy), contributions(0), vector("x")
        before = [(c.delta.tobytes(), c.start.tobytes()) for c in given]
        for c in given:
            facts = policy.add(state, c)
            assert all(isinstance(n, str) and isfinite(v) for n, v in facts.items())
        step = policy.take(state, x, weigh_by(given))
        assert step.dtype == np.float64 and step.shape == (SCHEMA.size,) and np.isfinite(step).all()
        assert [(c.delta.tobytes(), c.start.tobytes()) for c in given] == before and x.tobytes() == vector(
            "x"
        ).tobytes()

    def test_resets(self) -> None:
        """After a step the memory is empty, unless the merge keeps updates."""
        policy = self.policy()
        state, given = self.memory(policy), contributions(1)
        for c in given:
            policy.add(state, c)
        policy.take(state, vector("x"), weigh_by(given))
        assert self.keeps or pack(state) == pack(self.memory(policy))

    def test_resumes(self) -> None:
        """A memory that is snapshotted after every update gives the same bits, over several steps."""
        policy = self.policy()

        def steps(interrupted: bool) -> list[bytes]:
            state, out = self.memory(policy), []
            for round_ in range(3):
                given = contributions(round_)
                for c in given:
                    policy.add(state, c)
                    state = unpack(pack(state), type(state)) if interrupted else state
                out.append(policy.take(state, vector("x"), weigh_by(given)).tobytes())
            return out

        assert steps(interrupted=False) == steps(interrupted=True), "a restored memory steps differently"

    def test_no_move_no_step(self) -> None:
        """Clients that start from the newest model and do not move it do not move the server."""
        policy = self.policy()
        state, x = self.memory(policy), vector("x")
        still = [replace(c, delta=np.zeros_like(x), start=x) for c in contributions(2)]
        for c in still:
            policy.add(state, c)
        np.testing.assert_allclose(policy.take(state, x, weigh_by(still)), 0.0, atol=1e-6)


class OptimizerConformance(Conformance):
    """For a server optimizer.

    >>> from hocket.optimizer import Adam
    >>> class TestMine(OptimizerConformance):
    ...     def policy(self):
    ...         return Adam()
    >>> TestMine().test_apply()
    """

    def memory(self, policy: Any) -> Any:
        return policy.init(SCHEMA)

    def test_apply(self) -> None:
        """The new model is finite float32[size] of its own, moved in the direction of the first step."""
        policy = self.policy()
        state, x, step = self.memory(policy), vector("x"), vector("step").astype(np.float64)
        before = x.tobytes(), step.tobytes()
        x.flags.writeable = step.flags.writeable = False
        y = policy.apply(state, x, step)
        assert y.dtype == np.float32 and y.shape == x.shape and np.isfinite(y).all()
        assert (x.tobytes(), step.tobytes()) == before and not np.shares_memory(x, y)
        assert (np.sign(y - x) == np.sign(step)).all(), "the first step goes the other way"

    def test_stands_still(self) -> None:
        """Without a step, nothing moves."""
        policy = self.policy()
        y = policy.apply(self.memory(policy), vector("x"), np.zeros(SCHEMA.size))
        assert y.tobytes() == vector("x").tobytes()

    def test_resumes(self) -> None:
        """A memory that is snapshotted after every step gives the same bits."""
        policy = self.policy()

        def models(interrupted: bool) -> list[bytes]:
            state, x, out = self.memory(policy), vector("x"), []
            for i in range(6):
                x = policy.apply(state, x, vector("step", i).astype(np.float64))
                state = unpack(pack(state), type(state)) if interrupted else state
                out.append(x.tobytes())
            return out

        assert models(interrupted=False) == models(interrupted=True), "a restored memory steps differently"


class DownlinkConformance(Conformance):
    """For a downlink.

    >>> from hocket.downlink import Full
    >>> class TestMine(DownlinkConformance):
    ...     def policy(self):
    ...         return Full()
    >>> TestMine().test_paths()
    """

    def memory(self, policy: Any) -> Any:
        return policy.init(SCHEMA)

    def _run(self, policy: Any, state: Any, versions: int, arrays: bool) -> tuple[list[Node], dict[int, Vector]]:
        """Commit a few versions; the nodes, and the values that clients start from."""
        nodes: list[Node] = []
        values: dict[int, Vector] = {}
        before: Vector | None = None
        for v in range(versions):
            after = vector("model", v) if arrays else None
            kept, value, node = policy.commit(state, "a", before, after, v, key("commit", v))
            assert (kept is None) == (value is None) == (not arrays), "values without arrays, or none with them"
            assert (node.task, node.version) == ("a", v)
            if value is not None:
                assert value.dtype == np.float32 and value.shape == (SCHEMA.size,)
                values[v] = value
            nodes.append(node)
            before = kept
        return nodes, values

    def test_paths(self) -> None:
        """Edges lead from what is held to what is wanted, and there is nothing to fetch for what is held."""
        policy = self.policy()
        for arrays in (True, False):
            state = self.memory(policy)
            nodes, _ = self._run(policy, state, 4, arrays)
            for have in (None, *nodes):
                edges = policy.path(state, have, nodes[-1], SCHEMA)
                assert bool(edges) == (have != nodes[-1])
                at = have
                for edge in edges:
                    assert edge.source in (None, at) and edge.size >= 0, "the path is broken"
                    at = edge.target
                assert at == nodes[-1]

    def test_sizes(self) -> None:
        """An edge that says its size is exact has that many bytes, with arrays and without."""
        policy = self.policy()
        state, bare = self.memory(policy), self.memory(policy)
        nodes, values = self._run(policy, state, 3, arrays=True)
        self._run(policy, bare, 3, arrays=False)
        for have in (None, *nodes[:-1]):
            edges = policy.path(state, have, nodes[-1], SCHEMA)
            for edge in edges:
                if edge.exact:
                    assert len(policy.open(state, edge, values[edge.target.version], SCHEMA)) == edge.size
            if all(e.exact for e in edges):
                assert [e.size for e in policy.path(bare, have, nodes[-1], SCHEMA)] == [e.size for e in edges]

    def test_device(self) -> None:
        """On the device, the edges of a path make the value that clients start from, bit for bit, from any node."""
        policy = self.policy()
        state = self.memory(policy)
        nodes, values = self._run(policy, state, 4, arrays=True)
        for have in (None, *nodes[:-1]):
            held = None if have is None else values[have.version]
            for edge in policy.path(state, have, nodes[-1], SCHEMA):
                data = policy.open(state, edge, values[edge.target.version], SCHEMA)
                held = policy.apply(held, edge, data, SCHEMA)
            assert held is not None and held.tobytes() == values[nodes[-1].version].tobytes()

    def test_resumes(self) -> None:
        """A memory that was snapshotted between two versions finds the same paths and bytes."""
        policy = self.policy()
        state = self.memory(policy)
        nodes, values = self._run(policy, state, 3, arrays=True)
        twin = unpack(pack(state), type(state))
        for have in (None, nodes[0]):
            one, other = (policy.path(s, have, nodes[-1], SCHEMA) for s in (state, twin))
            assert one == other
            for edge in one:
                value = values[edge.target.version]
                assert policy.open(state, edge, value, SCHEMA) == policy.open(twin, edge, value, SCHEMA)


class UplinkConformance(Conformance):
    """For an uplink.

    >>> from hocket.uplink import Plain
    >>> class TestMine(UplinkConformance):
    ...     def policy(self):
    ...         return Plain()
    >>> TestMine().test_round_trip()
    """

    def memory(self, policy: Any) -> Any:
        return None

    def test_round_trip(self) -> None:
        """What is sent has the size that was promised and decodes to float32[size]; jobs follow one another."""
        policy = self.policy()
        size, exact = policy.size(SCHEMA, Cover())
        memory: Any = None
        for i in range(4):
            given, delta = lease(i, ordinal=i), vector("delta", i)
            data, memory = policy.encode(memory, delta, None, SCHEMA, given)
            assert delta.tobytes() == vector("delta", i).tobytes(), "encode changed its input"
            assert not exact or len(data) == size, f"{len(data)} bytes, promised {size}"
            back, _ = policy.decode(data, SCHEMA, given)
            assert back.dtype == np.float32 and back.shape == delta.shape
            assert not policy.lossless or back.tobytes() == delta.tobytes(), "says it is lossless"
            memory = policy.settle(memory, i, accepted=i % 2 == 0)

    def test_resumes(self) -> None:
        """A memory that is snapshotted after every job sends the same bytes."""
        policy = self.policy()

        def sent(interrupted: bool) -> list[bytes]:
            memory: Any = None
            out: list[bytes] = []
            for i in range(4):
                data, memory = policy.encode(memory, vector("delta", i), None, SCHEMA, lease(i, ordinal=i))
                memory = policy.settle(memory, i, accepted=False)
                memory = unpack(pack(memory), type(memory)) if interrupted else memory
                out.append(data)
            return out

        assert sent(interrupted=False) == sent(interrupted=True), "a restored memory sends something else"

    def test_malformed(self) -> None:
        """Bytes that are not an update are refused with :class:`InvalidInput`."""
        policy = self.policy()
        data, _ = policy.encode(None, vector("delta"), None, SCHEMA, lease(0))
        for bad in (b"", data[:-1], data + b"\0", b"\0" * len(data)):
            try:
                policy.decode(bad, SCHEMA, lease(0))
            except InvalidInput:
                continue
            raise AssertionError(f"{len(bad)} bytes that nobody encoded were taken")


SUITES: dict[str, type[Conformance]] = {
    "pacing": PacingConformance,
    "matching": MatchingConformance,
    "prefetch": PrefetchConformance,
    "submodel": SubmodelConformance,
    "downlink": DownlinkConformance,
    "uplink": UplinkConformance,
    "merge": MergeConformance,
    "optimizer": OptimizerConformance,
    "guard": GuardConformance,
}
"""Level to the suite that its policies must pass."""
