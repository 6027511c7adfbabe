"""Rounds, buffers and windows: room and due at the moments that matter."""

import pytest

from hocket.errors import InvalidInput
from hocket.matching import Uniform
from hocket.pacing import Budgets, ByHeterogeneity, InFlight, JointRounds, Rounds, Windows
from hocket.policies import Due
from hocket.testing.moments import empty_view, lease
from hocket.until import SECOND


def moment(open_=0, buffered=0, version=0, tasks=("a",), idle=0):
    """A view of tasks with so many leases open and updates in the buffer, first task first."""
    view = empty_view(9, tasks)
    t = view.tasks["a"]
    t.open, t.buffer = open_, list(range(100, 100 + buffered))
    t.node = type(t.node)("a", version)
    for c in range(idle):
        view.online.add(c)
        view.idle.add(c)
    view.leases.update({i: lease(i, client=i) for i in range(open_)})
    return view


# --- in flight -------------------------------------------------------------------------------------------


def test_in_flight_keeps_its_number_and_steps_when_the_buffer_is_full():
    pacing = InFlight(6, 3)
    assert pacing.room(None, moment(2), 0) == {"a": 4}
    assert pacing.room(None, moment(6), 0) == {}
    assert pacing.due(None, moment(6, 2), 0) is None
    assert pacing.due(None, moment(6, 3), 0) == Due("a")
    assert pacing.due(None, moment(6, 5), 0) == Due("a")


def test_refill_waits_for_the_step_or_comes_first():
    view = moment(2, 3)
    view.tasks["a"].stepping = True
    assert InFlight(6, 3).room(None, view, 0) == {}
    assert InFlight(6, 3, refill_first=True).room(None, view, 0) == {"a": 4}
    assert InFlight(6, 3).due(None, view, 0) is None, "one step at a time"


def test_numbers_per_task():
    pacing = InFlight({"a": 2, "b": 7}, {"a": 1, "b": 2})
    view = moment(tasks=("a", "b"))
    assert pacing.room(None, view, 0) == {"a": 2, "b": 7}
    view.tasks["b"].buffer = [1, 2]
    assert pacing.due(None, view, 0) == Due("b")
    assert pacing.largest({"a": 0, "b": 0}) == 9
    with pytest.raises(InvalidInput, match="in_flight: no value for task 'b'; it has a"):
        InFlight({"a": 2}).init(view)
    with pytest.raises(InvalidInput, match="cohort: no value for task 'b'; it has a"):
        Rounds({"a": 2}).init(view)


@pytest.mark.parametrize("status", ["paused", "ended"])
@pytest.mark.parametrize("pacing", [InFlight(6, 3), Rounds(6), Windows(5.0), Windows(5.0, 3)], ids=repr)
def test_no_room_in_a_task_that_takes_no_work(pacing, status):
    view = moment(idle=9)
    view.tasks["a"].status = status
    assert not sum(pacing.room(pacing.init(view), view, 0).values())


# --- rounds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cohort", "overcommit", "asked"), [(10, 1.0, 10), (10, 1.3, 13), (3, 1.7, 5), (1, 1.4, 1), (100, 1.333, 133)]
)
def test_a_round_asks_the_rounded_product(cohort, overcommit, asked):
    pacing = Rounds(cohort, overcommit)
    assert pacing.asked("a") == asked == pacing.largest({"a": 0})
    assert pacing.room(pacing.init(moment()), moment(), 0) == {"a": asked}


def test_a_round_tops_up_what_was_lost_and_ends_with_its_cohort():
    pacing = Rounds(4, overcommit=1.5)
    state = pacing.init(moment())
    assert pacing.room(state, moment(3, 2), 0) == {"a": 1}, "3 open and 2 in: one of 6 was lost"
    assert pacing.due(state, moment(3, 3), 0) is None
    due = pacing.due(state, moment(2, 4), 0)
    assert (due.task, due.accepted, due.cancel) == ("a", None, (0, 1))


def test_a_deadline_ends_a_round_with_at_least_the_minimum():
    pacing = Rounds(5, deadline=10.0, minimum=2)
    state = pacing.init(moment())
    pacing.room(state, moment(), 3 * SECOND)
    assert pacing.due(state, moment(4, 1), 4 * SECOND) == Due(look_again_at=13 * SECOND)
    assert pacing.due(state, moment(4, 1), 13 * SECOND) is None, "too few"
    assert pacing.due(state, moment(3, 2), 13 * SECOND).task == "a"
    pacing.room(state, moment(version=1), 20 * SECOND)
    assert pacing.due(state, moment(5, version=1), 21 * SECOND) == Due(look_again_at=30 * SECOND)


# --- windows ---------------------------------------------------------------------------------------------


def test_windows_end_at_multiples_of_their_length():
    pacing = Windows(4.0)
    state = pacing.init(moment())
    assert pacing.due(state, moment(3), SECOND) is None, "an empty window needs no look"
    assert pacing.due(state, moment(3, 1), SECOND) == Due(look_again_at=4 * SECOND)
    assert pacing.due(state, moment(3, 1), 4 * SECOND) == Due("a")
    assert pacing.due(state, moment(3, 0), 4 * SECOND) is None
    assert pacing.due(state, moment(3, 1), 7 * SECOND) == Due(look_again_at=8 * SECOND)


