"""Server optimizers against a loop over plain floats."""

from math import sqrt

import numpy as np
import pytest

from hocket.errors import InvalidInput
from hocket.keyed import generator, key
from hocket.optimizer import SGD, Adam, Momentum, Yogi
from hocket.schema import Schema, Segment

N, STEPS = 5, 12
SCHEMA = Schema((Segment("w", (N,)),))


def steps():
    return [generator(key("step", t)).standard_normal(N) for t in range(STEPS)]


def applied(optimizer):
    x, state = np.linspace(-1, 1, N).astype(np.float32), optimizer.init(SCHEMA)
    for step in steps():
        x = optimizer.apply(state, x, step)
        assert x.dtype == np.float32
    return x


def looped(rule):
    """The same with Python floats, one coordinate at a time, rounded to float32 after each step."""
    x = [float(v) for v in np.linspace(-1, 1, N).astype(np.float32)]
    memory = [{} for _ in range(N)]
    for step in steps():
        x = [float(np.float32(xi + rule(m, float(g)))) for xi, m, g in zip(x, memory, step, strict=True)]
    return x


def sgd(m, g):
    return 0.3 * g


def momentum(m, g):
    m["v"] = 0.8 * m.get("v", 0.0) + g
    return 0.3 * m["v"]


def adam(m, g):
    m["m"] = 0.9 * m.get("m", 0.0) + (1 - 0.9) * g
    m["v"] = 0.95 * m.get("v", 1e-4) + (1 - 0.95) * g * g
    return 0.1 * m["m"] / (sqrt(m["v"]) + 1e-2)


def yogi(m, g):
    m["m"] = 0.9 * m.get("m", 0.0) + (1 - 0.9) * g
    v = m.get("v", 1e-4)
    sign = (v > g * g) - (v < g * g)
    m["v"] = v - (1 - 0.95) * g * g * sign
    return 0.1 * m["m"] / (sqrt(m["v"]) + 1e-2)


@pytest.mark.parametrize(
    ("optimizer", "rule"),
    [
        (SGD(0.3), sgd),
        (Momentum(0.3, 0.8), momentum),
        (Adam(0.1, 0.9, 0.95, 1e-2), adam),
        (Yogi(0.1, 0.9, 0.95, 1e-2), yogi),
    ],
    ids=lambda v: getattr(v, "__name__", type(v).__name__),
)
def test_against_a_naive_loop(optimizer, rule):
    np.testing.assert_allclose(applied(optimizer), looped(rule), rtol=2e-6, atol=1e-7)


def test_momentum_of_zero_is_sgd():
    assert applied(Momentum(0.3, 0.0)).tobytes() == applied(SGD(0.3)).tobytes()


def test_yogi_moves_its_second_moment_by_a_bounded_amount():
    """After one huge step Adam's v jumps towards it as Yogi's does, but Yogi forgets it more slowly."""
    memories = []
    for optimizer in (Adam(), Yogi()):
        state = optimizer.init(SCHEMA)
        for g in (100.0, 1.0, 1.0, 1.0):
            optimizer.apply(state, np.zeros(N, np.float32), np.full(N, g))
        memories.append(float(state.v[0]))
    assert memories[1] > memories[0] > 90


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SGD(0.0), r"sgd\.lr = 0\.0: must be above 0"),
        (lambda: SGD(float("nan")), r"sgd\.lr = nan: must be above 0"),
        (lambda: Momentum(beta=1.0), r"momentum\.beta = 1\.0: must be at least 0 and below 1"),
        (lambda: Adam(beta1=-0.1), r"adam\.beta1 = -0\.1"),
        (lambda: Adam(eps=0.0), r"adam\.eps = 0\.0: must be above 0"),
        (lambda: Yogi(beta2=2.0), r"yogi\.beta2 = 2\.0"),
        (lambda: Yogi(lr=-1), r"yogi\.lr = -1: must be above 0"),
    ],
)
def test_settings_out_of_range(build, message):
    with pytest.raises(InvalidInput, match=message):
        build()


@pytest.mark.parametrize("optimizer", [SGD, Momentum, Adam, Yogi])
def test_an_infinite_rate_is_refused(optimizer):
    with pytest.raises(InvalidInput, match="lr = inf"):
        optimizer(lr=float("inf"))
