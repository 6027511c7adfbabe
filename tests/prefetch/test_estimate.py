"""The arithmetic of the prefetch schedule: golden tables, and what must hold for any client."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.prefetch.estimate import fetch_times, limit, moving, spans, starts, useful

SIZES = np.array([0.0, 20.0, 36.0, 48.8])
TABLE = {
    2: (59.4, 58.0, 55.0, 50.0),
    5: (14.76, 17.2, 19.0, 20.0),
    10: (2.0, 3.6, 7.0, 10.0),
    15: (4 / 3, 4 / 3, 3.0, 20 / 3),
    20: (1.0, 1.0, 1.0, 5.0),
    40: (0.5, 0.5, 0.5, 2.5),
}


def stale(rates) -> np.ndarray:
    """Clients that need the whole model (100) whenever they start; a round takes 5 s."""
    rate = np.array(rates, float)
    return fetch_times(np.full((len(rate), 4), 100.0), SIZES, rate, 5.0)


def test_the_golden_table():
    np.testing.assert_allclose(stale(list(TABLE)), list(TABLE.values()), atol=1e-12)


def test_a_fetch_that_takes_longer_than_none_is_given_up():
    rate = np.array(list(TABLE), float)
    times = fetch_times(np.full((len(rate), 4), 100.0), SIZES, rate, 5.0, shortest=True)
    np.testing.assert_allclose(times, np.minimum(stale(list(TABLE)), (100 / rate)[:, None]))


def test_ten_clients_and_their_starts():
    times = stale([2, 5, 10, 15, 20, 40, 80, 160, 320, 640])
    most = limit(times[:, 0], 1.3)
    assert most == pytest.approx(1.94872, abs=5e-6)
    assert starts(times, most).tolist() == [-1, -1, -1, 1, 2, 2, 3, 3, 3, 3]


def test_who_cannot_be_in_time_begins_only_as_early_as_it_helps():
    times = stale(list(TABLE))
    assert useful(times).tolist() == [3, 0, 0, 1, 2, 2], "at 2 a client is better off not to begin at all"
    assert useful(times, 1.0).tolist()[1:4] == [3, 1, 1]


def test_round_lengths_are_averaged():
    mean, seen = -1.0, []
    for length in (20.0, 30.0, 10.0, 40.0):
        mean = moving(mean, length, 0.125)
        seen.append(mean)
    assert seen == [20, 21.25, 19.84375, 22.36328125]


def test_clients_alike_all_start_late_and_the_released_rule_leaves_none():
    times = stale([20] * 5)
    assert starts(times, limit(times[:, 0], 1.3)).tolist() == [2] * 5
    assert starts(times, limit(times[:, 0], 1.3), strict=True).tolist() == [-1] * 5


def test_slack_reaches_from_the_quantile_to_the_slowest():
    times = stale([2, 5, 10, 15, 20, 40, 80, 160, 320, 640])[:, 0]
    limits = [limit(times, 1.3, b) for b in (0, 0.25, 0.5, 1)]
    assert limits == sorted(limits) and limits[-1] == times.max()
    assert limit(times, 1.0) == times.max()


rates = st.lists(st.floats(0.1, 1e4), min_size=1, max_size=20)


@given(rates, st.floats(1, 1.5), st.floats(0.01, 100), st.floats(1, 100))
def test_starts_are_later_the_faster_a_client_is_and_meet_the_limit(rate, overcommit, length, full):
    rate = np.sort(np.array(rate))
    sizes = np.minimum(full, np.array([0, 0.2, 0.36, 0.49, 0.6]) * 50)
    times = fetch_times(np.full((len(rate), 5), full), sizes, rate, length)
    most = limit(times[:, 0], overcommit)
    at = starts(times, most)
    assert (np.diff(at) >= 0).all()
    kept = at >= 0
    assert kept.any() and (times[kept, at[kept]] <= most).all()
    np.testing.assert_allclose(times[:, -1], full / rate)


def naive(base, sizes, rate, length, r, window) -> float:
    """The same for one client, as it is written down."""
    left, at = base, r
    for j in range(r, window):
        spare = length - left / rate
        if spare > 0:
            left, at = max(0, sizes[j - at] - spare * rate), j
        else:
            left -= length * rate
    return (left + sizes[window - at]) / rate


@given(st.floats(0, 200), st.floats(0.1, 1e3), st.floats(0.01, 50), st.integers(0, 6), st.integers(0, 100))
def test_the_vectors_are_the_recursion(base, rate, length, window, seed):
    sizes = np.concatenate([[0], np.cumsum(np.random.default_rng(seed).uniform(0, 20, window))])
    got = fetch_times(np.full((1, window + 1), base), sizes, np.array([rate]), length)
    want = [naive(base, sizes, rate, length, r, window) for r in range(window + 1)]
    np.testing.assert_allclose(got[0], want, rtol=1e-9, atol=1e-9)


def test_sizes_that_were_not_seen_lie_between_those_that_were():
    curve = spans(np.array([0.0, 20, -1, 48.8, -1, -1, -1, -1, -1]), 100.0)
    assert (np.diff(curve) >= 0).all() and curve[2] == pytest.approx(34.4) and curve[-1] == 100
    assert spans(np.array([0.0, -1, -1]), 100.0).tolist() == [0, 100, 100]
