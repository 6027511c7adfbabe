"""What every policy must do, whatever it decides: stay frozen, keep its memory in its state, keep to its contract."""

from typing import Any

import msgspec
from msgspec import Struct

from hocket.keyed import key
from hocket.snapshot import pack, unpack
from hocket.testing.moments import empty_view, moments
from hocket.view import View


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