def test_who_delivers_waits_for_the_end_of_the_window():
    pacing = Windows(4.0)
    state = pacing.init(moment())
    assert pacing.room(state, moment(idle=3), SECOND) == {"a": 3}
    assert pacing.room(state, moment(2, 1, idle=3), SECOND) == {}
    assert Windows(4.0, in_flight=5).room(state, moment(2), SECOND) == {"a": 3}
    assert (pacing.largest({"a": 0}), Windows(4.0, 5).largest({"a": 0, "b": 0})) == (None, 10)


def test_an_empty_window_makes_no_step_and_is_not_made_up_for():
    pacing = Windows(1.0)
    state = pacing.init(moment())
    assert pacing.due(state, moment(1), 5 * SECOND) is None
    assert pacing.due(state, moment(0, 1), 5 * SECOND + 1) == Due(look_again_at=6 * SECOND)


def test_an_update_opens_a_window_of_its_own():
    pacing = Windows(4.0, opened=True)
    state = pacing.init(moment())
    assert pacing.due(state, moment(3), SECOND) is None
    assert pacing.due(state, moment(3, 1), 2 * SECOND) == Due(look_again_at=6 * SECOND)
    assert pacing.due(state, moment(3, 2), 6 * SECOND) == Due("a")
    assert pacing.due(state, moment(3, 1), 7 * SECOND) == Due(look_again_at=11 * SECOND)


def test_an_opened_window_of_no_length_is_a_step_per_update():
    pacing = Windows(0.0, opened=True)
    state = pacing.init(moment())
    for now in (SECOND, SECOND, 2 * SECOND):
        assert pacing.due(state, moment(3), now) is None
        assert pacing.due(state, moment(3, 1), now) == Due("a")


# --- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: InFlight(0), r"^in_flight = 0: must be 1 or more"),
        (lambda: InFlight({"a": 3, "b": -1}), r"^in_flight = -1"),
        (lambda: InFlight(buffer=0), r"^buffer = 0"),
        (lambda: InFlight(timeout=0.0), r"^timeout = 0\.0: must be from 1e-9 to 1e\+09 seconds"),
        (lambda: InFlight(timeout=float("nan")), r"^timeout = nan"),
        (lambda: Rounds(0), r"^cohort = 0"),
        (lambda: Rounds(overcommit=0.9), r"^overcommit = 0\.9: must be 1 or more \(1\.3 asks 30% more clients\)"),
        (lambda: Rounds(deadline=-1.0), r"^deadline = -1\.0: must be from 1e-9"),
        (lambda: Rounds(minimum=0), r"^minimum = 0"),
        (lambda: Rounds(timeout=-2.0), r"^timeout = -2\.0"),
        (lambda: Windows(0.0), r"^window = 0\.0: must be from 1e-9"),
        (lambda: Windows(float("nan")), r"^window = nan"),
        (lambda: Windows(in_flight=0), r"^in_flight = 0: must be 1 or more, or left out for every client"),
        (lambda: Windows(timeout=0), r"^timeout = 0"),
    ],
)
def test_settings_out_of_range(build, message):
    with pytest.raises(InvalidInput, match=message):
        build()


def test_a_budget_s_buffer_follows_what_is_outstanding():
    pacing = Budgets(in_flight=40, ratio=10)
    state = pacing.init(moment())
    assert pacing.due(state, moment(39, 3), 0) is None, "40 were outstanding, so 4 updates make a step"
    assert pacing.due(state, moment(39, 4), 0) == Due("a")
    assert pacing.due(state, moment(29, 3), 0) == Due("a") and pacing.due(state, moment(30, 3), 0) is None
    assert pacing.due(state, moment(0, 1), 0) == Due("a")
    assert pacing.room(state, moment(37), 0) == {"a": 3} and pacing.room(state, moment(40), 0) == {}
    fixed = Budgets(in_flight=40, buffer=2)
    assert fixed.due(state, moment(39, 2), 0) == Due("a") and fixed.due(state, moment(39, 1), 0) is None


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: Budgets(in_flight=10, shares={"a": 3, "b": 4}), "shares add up to 7, in_flight is 10"),
        (lambda: Budgets(in_flight=1).init(empty_view()), "in_flight = 1 for 2 tasks"),
        (lambda: ByHeterogeneity(exponent=9), "exponent = 9"),
        (lambda: JointRounds(asked=10, cohort=6).init(empty_view()), "task 'a' would ask 5 clients and wait for 6"),
        (lambda: JointRounds(shares={"a": 1.0}).init(empty_view()), "no share for task 'b'"),
        (lambda: JointRounds(shares={"a": 0.0}), "every one must be above 0"),
        (lambda: Uniform(distinct=3), 'distinct = 3, busy = "skip"'),
        (lambda: Uniform("queue", once=True, distinct=3), "distinct = 3, .* once = True"),
    ],
)
def test_settings_of_several_tasks_that_cannot_work(build, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        build()
