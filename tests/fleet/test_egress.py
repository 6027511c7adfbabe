"""Egress: equal to an exact fluid, whatever starts and stops when."""

import copy
import pickle
from fractions import Fraction
from math import ceil, inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hocket.errors import InvalidInput
from hocket.fleet import Egress

S = 10**9


def shares(rate: Fraction, caps: dict[int, Fraction | None]) -> dict[int, Fraction]:
    """Max-min fair shares, by filling one round after the other."""
    out: dict[int, Fraction] = {}
    open_ = dict(caps)
    while open_:
        level = (rate - sum(out.values(), Fraction(0))) / len(open_)
        full = {flow: cap for flow, cap in open_.items() if cap is not None and cap <= level}
        if not full:
            return out | dict.fromkeys(open_, level)
        out |= full
        open_ = {flow: cap for flow, cap in open_.items() if flow not in full}
    return out


Jobs = list[tuple[int, int, int | None, int | None]]  # start ns, bytes, cap, cancelled at ns


def fluid(rate: int, jobs: Jobs) -> dict[int, tuple[str, Fraction]]:
    """Per flow ("end", exact ns) or ("sent", exact bytes), in rational arithmetic."""
    left: dict[int, Fraction] = {}
    out: dict[int, tuple[str, Fraction]] = {}
    events = sorted(
        [(start, 1, i) for i, (start, *_) in enumerate(jobs)]
        + [(stop, 0, i) for i, (*_, stop) in enumerate(jobs) if stop is not None]
    )
    now = Fraction(0)
    for time, starts, job in [*events, (10**30, 0, -1)]:
        while left:
            caps = {i: None if jobs[i][2] is None else Fraction(jobs[i][2]) for i in left}
            speed = shares(Fraction(rate), caps)
            wait = {i: left[i] / speed[i] * S for i in left}
            step = min(min(wait.values()), time - now)
            now += step
            left = {i: x - speed[i] * step / S for i, x in left.items()}
            for i in [i for i, x in left.items() if x == 0]:
                out[i] = ("end", now)
                del left[i]
            if now == time:
                break
        now = Fraction(time)
        if starts:
            left[job] = Fraction(jobs[job][1])
            if not left[job]:
                out[job] = ("end", now)
                del left[job]
        elif job in left:
            out[job] = ("sent", jobs[job][1] - left.pop(job))
    return out


def drive(rate: int, jobs: Jobs, rounds_trip: bool) -> dict[int, tuple[str, int]]:
    link = Egress(float(rate))
    out: dict[int, tuple[str, int]] = {}
    events = sorted(
        [(start, 1, i) for i, (start, *_) in enumerate(jobs)]
        + [(stop, 0, i) for i, (*_, stop) in enumerate(jobs) if stop is not None]
    )
    while events or link.next():
        if rounds_trip:
            link = pickle.loads(pickle.dumps(copy.deepcopy(link)))
        due = link.next()
        if due and (not events or due[0] <= events[0][0]):
            link.finish(due[1], due[0])
            out[due[1]] = ("end", due[0])
            continue
        time, starts, job = events.pop(0)
        _, nbytes, cap, _ = jobs[job]
        if starts:
            link.start(job, nbytes, inf if cap is None else float(cap), time)
        elif job not in out:
            out[job] = ("sent", link.cancel(job, time))
    return out


job = st.tuples(
    st.integers(0, 5 * S),
    st.integers(0, 5_000_000),
    st.one_of(st.none(), st.integers(1000, 2_000_000)),
)


@settings(max_examples=150, deadline=None)
@given(rate=st.integers(1000, 3_000_000), jobs=st.lists(job, min_size=1, max_size=10), trip=st.booleans())
def test_ends_are_those_of_the_exact_fluid(rate: int, jobs: list[tuple[int, int, int | None]], trip: bool) -> None:
    plan: Jobs = [(*row, None) for row in jobs]
    want, got = fluid(rate, plan), drive(rate, plan, trip)
    assert got.keys() == want.keys()
    for i, (_, when) in want.items():
        assert abs(got[i][1] - ceil(when)) <= 1


