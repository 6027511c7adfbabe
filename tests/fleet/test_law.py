"""Laws: mean one, the right shape, a pure function of the key, strict fields."""

from math import erf, exp, log, pi, sqrt

import msgspec
import numpy as np
import pytest

from hocket import keyed
from hocket.errors import InvalidInput
from hocket.fleet import (
    Deterministic,
    Empirical,
    Exponential,
    HalfNormal,
    Law,
    LogNormal,
    ShiftedExponential,
)

N = 60_000


def sample(law: Law) -> np.ndarray:
    return np.array([law.draw(keyed.key(5, i)) for i in range(N)])


VARIANCE = [
    (Deterministic(), 0.0),
    (Exponential(), 1.0),
    (ShiftedExponential(0.25), 0.75**2),
    (HalfNormal(), pi / 2 - 1),
    (LogNormal(0.5), exp(0.25) - 1),
    (Empirical.from_trace([1, 2, 3, 10]), 12.5 / 16),
]


@pytest.mark.parametrize(("law", "variance"), VARIANCE)
def test_mean_is_one_and_variance_is_known(law: Law, variance: float) -> None:
    x = sample(law)
    assert abs(x.mean() - 1.0) < 4 * sqrt(variance / N) + 1e-12
    assert x.var() == pytest.approx(variance, rel=0.05, abs=1e-12)


@pytest.mark.parametrize(
    ("law", "cdf"),
    [
        (Exponential(), lambda x: 1 - exp(-x)),
        (ShiftedExponential(), lambda x: 1 - exp(-(x - 1 / 3) / (2 / 3))),
        (HalfNormal(), lambda x: erf(x / sqrt(pi))),
        (LogNormal(1.2), lambda x: 0.5 * (1 + erf((log(x) + 0.72) / (1.2 * sqrt(2))))),
    ],
)
def test_quantiles_follow_the_closed_form(law: Law, cdf) -> None:
    x = sample(law)
    for p in (0.01, 0.1, 0.5, 0.9, 0.99):
        assert cdf(float(np.quantile(x, p))) == pytest.approx(p, abs=4 * sqrt(p * (1 - p) / N))


def test_empirical_draws_each_factor_alike() -> None:
    law = Empirical.from_trace([3.0, 1.0, 2.0])
    values, counts = np.unique(sample(law), return_counts=True)
    assert values.tolist() == [0.5, 1.0, 1.5]
    assert np.allclose(counts / N, 1 / 3, atol=0.01)


@pytest.mark.parametrize(("law", "_"), VARIANCE)
def test_a_draw_is_a_function_of_the_key_and_the_value_round_trips(law: Law, _: float) -> None:
    again = msgspec.json.decode(msgspec.json.encode(law), type=Law)
    assert again == law
    assert [law.draw(k) for k in range(20)] == [again.draw(k) for k in range(20)]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ShiftedExponential(1.5), r"shift=1\.5 .* give 0 to 1"),
        (lambda: ShiftedExponential(float("nan")), r"shift=nan"),
        (lambda: LogNormal(-0.1), r"sigma=-0\.1 .* give 0 to 3"),
        (lambda: LogNormal(3.1), r"sigma=3\.1"),
        (lambda: Empirical(()), r"no factors"),
        (lambda: Empirical.from_trace([]), r"no factors"),
        (lambda: Empirical((1.0, 2.0)), r"mean 1\.5, not 1; use Empirical\.from_trace"),
        (lambda: Empirical.from_trace([1.0, 0.0]), r"durations\[1\]=0\.0"),
        (lambda: Empirical.from_trace([float("inf")]), r"durations\[0\]=inf"),
    ],
)
def test_bad_fields_are_named(build, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        build()


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="scale"):
        msgspec.json.decode(b'{"kind":"exponential","scale":2}', type=Law)
