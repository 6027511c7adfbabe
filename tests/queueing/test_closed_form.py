"""Delays, throughput, second moments and gradients against reference digits, enumeration and many digits."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hocket.queueing import Network, solve
from hocket.queueing.solution import evaluate
from hocket.queueing.sweep import log_constants
from tests.queueing.reference import buzen, distinct, enumerated, markov_chain
from tests.queueing.settings import A_ROUTING, COUNTS, G_ROUTING, TABLE_6, A, B, C, G, table_1

SECONDS = st.floats(0.05, 5.0)
LINKS = st.one_of(st.just(0.0), SECONDS)


@st.composite
def networks(draw: st.DrawFn, most: int = 3) -> tuple[Network, np.ndarray]:
    n = draw(st.integers(1, most))
    column = [draw(st.lists(kind, min_size=n, max_size=n)) for kind in (SECONDS, LINKS, LINKS, SECONDS)]
    clients = draw(st.lists(st.integers(1, 3), min_size=n, max_size=n))
    p = np.array(column[3]) / np.dot(column[3], clients)
    return Network(*column[:3], server=draw(LINKS), clients=clients), p


def test_item_1_case_a() -> None:
    s = solve(A, A_ROUTING, 4)
    assert s.delay == pytest.approx([1.404207, 0.901721, 0.694073], abs=1e-6)
    assert s.throughput == pytest.approx(4.090571, abs=1e-6)
    jacobian = [
        [5.728019, -2.201554, -0.970275],
        [-3.302331, 3.140526, -0.563383],
        [-2.425688, -0.938972, 1.533658],
    ]
    assert s.delay_gradient(np.eye(3)) == pytest.approx(np.array(jacobian), abs=1e-6)
    assert s.throughput_gradient() == pytest.approx([-11.509010, -3.615354, -1.408326], abs=1e-6)
    assert np.exp(log_constants(s.rates)) == pytest.approx([1, 0.475, 0.151875, 0.040859375, 0.009989], abs=1e-6)


def test_item_1_cases_b_c_g() -> None:
    b = solve(B, B.uniform(), 8)
    assert b.delay == pytest.approx([4.907639, 0.916342, 0.916342, 0.194483, 0.065193], abs=1e-6)
    assert b.throughput == pytest.approx(2.472299, abs=1e-6)
    c = solve(C, C.uniform(), 6)
    assert (c.delay[0], c.throughput) == (pytest.approx(1.25, abs=1e-12), pytest.approx(8 / 3, abs=1e-12))
    g = solve(G, G_ROUTING, 6)
    assert g.delay == pytest.approx([1.161104, 0.505563], abs=1e-6)
    assert g.throughput == pytest.approx(6.580357, abs=1e-6)


@given(networks(), st.integers(1, 12))
def test_item_1_identities(case: tuple[Network, np.ndarray], m: int) -> None:
    """Delays sum to m-1, tasks to m; covariance is symmetric and its rows sum to 0; degrees of homogeneity."""
    network, p = case
    s = solve(network, p, m)
    assert network.counts @ s.delay == pytest.approx(m - 1, abs=1e-9)
    assert network.counts @ s.held == pytest.approx(m, abs=1e-9)
    covariance = s.covariance()
    assert np.abs(covariance.sum(axis=1)).max() < 1e-12 * m * m
    assert covariance == pytest.approx(covariance.T, abs=1e-12 * m * m)
    assert p @ s.throughput_gradient() == pytest.approx(-s.throughput, rel=1e-12)
    assert s.staleness * p == pytest.approx(s.delay)


@given(networks(), st.integers(1, 12))
def test_item_1_finite_differences(case: tuple[Network, np.ndarray], m: int) -> None:
    network, p = case
    s = solve(network, p, m)
    jacobian, slopes = s.delay_gradient(np.eye(len(p))), s.throughput_gradient()
    for c, step in enumerate(1e-5 * p):
        move = step * np.eye(len(p))[c]
        more, less = evaluate(network, p + move, m), evaluate(network, p - move, m)
        scale = np.abs(jacobian).max() + m
        assert (more.delay - less.delay) / (2 * step) == pytest.approx(jacobian[:, c], abs=1e-6 * scale)
        assert (more.throughput - less.throughput) / (2 * step) == pytest.approx(
            slopes[c], abs=1e-6 * s.throughput / p[c]
        )


@pytest.mark.parametrize("server", [0.0, 0.4])
@pytest.mark.parametrize("links", [0.0, 0.7])
def test_item_2_enumeration(server: float, links: float) -> None:
    network = Network(A.compute, download=[links, 0.0, links / 3], upload=[0.0, links, links], server=server)
    s = solve(network, A_ROUTING, 4)
    _, mean, covariance = enumerated(network, A_ROUTING, 3)
    assert s.delay == pytest.approx(mean, abs=1e-12)
    assert s.covariance() == pytest.approx(covariance, abs=1e-12)
    ratio = enumerated(network, A_ROUTING, 3)[0] / enumerated(network, A_ROUTING, 4)[0]
    assert s.throughput == pytest.approx(ratio, rel=1e-12)


def test_the_product_form_and_the_arrival_theorem_solve_the_balance_equations() -> None:
    network = Network(compute=[1.0, 0.5], download=[0.1, 0.5], upload=[1.0, 0.2])
    s = solve(network, [0.3, 0.7], 3)
    throughput, delay = markov_chain(network, np.array([0.3, 0.7]), 3)
    assert s.throughput == pytest.approx(throughput, rel=1e-12)
    assert s.delay == pytest.approx(delay, abs=1e-12)


@given(networks(), st.integers(1, 9))
def test_classes_are_their_clients(case: tuple[Network, np.ndarray], m: int) -> None:
    network, p = case
    k = network.counts.astype(int)
    classes, clients = solve(network, p, m), solve(distinct(network), np.repeat(p, k), m)
    assert np.repeat(classes.delay, k) == pytest.approx(clients.delay, abs=1e-12)
    assert classes.throughput == pytest.approx(clients.throughput, rel=1e-12)
    weights = np.repeat(np.arange(1.0, len(k) + 1), k)
    grouped = np.add.reduceat(clients.delay_gradient(weights), np.cumsum([0, *k[:-1]]))
    assert classes.delay_gradient(np.arange(1.0, len(k) + 1) * k) == pytest.approx(grouped, abs=1e-10)


def test_item_5_special_cases() -> None:
    """Homogeneous: D = (m-1)/n, lambda = n mu m/(n+m-1). One task: never stale."""
    network = Network(compute=[0.5], clients=[7])
    s = solve(network, network.uniform(), 5)
    assert (s.delay[0], s.throughput) == (pytest.approx(4 / 7), pytest.approx(7 * 2 * 5 / 11))
    alone = solve(Network(compute=[1, 2], download=[3, 1], upload=[0, 5], server=2.0), [0.5, 0.5], 1)
    assert (alone.staleness == 0.0).all()
    assert alone.throughput == pytest.approx(1.0 / (0.5 * 4 + 0.5 * 8 + 2))
    assert (alone.delay_gradient([1.0, 2.0]) == 0.0).all()


def test_a_saturated_network_is_its_bottleneck() -> None:
    s = solve(A, A_ROUTING, 2000)
    ratios = A_ROUTING * A.processing / 0.2
    assert s.throughput == pytest.approx(5.0, rel=1e-9)
    assert s.delay[1:] == pytest.approx(ratios[1:] / (1 - ratios[1:]), rel=1e-9)


def test_item_7_published_uniform_routing() -> None:
    """Table 1: lambda 7.4 and staleness factors; Table 6: lambda 41."""
    network = table_1(together=False)
    s = solve(network, network.uniform(), 100)
    first = np.cumsum([0, *COUNTS[:-1]])
    assert s.throughput == pytest.approx(7.405947, abs=1e-6)
    assert s.delay[first] == pytest.approx([0.073577, 0.339141, 0.037680, 2.296341, 0.020201], abs=1e-6)
    assert s.delay[first] * 100 == pytest.approx([7.36, 33.91, 3.77, 229.63, 2.02], abs=5e-3)
    six = solve(TABLE_6, TABLE_6.uniform(), 100)
    assert six.throughput == pytest.approx(40.823183, abs=1e-6)
    assert six.delay == pytest.approx([0.408860, 0.290542, 0.237906, 5.002189, 0.105624], abs=1e-6)


def test_item_13_a_fast_server_is_no_server() -> None:
    with_server = Network(A.compute, A.compute, A.compute, server=1e-9)
    without = Network(A.compute, A.compute, A.compute)
    a, b = solve(with_server, A_ROUTING, 5), solve(without, A_ROUTING, 5)
    assert a.throughput == pytest.approx(b.throughput, rel=1e-6)
    assert a.delay == pytest.approx(b.delay, abs=1e-6)


def compare_with_many_digits(m: int) -> None:
    network = Network([1, 0.05, 3], [0.1, 0.5, 0], [1, 0.2, 0], server=1e-4, clients=[40_000, 59_990, 10])
    p = np.array([1.0, 0.9, 20.0]) / np.dot([1.0, 0.9, 20.0], network.counts)
    s, z = solve(network, p, m), buzen(network, p, m)
    worst = max(abs(float(z[k - 1] / z[k] / float(s.rates[k]) - 1)) for k in range(1, m + 1))
    assert worst < 1e-12
    assert float(mpmath.log(z[m])) == pytest.approx(log_constants(s.rates)[-1], rel=1e-12)
    assert network.counts @ s.delay == pytest.approx(m - 1, rel=1e-12)
    gradient = s.delay_gradient([1.0, 2.0, 3.0])
    assert np.isfinite(gradient).all()
    assert abs(p @ gradient) < 1e-6 * np.abs(p * gradient).max()


def test_no_overflow_at_many_clients_and_tasks() -> None:
    compare_with_many_digits(10_000)


@pytest.mark.soak
def test_no_overflow_at_100_000_clients_and_100_000_tasks() -> None:
    compare_with_many_digits(100_000)


@settings(max_examples=20)
@given(networks(), st.integers(1, 200))
def test_delays_grow_with_m(case: tuple[Network, np.ndarray], m: int) -> None:
    network, p = case
    less, more = solve(network, p, m), solve(network, p, m + 1)
    assert (more.delay >= less.delay - 1e-9).all()
    assert more.throughput >= less.throughput * (1 - 1e-12)