@settings(max_examples=100, deadline=None)
@given(
    rate=st.integers(1000, 3_000_000),
    jobs=st.lists(st.tuples(job, st.integers(0, 4 * S)), min_size=2, max_size=8),
)
def test_cancelled_flows_give_their_share_back(rate: int, jobs: list[tuple[tuple[int, int, int | None], int]]) -> None:
    plan: Jobs = [(*row, row[0] + 1 + after if at % 2 else None) for at, (row, after) in enumerate(jobs)]
    want, got = fluid(rate, plan), drive(rate, plan, False)
    for i, (what, value) in want.items():
        if got[i][0] == what == "end":
            assert abs(got[i][1] - ceil(value)) <= 1
        elif got[i][0] == what:
            assert abs(got[i][1] - int(value)) <= 1
        else:  # it ended within the nanosecond in which it was cancelled
            assert got[i][1] >= plan[i][1] - 1


def test_one_slow_client_runs_at_its_own_rate() -> None:
    link = Egress(1e6)
    link.start(5, 1_000_000, 3e3, 17)
    assert link.next() == (17 + ceil(1e15 / 3e3), 5) == (333_333_333_351, 5)


def test_equal_flows_end_together_lower_first() -> None:
    link = Egress(100.0)
    for flow in (9, 2, 4):
        link.start(flow, 100, inf, 0)
    for flow in (2, 4, 9):
        assert link.next() == (3 * S, flow)
        link.finish(flow, 3 * S)
    assert link.next() is None


def test_shares_never_exceed_the_rate_and_waste_nothing() -> None:
    link = Egress(1000.0)
    for flow, cap in enumerate([50.0, inf, 400.0, 300.0, inf]):
        link.start(flow, 10**6, cap, 0)
    assert link.speeds.sum() * 1e9 == pytest.approx(1000.0)
    assert (link.speeds * 1e9).tolist() == pytest.approx([50.0, 237.5, 237.5, 237.5, 237.5])
    assert link.flows.tolist() == [0, 3, 2, 1, 4]


def test_a_late_driver_still_sees_the_true_end() -> None:
    link = Egress(1000.0)
    link.start(1, 1000, inf, 0)
    link.start(2, 10_000, inf, 0)
    link.start(3, 1, inf, 50 * S)
    assert link.next() == (2 * S, 1)
    assert link.cancel(1, 50 * S) == 1000
    assert link.next() == (11 * S, 2)


def test_thousands_of_flows() -> None:
    link = Egress(1e9)
    for flow in range(2000):
        link.start(flow, 1000 * (1 + flow % 7), float(1 + flow % 11) * 1e5, flow)
    ends = []
    while due := link.next():
        link.finish(due[1], due[0])
        ends.append(due[0])
    assert len(ends) == 2000
    assert (np.diff(ends) >= 0).all()


def test_misuse_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"rate=0\.0 B/s"):
        Egress(0.0)
    link = Egress(10.0)
    link.start(1, 100, inf, 5)
    for call, message in [
        (lambda: link.start(1, 5, inf, 5), r"flow 1 is already there"),
        (lambda: link.start(2, -5, inf, 5), r"flow 2 has -5 bytes"),
        (lambda: link.start(2, 5, 0.0, 5), r"flow 2 has cap=0\.0 B/s"),
        (lambda: link.start(2, 5, float("nan"), 5), r"cap=nan"),
        (lambda: link.start(2, 5, inf, 4), r"asked for 4 ns after 5 ns"),
        (lambda: link.cancel(7, 5), r"no flow 7"),
        (lambda: link.finish(7, 5), r"no flow 7"),
        (lambda: link.finish(1, 5 + S), r"flow 1 has 90 bytes to send at 1000000005 ns"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            call()
