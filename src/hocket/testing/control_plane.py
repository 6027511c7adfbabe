"""Conformance suites of the control plane: pacing, matching, prefetch, submodel, guard.

Inherit one, override ``policy``, name the class ``Test...``, and pytest runs it. A suite shows a policy a few hundred
made-up moments of a run (:func:`hocket.testing.moments.moments`).
"""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import msgspec
import numpy as np

from hocket.keyed import key
from hocket.lease import WHOLE, Cover
from hocket.policies import ANY, Estimate, Facts, Nested, Pick
from hocket.testing.moments import SCHEMA, empty_view, lease, moments, vector
from hocket.testing.policy import Conformance, Observing
from hocket.view import View


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

    estimate = Estimate(4000, np.linspace(100.0, 1000.0, 9))

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

    def memory(self, policy: Any) -> Any:
        return policy.init(empty_view(), "a")

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

    def test_nested(self) -> None:
        """A ranking names every coordinate once; the first covers end where its cuts are."""
        policy = self.policy()
        state, x = self.memory(policy), vector("x")
        lengths = {policy.cover(state, c).length for c in range(9)}
        if not isinstance(policy, Nested):
            return
        cuts = policy.cuts(SCHEMA)
        for importance in (None, np.abs(vector("importance")).astype(np.float64)):
            order = policy.order(SCHEMA, x if policy.listed else None, importance)
            assert order.dtype == np.int32 and sorted(order.tolist()) == list(range(SCHEMA.size))
        assert list(cuts) == sorted(set(cuts)) and 1 <= cuts[0] <= cuts[-1] <= SCHEMA.size
        assert lengths <= {*cuts, WHOLE}, "a cover that no band ends at"


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
