"""Budgets: who comes and goes, rules of allocation by hand, and that they always add up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket import events as on
from hocket.errors import InvalidInput
from hocket.lease import Node
from hocket.pacing import Budgets, ByHeterogeneity, ByProgress, InTurn
from hocket.pacing.allocation import Seen
from hocket.testing.moments import empty_view

NAMES = ("a", "b", "c")
FORTY = {"a": 14, "b": 13, "c": 13}


def stepped(task: str, **facts: float) -> on.Stepped:
    return on.Stepped(task, Node(task, 1), 5, 0, facts)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["active", "paused", "ended"])), max_size=12),
    st.integers(3, 60),
    st.booleans(),
    st.booleans(),
)
def test_whoever_comes_and_goes_the_budget_is_dealt(changes, total, turn, shared) -> None:
    """sum R_m = R over the tasks that take work, one or more each; nobody else has any."""
    shares = {"a": total - 2, "b": 1, "c": 1} if shared and not turn else None
    pacing = Budgets(total, 2, shares, allocation=InTurn() if turn else Budgets().allocation)
    view = empty_view(9, NAMES)
    state = pacing.init(view)
    for name, status in changes:
        if view.tasks[name].status != "ended":
            view.tasks[name].status = status
        room = pacing.room(state, view, 0)
        going = [n for n in NAMES if view.tasks[n].status == "active"]
        assert sum(room.values()) == (total if going else 0)
        assert sum(state.budget.values()) == (total if going else 0)
        assert all(state.budget[n] == 0 for n in NAMES if n not in going)
        assert turn or all(state.budget[n] >= 1 for n in going)
        assert not turn or not going or max(state.budget.values()) == total


def test_heterogeneity_by_hand() -> None:
    """Standard deviations 1, 1, 2: claims 10, 10, 20; half of the logarithm is remembered."""
    seen = {n: Seen(3, 10, 10 * s) for n, s in zip(NAMES, (1.0, 1.0, 4.0), strict=True)}
    claims: dict[str, float] = {}
    rule = ByHeterogeneity(memory=0.5)
    assert rule.deal(FORTY, 5, seen, claims, 1.0) == {"a": 10, "b": 10, "c": 20}
    assert claims == pytest.approx({"a": 0.25, "b": 0.25, "c": 0.5})
    seen["c"].spread = 10.0  # all alike now: c claims sqrt(0.5 / 0.25) of the others
    assert rule.deal(FORTY, 5, seen, claims, 1.0) == {"a": 15, "b": 10, "c": 15}
    assert claims["c"] / claims["a"] == pytest.approx(2**0.5)
    assert ByHeterogeneity(memory=0.0).deal(FORTY, 5, seen, claims, 1.0) == {"a": 15, "b": 15, "c": 10}
    assert ByHeterogeneity(exponent=2.0, memory=0.0).deal(
        {"a": 20, "b": 20, "c": 20}, 5, {n: Seen(3, 1, s) for n, s in zip(NAMES, (1.0, 1.0, 4.0), strict=True)}, {}, 1.0
    ) == {"a": 10, "b": 10, "c": 40}


def test_progress_is_as_fast_as_any_division_makes_it() -> None:
    """Greedy quanta against every division; what the deal before said is remembered by half."""
    seen = {"a": Seen(9, 3, 0, 3.0, 6.0), "b": Seen(3, 3, 0, 1.5, 9.0), "c": Seen(1, 3, 0, 6.0, 0.6)}
    rule, claims = ByProgress(memory=0.5), dict[str, float]()

    def time(n: str, budget: int, factor: float = 1.0) -> float:
        s = seen[n]
        return (1 + factor * 4 * s.noise / s.signal / budget) / (s.steps / 2.0)

    found = rule.deal(FORTY, 4, seen, claims, 2.0)
    assert sum(found.values()) == 40 and min(found.values()) >= 4
    every = [{"a": a, "b": b, "c": 40 - a - b} for a in range(4, 33, 4) for b in range(4, 37 - a, 4) if a + b <= 36]
    spans = [sum(time(n, k) for n, k in e.items()) for e in every]
    assert sum(time(n, k) for n, k in found.items()) == pytest.approx(min(spans))
    assert claims == pytest.approx({"a": 2 / 4.5, "b": 6 / 1.5, "c": 0.1 / 0.5})
    seen["c"].noise *= 100.0
    again = rule.deal(FORTY, 4, seen, claims, 2.0)
    assert claims["c"] == pytest.approx(10 * 0.1 / 0.5) and again["c"] > found["c"]


def test_progress_moves_budgets_only_when_that_is_certain() -> None:
    """A signal of 1 +- 2 in each of 4 windows has a standard error of 2 / sqrt(3), more than itself."""
    calm = {"a": Seen(40, 32, 0, 32.0, 1600.0, 32.0), "b": Seen(10, 32, 0, 32.0, 1600.0, 32.0)}
    assert calm["a"].doubt(8) == 0
    assert ByProgress().deal({"a": 150, "b": 150}, 1, calm, {}, 1.0) == {"a": 100, "b": 200}
    rough = {n: Seen(s.steps, 32, 0, 32.0, 1600.0, 32.0 * 5) for n, s in calm.items()}
    assert rough["a"].doubt(8) == pytest.approx(2 / 3**0.5)
    assert ByProgress().deal({"a": 150, "b": 150}, 1, rough, {}, 1.0) == {"a": 150, "b": 150}
    assert ByProgress(window=1).deal({"a": 150, "b": 150}, 1, rough, {}, 1.0) == {"a": 100, "b": 200}


def test_progress_favours_the_slow_task_of_two_alike() -> None:
    """R_m in proportion to sqrt(n_m / v_m): four times the steps, half the budget."""
    seen = {"fast": Seen(40, 9, 0, 1.0, 50.0), "slow": Seen(10, 9, 0, 1.0, 50.0)}
    assert ByProgress().deal({"fast": 150, "slow": 150}, 1, seen, {}, 1.0) == {"fast": 100, "slow": 200}
    nothing = {n: Seen(5, 9) for n in ("a", "b")}
    assert sum(ByProgress().deal({"a": 11, "b": 9}, 3, nothing, {}, 1.0).values()) == 20


def test_deals_wait_for_steps_arrivals_and_measurements() -> None:
    """After 8 steps of every task that is there, 0.75 R arrivals per task, and a measurement of each."""
    pacing = Budgets(12, 2, allocation=ByHeterogeneity(after=0, memory=0.0))
    view = empty_view(9, ("a", "b"))
    state = pacing.init(view)
    for name in ("a", "b"):
        view.tasks[name].node = Node(name, 1)
    for _ in range(3):
        pacing.observe(state, stepped("a", spread=9.0), view, 5)
    assert state.budget == {"a": 6, "b": 6} and state.arrivals == 15, "15 of 18 arrivals, and nothing of b"
    pacing.observe(state, stepped("b"), view, 6)
    assert state.budget == {"a": 6, "b": 6}, "b was not measured"
    pacing.observe(state, stepped("b", spread=1.0), view, 7)
    assert state.budget == {"a": 9, "b": 3} or state.budget == {"a": 8, "b": 4} or state.budget == {"a": 10, "b": 2}
    assert (state.arrivals, state.since, state.seen) == (0, 7, {})


def test_only_budgets_that_move_look_at_steps() -> None:
    assert Budgets(12, 2).observes == Budgets(12, 2, allocation=InTurn()).observes == ()
    assert Budgets(12, 2, allocation=ByProgress()).observes == (on.Stepped,)
    pacing, view = Budgets(12, 2, allocation=ByProgress()), empty_view(9, ("a", "b"))
    state = pacing.init(view)
    for signal in (1.0, 3.0):
        pacing.observe(state, stepped("a", signal=signal, noise=9.0), view, 5)
    assert (state.seen["a"].signal, state.seen["a"].noise, state.seen["a"].square) == (20.0, 90.0, 50.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ByHeterogeneity(exponent=9.0), "by_heterogeneity.exponent = 9"),
        (lambda: ByHeterogeneity(memory=1.0), "by_heterogeneity.memory = 1"),
        (lambda: ByProgress(memory=-1.0), "by_progress.memory = -1"),
        (lambda: ByProgress(period=0.0), "by_progress.period = 0"),
        (lambda: ByProgress(window=0), "by_progress.window = 0"),
    ],
)
def test_settings_out_of_range(make, message) -> None:
    with pytest.raises(InvalidInput, match=message):
        make()
