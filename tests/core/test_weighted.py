"""Weighted routing: the right frequencies, unbiased weights, and whoever is online."""

import numpy as np
import pytest

import hocket as hk
from hocket.errors import InvalidInput
from hocket.keyed import key
from hocket.matching import Weighted
from hocket.queueing import Network, solve
from hocket.testing.moments import empty_view

ROUTING = (0.5, 0.25, 0.125, 0.0625, 0.0625)


def view(online=range(5)):
    out = empty_view(5)
    for c in online:
        out.online.add(c)
    return out


def draws(policy, seen, count=40_000):
    state = policy.init(seen)
    return [p for i in range(count) for p in policy.match(state, {"a": 1}, seen, key(i))]


@pytest.mark.parametrize("online", [range(5), (1, 3, 4), (4,)])
def test_frequencies_and_weights(online):
    seen = view(online)
    picks = draws(Weighted(ROUTING), seen)
    share = sum(ROUTING[c] for c in online)
    counts = np.bincount([p.client for p in picks], minlength=5) / len(picks)
    want = np.array([ROUTING[c] / share if c in online else 0 for c in range(5)])
    assert np.abs(counts - want).max() < 4 * 0.5 / np.sqrt(len(picks))
    for p in picks[:200]:
        assert p.probability == pytest.approx(want[p.client])
        assert p.weight == pytest.approx(1 / (len(online) * want[p.client]))
    values = np.arange(5) ** 2.0
    mean = np.mean([p.weight * values[p.client] for p in picks])
    assert mean == pytest.approx(np.mean([values[c] for c in online]), rel=0.05)


def test_without_weights_and_without_routing():
    assert {p.weight for p in draws(Weighted(ROUTING, weigh=False), view(), 100)} == {1.0}
    assert {p.probability for p in draws(Weighted(), view(), 100)} == {0.2}


def test_rare_clients_are_found_when_only_they_are_there():
    """Counting takes over from drawing again and again."""
    picks = draws(Weighted((1.0, 1.0, 1.0, 1e-9, 3e-9)), view((3, 4)), 4000)
    assert np.mean([p.client == 4 for p in picks]) == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Weighted((0.5, 0.0)), "routing of client 1 is 0.0: must be above 0|routing of client 1 is 0.0; must"),
        (lambda: Weighted((0.5, 0.5)).init(view()), "2 probabilities for 5 clients"),
    ],
)
def test_bad_routing(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()


def test_the_formulas_foretell_throughput_and_staleness():
    """Eight clients of three speeds, unequal routing, no links: within 2 % of the closed network."""
    compute = np.array([1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25])
    routing = np.array([1, 1, 2, 2, 2, 4, 4, 4]) / 20
    said = solve(Network(compute), routing, in_flight=12)
    task = hk.Task.sized(parameters=1, clients=8, samples=1)
    fleet = hk.Fleet(compute, np.full(8, np.inf), np.full(8, np.inf), compute_law=hk.fleet.Exponential())
    method = hk.strategies.generalized_asyncsgd(routing, in_flight=12)
    run = hk.simulate(task, fleet, method, hk.Until(updates=60_000), seed=3)
    assert run.summary["updates"] / run.summary["virtual_time_s"] == pytest.approx(said.throughput, rel=0.02)
    assert run.summary["staleness"]["mean"] == pytest.approx(11, rel=0.02)
