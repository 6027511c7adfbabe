"""Conformance suites of the data plane: merge, optimizer, downlink, uplink.

Inherit one, override ``policy``, name the class ``Test...``, and pytest runs it. A suite feeds a policy small vectors.
"""

from math import isfinite
from typing import Any

import numpy as np
from msgspec.structs import replace

from hocket.errors import InvalidInput
from hocket.keyed import key
from hocket.lease import Cover, Node
from hocket.schema import Vector
from hocket.snapshot import pack, unpack
from hocket.testing.moments import SCHEMA, contributions, lease, vector, weigh_by
from hocket.testing.policy import Conformance


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
        assert self.keeps or getattr(policy, "keeps", False) or pack(state) == pack(self.memory(policy))

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
        names, _ = self._run(policy, bare, 3, arrays=False)
        for have, alike in zip((None, *nodes[:-1]), (None, *names[:-1]), strict=True):
            edges = policy.path(state, have, nodes[-1], SCHEMA)
            for edge in edges:
                if edge.exact:
                    assert len(policy.open(state, edge, values[edge.target.version], SCHEMA)) == edge.size
            promised = policy.path(bare, alike, names[-1], SCHEMA)
            if all(e.exact for e in promised):
                assert [e.size for e in promised] == [e.size for e in edges]

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
            assert isinstance(memory, getattr(policy, "memory", type(None))), "remembers what it does not name"
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
