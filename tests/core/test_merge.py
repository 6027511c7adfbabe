"""Merges against closed forms; order-free sums against every order."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hocket.errors import Diverged, InvalidInput
from hocket.merge import MeanByCount, MeanByFleet, MeanByWeight, Mixing
from hocket.policies import Contribution
from hocket.schema import Schema, Segment
from hocket.testing.moments import lease

N = 6
SCHEMA = Schema((Segment("w", (N,)),))
ZERO = np.zeros(N, np.float32)


def update(values, weight=1.0, start=ZERO, client=0) -> Contribution:
    return Contribution(lease(client, client=client), weight, 10, np.asarray(values, np.float32), start)


def merged(merge, updates, x=ZERO, clients=10):
    state = merge.init(SCHEMA, clients)
    for u in updates:
        merge.add(state, u)
    return merge.take(state, x, lambda _: 1.0)


UPDATES = [update(np.arange(N) + i, weight=w, client=i) for i, w in enumerate((1.0, 0.5, 2.0, 0.25))]
SUM = sum(u.weight * u.delta.astype(np.float64) for u in UPDATES)


@pytest.mark.parametrize("order", ["journal", "free"])
@pytest.mark.parametrize(("merge", "over"), [(MeanByCount, 4.0), (MeanByWeight, 3.75), (MeanByFleet, 10.0)])
def test_the_type_says_what_the_sum_is_divided_by(merge, over, order):
    np.testing.assert_allclose(merged(merge(order), UPDATES), SUM / over, rtol=1e-9)


@pytest.mark.parametrize("merge", [MeanByCount, MeanByWeight, MeanByFleet])
@pytest.mark.parametrize("order", ["journal", "free"])
def test_nothing_merged_is_no_step(merge, order):
    assert not merged(merge(order), []).any()


def test_weights_that_sum_to_nothing_make_no_step():
    assert not merged(MeanByWeight(), [update(np.ones(N), 0.0)]).any()


floats = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.lists(floats, min_size=N, max_size=N), st.floats(0.0, 4.0)), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
    st.sampled_from((MeanByCount, MeanByWeight, MeanByFleet)),
)
def test_order_free_gives_the_same_bits_in_any_order(items, random, merge):
    updates = [update(values, w, client=i) for i, (values, w) in enumerate(items)]
    want = merged(merge("free"), updates).tobytes()
    random.shuffle(updates)
    assert merged(merge("free"), updates).tobytes() == want
    assert merged(merge("free"), updates[::-1]).tobytes() == want


def test_order_free_is_needed():
    """Journal order is pinned because the order matters there."""
    updates = [update(np.full(N, v), client=i) for i, v in enumerate((1e8, 1e-8, -1e8, 3e-7))]
    journal = {merged(MeanByCount(), p).tobytes() for p in permutations(updates)}
    free = {merged(MeanByCount("free"), p).tobytes() for p in permutations(updates)}
    assert len(journal) > 1 == len(free)


def test_order_free_is_close_to_the_float_sum():
    gap = np.abs(merged(MeanByCount("free"), UPDATES) - merged(MeanByCount(), UPDATES)).max()
    assert gap <= 4 * 2.0**-33


@pytest.mark.parametrize("values", [2.0**31, -(2.0**31), np.inf, np.nan])
def test_a_fixed_point_sum_that_could_overflow_is_refused(values):
    merge = MeanByCount("free")
    with pytest.raises(Diverged, match=r"client 7: a fixed-point sum reached .* guard.NormBound"):
        merge.add(merge.init(SCHEMA, 10), update(np.full(N, values), client=7))


def test_a_fixed_point_sum_just_below_its_limit_is_exact():
    big = np.full(N, 2.0**30)
    step = merged(MeanByCount("free"), [update(big), update(big * np.float32(0.9999))])
    assert (step == (2.0**30 + np.float64(np.float32(2.0**30 * np.float32(0.9999)))) / 2).all()
    merge = MeanByCount("free")
    state = merge.init(SCHEMA, 10)
    merge.add(state, update(big))
    with pytest.raises(Diverged, match=r"limit 2\.15e"):
        merge.add(state, update(-big))


@settings(max_examples=50)
@given(st.lists(st.tuples(floats, st.floats(0.0, 3.0)), min_size=1, max_size=8), st.floats(0.01, 1.0))
def test_mixing_is_the_recurrence_of_fedasync(items, rate):
    """x <- (1 - a) x + a (start + d), one after the other."""
    x0 = np.linspace(-2, 2, N).astype(np.float32)
    x = x0.astype(np.float64)
    updates = []
    for i, (value, weight) in enumerate(items):
        start = np.full(N, np.float32(i))
        u = update(np.full(N, value), weight, start, i)
        a = min(rate * weight, 1.0)
        x = (1 - a) * x + a * (start.astype(np.float64) + u.delta)
        updates.append(u)
    step = merged(Mixing(rate), updates, x0)
    np.testing.assert_allclose(x0 + step, x, rtol=1e-9, atol=1e-6)


def test_mixing_reports_its_rate_and_replaces_at_one():
    merge = Mixing(1.0)
    state = merge.init(SCHEMA, 10)
    assert merge.add(state, update(np.ones(N), 5.0)) == {"mixing_rate": 1.0}
    x = np.full(N, 7, np.float32)
    np.testing.assert_array_equal(x + merge.take(state, x, lambda _: 1.0), np.ones(N))


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_a_mixing_rate_is_a_share(rate):
    with pytest.raises(InvalidInput, match=r"mixing\.rate = .*: must be above 0 and at most 1"):
        Mixing(rate)
