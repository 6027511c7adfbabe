"""What is refused and what the rest weighs: tables, closed forms, sentences."""

import pytest

from hocket.errors import InvalidInput
from hocket.guard import Chain, Constant, Hinge, NormBound, Polynomial, Staleness, Windowed
from hocket.policies import Facts
from hocket.testing.moments import lease


def facts(staleness=0, **measured):
    return Facts(staleness, 100, 10, measured)


@pytest.mark.parametrize(
    ("decay", "weights"),
    [
        (Constant(), [1, 1, 1, 1, 1]),
        (Windowed(), [1, 2, 3, 4, 9]),
        (Hinge(slope=10.0, grace=4), [1, 1, 1, 1, 1 / 41]),
        (Hinge(slope=0.6, grace=2), [1, 1, 1, 1 / 1.6, 1 / 4.6]),
        (Polynomial(), [1, 2**-0.5, 3**-0.5, 0.5, 1 / 3]),
        (Polynomial(exponent=0.6), [1, 2**-0.6, 3**-0.6, 4**-0.6, 9**-0.6]),
        (Polynomial(exponent=0.0), [1, 1, 1, 1, 1]),
        (Polynomial(average=1.0), [2**0.5, 1, (2 / 3) ** 0.5, 0.5**0.5, (2 / 9) ** 0.5]),
    ],
    ids=repr,
)
def test_weights_at_ages_0_1_2_3_8(decay, weights):
    guard = Staleness(decay)
    assert [guard.weigh(lease(0), t) for t in (0, 1, 2, 3, 8)] == pytest.approx(weights, rel=1e-12)


@pytest.mark.parametrize(
    ("decay", "published"),
    [
        (Polynomial(exponent=0.6), [0.587249, 0.255615, 0.157136]),
        (Hinge(slope=0.6, grace=2), [0.542773, 0.339233, 0.117994]),
    ],
    ids=["polynomial", "hinge"],
)
def test_normalised_weights_at_ages_0_3_8_as_published(decay, published):
    """PR-FL's example of three buffered models (acceptance 1)."""
    weights = [decay.weight(t) for t in (0, 3, 8)]
    assert [w / sum(weights) for w in weights] == pytest.approx(published, abs=5e-7)


def test_hinge_meets_its_flat_part():
    hinge = Hinge(slope=0.5, grace=3)
    assert hinge.weight(3) == 1.0 > hinge.weight(4) == 1 / 1.5


@pytest.mark.parametrize("limit", [0, 2])
def test_the_limit_is_the_last_age_admitted(limit):
    guard = Staleness(limit=limit)
    assert guard.admit(lease(0), facts(limit)) is None
    assert guard.admit(lease(0), facts(limit + 1)) == f"stale by {limit + 1} versions, limit {limit}"
    assert Staleness().admit(lease(0), facts(10**9)) is None


def test_a_norm_above_its_bound_or_not_a_number_is_refused():
    guard = NormBound(2.0)
    assert guard.needs == ("norm",)
    assert guard.admit(lease(0), facts(norm=2.0)) is None
    assert guard.admit(lease(0), facts(norm=2.5)) == "norm 2.5, limit 2"
    assert guard.admit(lease(0), facts(norm=float("nan"))) == "norm nan, limit 2"
    assert guard.admit(lease(0), facts(norm=float("inf"))) == "norm inf, limit 2"
    assert guard.weigh(lease(0), 9) == 1.0


def test_a_chain_refuses_with_its_first_reason_and_multiplies_weights():
    chain = Chain((Staleness(Polynomial(), limit=3), NormBound(1.0), Staleness(Windowed())))
    assert chain.needs == ("norm",)
    assert chain.admit(lease(0), facts(4, norm=9.0)) == "stale by 4 versions, limit 3"
    assert chain.admit(lease(0), facts(3, norm=9.0)) == "norm 9, limit 1"
    assert chain.admit(lease(0), facts(3, norm=0.5)) is None
    assert chain.weigh(lease(0), 3) == 0.5 * 4


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Staleness(limit=-1), r"staleness\.limit = -1: must be 0 or more versions, or left out"),
        (lambda: Hinge(slope=0), r"hinge: slope = 0, grace = 4; slope > 0, grace 0 or more"),
        (lambda: Hinge(grace=-1), "grace = -1"),
        (lambda: Hinge(slope=float("nan")), "slope = nan"),
        (lambda: Polynomial(exponent=-0.5), r"polynomial: exponent = -0\.5, average = 0\.0; both must be 0 or more"),
        (lambda: Polynomial(average=float("nan")), "average = nan"),
        (lambda: NormBound(0.0), r"norm_bound\.limit = 0\.0: must be above 0"),
        (lambda: NormBound(float("nan")), r"norm_bound\.limit = nan"),
        (lambda: Chain(()), "chain: no guards; name at least one"),
    ],
)
def test_settings_out_of_range(build, message):
    with pytest.raises(InvalidInput, match=message):
        build()


@pytest.mark.parametrize("settings", [{"exponent": float("inf")}, {"exponent": 2.0, "average": 1e300}])
def test_a_weight_is_finite(settings):
    with pytest.raises(InvalidInput):
        Polynomial(**{"average": 1.0} | settings).weight(0)
