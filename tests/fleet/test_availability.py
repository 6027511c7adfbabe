"""Availability: the same changes however often one asks, the shares the docstrings promise, strict traces."""

import copy

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hocket.errors import InvalidInput
from hocket.fleet import Always, Availability, Diurnal, Intervals, Renewal, Toggles

S = 10**9
HOUR = 3600 * S
KINDS = [
    Always(),
    Intervals(((0.0, 5.0), (2.0,), (0.0,)), ((3.0, 7.0), (9.0,), (4.0,)), (10.0, 9.0, 4.0)),
    Renewal(on=3.0, off=1.0),
    Diurnal(low=0.2, high=0.5, period=20.0, jitter=2.0),
]


def collect(policy: Availability, state: Toggles, times: list[int]) -> list[tuple[int, int, bool]]:
    out = []
    for time in times:
        for row in zip(*policy.until(state, time), strict=True):
            out.append((int(row[0]), int(row[1]), bool(row[2])))
    return out


@pytest.mark.parametrize("policy", KINDS)
@settings(max_examples=25, deadline=None)
@given(stops=st.lists(st.integers(0, 60 * S), max_size=8))
def test_asking_often_or_once_gives_the_same(policy: Availability, stops: list[int]) -> None:
    often, once = policy.init(40, 3), policy.init(40, 3)
    start = policy.online(often)
    steps = collect(policy, often, [*sorted(stops), 60 * S])
    assert steps == collect(policy, once, [60 * S])
    assert [row[:2] for row in steps] == sorted(row[:2] for row in steps)
    assert all(0 < time <= 60 * S for time, _, _ in steps)
    for _, client, up in steps:
        assert start[client] != up
        start[client] = up
    assert (start == policy.online(often)).all()
    assert (policy.online(once) == policy.online(often)).all()


@pytest.mark.parametrize("policy", KINDS)
def test_a_snapshot_resumes_and_a_client_stands_alone(policy: Availability) -> None:
    state = policy.init(3000, 1)
    policy.until(state, 5 * S)
    twin = copy.deepcopy(state)
    few = policy.init(30, 1)
    policy.until(few, 5 * S)
    whole = collect(policy, state, [30 * S])
    assert whole == collect(policy, twin, [17 * S, 30 * S])
    assert [row for row in whole if row[1] < 30] == collect(policy, few, [30 * S])


@pytest.mark.parametrize("policy", KINDS)
def test_upcoming_is_the_next_change(policy: Availability) -> None:
    state = policy.init(50, 2)
    for _ in range(20):
        if (when := policy.upcoming(state)) is None:
            assert isinstance(policy, Always)
            return
        assert not policy.until(state, when - 1)[0].size
        assert set(policy.until(state, when)[0].tolist()) == {when}


@pytest.mark.parametrize("policy", KINDS)
def test_configuration_round_trips_and_time_moves_forward(policy: Availability) -> None:
    assert msgspec.json.decode(msgspec.json.encode(policy), type=Availability) == policy
    state = policy.init(2, 0)
    policy.until(state, 10)
    with pytest.raises(InvalidInput, match="asked for 9 ns after 10 ns"):
        policy.until(state, 9)


def test_renewal_has_its_means_and_is_stationary() -> None:
    policy = Renewal(on=30.0, off=90.0)
    state = policy.init(20_000, 0)
    assert policy.online(state).mean() == pytest.approx(0.25, abs=0.012)
    times, clients, up = policy.until(state, 600 * S)
    assert policy.online(state).mean() == pytest.approx(0.25, abs=0.012)
    assert len(times) == pytest.approx(20_000 * 600 * 2 / 120, rel=0.01)
    order = np.lexsort((times, clients))
    times, clients, up = times[order], clients[order], up[order]
    same = (clients[1:] == clients[:-1]) & (times[:-1] < 200 * S)  # of those few outlast the window
    spells = (times[1:] - times[:-1])[same] / S
    assert spells[up[:-1][same]].mean() == pytest.approx(30.0, rel=0.05)
    other = policy.init(20_000, 1)
    assert (policy.online(other) != policy.online(policy.init(20_000, 0))).any()


