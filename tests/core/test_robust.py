"""Robust merges: against naive references, against attacks, and refused where they could not hold."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket import reference_tasks, strategies
from hocket.core import named, resolve
from hocket.errors import Diverged, InvalidInput
from hocket.merge import ClippedMean, GeometricMedian, Krum, MeanByCount, Median, TrimmedMean
from hocket.policies import Contribution
from hocket.schema import Schema, Segment
from hocket.strategy import Strategy, TaskPart, compose
from hocket.testing.moments import lease

SIZE = 10_000  # more than one chunk
SCHEMA = Schema((Segment("w", (SIZE,)),))
RULES = {
    "median": lambda f: Median(f), "trimmed_mean": lambda f: TrimmedMean(f), "krum": lambda f: Krum(f),
    "multi_krum": lambda f: Krum(f, keep=3), "geometric_median": lambda f: GeometricMedian(f),
}  # fmt: skip


def merged(merge, rows, weights=None):
    state = merge.init(SCHEMA, 10)
    for i, row in enumerate(rows):
        weight = 1.0 if weights is None else weights[i]
        update = np.asarray(row, np.float32)
        merge.add(state, Contribution(lease(i, client=i), weight, 10, update, np.zeros(SIZE, np.float32)))
    return merge.take(state, np.zeros(SIZE, np.float32), lambda _: 1.0)


def honest(n, seed=0, spread=0.1):
    """Updates around one direction."""
    random = np.random.default_rng(seed)
    return (random.normal(0, 1, SIZE) + spread * random.normal(0, 1, (n, SIZE))).astype(np.float32)


def test_median_and_trimmed_mean_are_those_of_the_definition():
    rows, weights = honest(8).astype(np.float64), np.linspace(0.5, 1.5, 8)
    scaled = honest(8) * weights[:, None]
    np.testing.assert_allclose(merged(Median(2), rows, weights), np.median(scaled, axis=0), rtol=1e-12)
    order = np.sort(scaled, axis=0)
    np.testing.assert_allclose(merged(TrimmedMean(2), rows, weights), order[2:6].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(merged(TrimmedMean(0), rows), honest(8).mean(axis=0, dtype=np.float64), rtol=1e-9)


def test_krum_is_that_of_the_definition():
    rows, f = honest(9, spread=1.0).astype(np.float64), 2
    scores = []
    for i in range(9):
        apart = sorted(float(np.square(rows[i] - rows[j]).sum()) for j in range(9) if j != i)
        scores.append(sum(apart[: 9 - f - 2]))
    best = np.argsort(scores)
    np.testing.assert_array_equal(merged(Krum(f), rows), rows[best[0]])
    np.testing.assert_allclose(merged(Krum(f, keep=4), rows), rows[np.sort(best[:4])].mean(axis=0), rtol=1e-12)


def test_the_geometric_median_has_the_least_sum_of_distances():
    rows = honest(7, spread=1.0).astype(np.float64)
    rows[0] *= 50
    found = merged(GeometricMedian(2, iterations=200), rows)

    def total(z):
        return np.sqrt(np.square(rows - z).sum(axis=1)).sum()

    random = np.random.default_rng(1)
    for other in (rows.mean(axis=0), np.median(rows, axis=0), *(found + 0.01 * random.normal(0, 1, (5, SIZE)))):
        assert total(found) <= total(other) * (1 + 1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_updates_does_not_matter_but_for_rounding(rule):
    rows = honest(5, spread=1.0)
    first = merged(RULES[rule](0 if rule == "multi_krum" else 1), rows)
    for order in list(permutations(range(5)))[::17]:
        again = merged(RULES[rule](0 if rule == "multi_krum" else 1), rows[list(order)])
        np.testing.assert_allclose(again, first, rtol=1e-6, atol=1e-9)


ATTACKS = {
    "sign flip": lambda good, f: -good[:f],
    "a million times": lambda good, f: 1e6 * good[:f],
    "the same value": lambda good, f: np.full((f, SIZE), 1e3),
    "hidden in the spread": lambda good, f: np.repeat((good.mean(axis=0) + 1.5 * good.std(axis=0))[None], f, axis=0),
}


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("rule", RULES)
def test_t37_poisoned_updates_move_the_step_no_further_than_honest_ones_differ(rule, attack, share):
    n = 20
    f = round(share * n)
    good = honest(n - f, seed=3)
    center = good.mean(axis=0, dtype=np.float64)
    radius = np.sqrt(np.square(good - center).sum(axis=1)).max()
    step = merged(RULES[rule](f), [*ATTACKS[attack](good, f), *good])
    assert np.linalg.norm(step - center) <= 2 * radius
    if rule in ("median", "trimmed_mean"):
        assert (step >= good.min(axis=0) - 1e-6).all() and (step <= good.max(axis=0) + 1e-6).all()
    if attack == "a million times":
        assert np.linalg.norm(merged(MeanByCount(), [*ATTACKS[attack](good, f), *good]) - center) > 1000 * radius


@given(st.integers(0, 6), st.floats(0.1, 10.0), st.integers(0, 1000))
def test_t37_clipping_bounds_what_wrong_updates_can_do(f, clip, seed):
    random = np.random.default_rng(seed)
    good = random.normal(0, 1, (10 - f, SIZE)).astype(np.float32)
    steps = [merged(ClippedMean(clip), [*(s * 1e8 * random.normal(0, 1, (f, SIZE))), *good]) for s in (1.0, -1.0)]
    assert np.linalg.norm(steps[0] - steps[1]) <= 2 * clip * f / 10 + 1e-6
    assert all(np.linalg.norm(s) <= clip * (1 + 1e-6) for s in steps)


@pytest.mark.parametrize("rule", RULES)
def test_clipping_comes_before_the_rule(rule):
    rows = honest(9) * 100
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    made = RULES[rule](1)
    clipped = type(made)(**{f: getattr(made, f) for f in made.__struct_fields__ if f != "clip"}, clip=2.0)
    np.testing.assert_allclose(merged(clipped, rows), merged(made, rows * (2.0 / norms)[:, None]), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("merge", "least"),
    [(Median(2), 5), (TrimmedMean(3), 7), (Krum(2), 7), (Krum(1, keep=5), 8), (GeometricMedian(4), 9)],
)
def test_too_few_updates_are_refused_when_the_strategy_is_built_and_when_a_step_is_made(merge, least):
    task = reference_tasks.gaussian(clients=30, samples=20)

    def build(buffer):
        method = compose(strategies.fedbuff(buffer, 20), Strategy("r", task=TaskPart()))
        return resolve(named(task), Strategy("robust", method.pacing, method.matching, task=TaskPart(merge=merge)))

    build(least)
    with pytest.raises(
        InvalidInput, match=f"needs {least} updates in every step; pacing in_flight steps with {least - 1}"
    ):
        build(least - 1)
    with pytest.raises(Diverged, match=f"a step of {least - 1} updates"):
        merged(merge, honest(least - 1))


def test_what_cannot_be_meant():
    for make in (
        lambda: Median(-1),
        lambda: Krum(keep=0),
        lambda: GeometricMedian(smooth=0.0),
        lambda: ClippedMean(0.0),
    ):
        with pytest.raises(InvalidInput, match="must be"):
            make()