@pytest.mark.parametrize("low,high", [(0.1, 0.3), (0.2, 0.8), (0.0, 0.5), (0.6, 0.95), (0.4, 0.4), (0.0, 1.0)])
def test_the_share_online_swings_over_the_day(low: float, high: float) -> None:
    policy = Diurnal(low=low, high=high, peak=4 * 3600.0)
    state = policy.init(10_000, 0)
    share = []
    for quarter in range(3 * 96):
        policy.until(state, quarter * HOUR // 4)
        share.append(float(policy.online(state).mean()))
    assert max(share) == pytest.approx(high, abs=0.02)
    assert min(share) == pytest.approx(low, abs=0.02)
    assert np.mean(share) == pytest.approx((low + high) / 2, abs=0.01)
    assert share[4 * 4] == pytest.approx(high, abs=0.02)
    assert share[4 * 16] == pytest.approx(low, abs=0.02)


def test_a_diurnal_device_is_on_once_a_day_and_moves_a_little() -> None:
    policy = Diurnal(low=0.2, high=0.6)
    state = policy.init(200, 0)
    times, clients, up = policy.until(state, 240 * HOUR)
    for client in range(200):
        mine, on = times[clients == client], up[clients == client]
        starts = mine[on] / S
        assert 9 <= len(starts) <= 10 + 1
        moved = np.diff(starts) - 86_400.0
        assert np.abs(moved).max() <= 1200.0
        assert np.abs(moved).max() > 0.0


def test_intervals_follow_the_trace() -> None:
    trace = {"a": {"duration": 9, "inactive": [3, 8], "finish_time": 10, "active": [1, 6], "model": "x"}}
    policy = Intervals.from_fedscale(trace)
    state = policy.init(2, 0)  # the second client follows the same trace
    for tick in range(400):
        now = tick * S // 10
        policy.until(state, now)
        at = (now % (10 * S)) / S
        assert policy.online(state).tolist() == [1 <= at < 3 or 6 <= at < 8] * 2


def test_intervals_that_touch_across_the_period_are_one() -> None:
    policy = Intervals(((0.0, 4.0, 6.0), (0.0, 2.0)), ((2.0, 6.0, 9.0), (2.0, 5.0)), (9.0, 5.0))
    state = policy.init(2, 0)
    assert policy.online(state).all()
    times, clients, up = policy.until(state, 18 * S)
    assert (times // S).tolist() == [2, 4, 11, 13]
    assert not clients.any()
    assert up.tolist() == [False, True, False, True]


def test_a_million_devices_are_cheap_to_hold() -> None:
    policy = Renewal(on=3600.0, off=3600.0)
    state = policy.init(1_000_000, 0)
    changed = sum(len(policy.until(state, now)[0]) for now in range(0, S // 10, S // 1000))
    assert 0 < changed < 200


GOOD = {"duration": 1, "inactive": [2.0], "finish_time": 9, "active": [1.0], "model": "m"}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Renewal(on=0.0, off=1.0), r"on=0\.0 s"),
        (lambda: Renewal(on=1.0, off=float("inf")), r"off=inf s"),
        (lambda: Diurnal(low=0.5, high=0.4), r"low=0\.5, high=0\.4"),
        (lambda: Diurnal(low=0.0, high=0.0), r"nobody would ever come"),
        (lambda: Diurnal(low=1.0, high=1.0), r"Always\(\)"),
        (lambda: Diurnal(low=0.1, high=0.2, period=0.0), r"period=0\.0"),
        (lambda: Diurnal(low=0.1, high=0.2, peak=-1.0), r"peak=-1\.0"),
        (lambda: Diurnal(low=0.1, high=0.2, jitter=7000.0), r"jitter=7000\.0 s; .* less than 6480 s"),
        (lambda: Intervals((), (), ()), r"have 0, 0 and 0 entries"),
        (lambda: Intervals(((1.0,),), ((2.0,),), (0.0,)), r"client 0 has period 0\.0 s"),
        (lambda: Intervals(((1.0,),), ((2.0, 3.0),), (9.0,)), r"client 0 has 1 active and 2 inactive"),
        (lambda: Intervals(((),), ((),), (9.0,)), r"at least one"),
        (lambda: Intervals(((3.0,),), ((2.0,),), (9.0,)), r"interval 0 is 3\.0 to 2\.0 s"),
        (lambda: Intervals(((1.0, 2.0),), ((3.0, 4.0),), (9.0,)), r"interval 1 is 2\.0 to 4\.0 s"),
        (lambda: Intervals(((1.0,),), ((10.0,),), (9.0,)), r"0 to the period, 9\.0 s"),
        (lambda: Intervals(((float("nan"),),), ((1.0,),), (9.0,)), r"interval 0 is nan"),
        (lambda: Intervals.from_fedscale({}), r"fedscale trace is empty"),
        (lambda: Intervals.from_fedscale([1]), r"fedscale trace is list"),
        (lambda: Intervals.from_fedscale({7: [1]}), r"client 7 is list"),
        (lambda: Intervals.from_fedscale({7: {"active": [1]}}), r"client 7 lacks inactive, finish_time"),
        (lambda: Intervals.from_fedscale({7: {**GOOD, "up": 1}}), r"client 7 has unknown up"),
        (lambda: Intervals.from_fedscale({7: {**GOOD, "active": "1"}}), r"client 7 has active='1'"),
        (lambda: Intervals.from_fedscale({7: {**GOOD, "active": [True]}}), r"client 7 has True in active"),
        (lambda: Intervals.from_fedscale({7: {**GOOD, "finish_time": None}}), r"None in finish_time"),
    ],
)
def test_bad_fields_are_named(build, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        build()
