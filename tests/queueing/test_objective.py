"""Objectives, their gradients and their optima against the reference values and the published tables."""

from math import sqrt

import numpy as np
import pytest

from hocket.queueing import (
    FixedRate,
    Interval,
    Joules,
    Learning,
    Network,
    Objective,
    Rounds,
    Seconds,
    Weighted,
    optimize,
    slope,
    solve,
)
from hocket.queueing.solution import evaluate
from tests.queueing.settings import A_ROUTING, TABLE_1_WATTS, A, ratio, table_1

LINKED = Network(compute=[1, 0.3, 2], download=[0.1, 0, 1], upload=[0.5, 0, 2], server=0.1, clients=[2, 3, 1])


def test_item_1_objectives_of_case_a() -> None:
    s = solve(A, A_ROUTING, 4)
    rounds, by_rounds = slope(Rounds(), s)
    seconds, by_seconds = slope(Seconds(), s)
    assert rounds == pytest.approx(11839.303929, abs=1e-6)
    assert by_rounds == pytest.approx([-29416.785273, -12306.504684, -4527.990938], abs=1e-6)
    assert seconds == pytest.approx(2894.291021, abs=1e-6)
    assert by_seconds == pytest.approx([951.856694, -450.454679, -110.469870], abs=1e-6)
    softmax = A_ROUTING * (by_seconds - A_ROUTING @ by_seconds)
    assert softmax == pytest.approx([190.371339, -135.136404, -55.234935], abs=1e-6)
    assert Rounds().learning_rate(s) == pytest.approx(0.00142315, abs=5e-9)


def test_item_1_error_at_a_fixed_rate() -> None:
    s = solve(A, A_ROUTING, 4)
    assert FixedRate(1e-3, 10_000 / s.throughput).at(s).value == pytest.approx(0.646804, abs=1e-6)
    assert FixedRate(1e-3, 2500.0).at(s).value == pytest.approx(0.637948, abs=1e-6)
    assert FixedRate(1e-3, 2500.0).at(solve(A, A.uniform(), 4)).value == pytest.approx(0.771092, abs=1e-6)


def test_the_error_bound_holds_at_the_largest_learning_rate() -> None:
    """At eta_max and K_eps the bound is below epsilon: 0.596 for case A."""
    s = solve(A, A_ROUTING, 4)
    bound = FixedRate(Rounds().learning_rate(s), Seconds().at(s).value).at(s).value
    assert bound == pytest.approx(0.596, abs=5e-4)


@pytest.mark.parametrize(
    "objective",
    [
        Rounds(),
        Seconds(),
        Interval(),
        FixedRate(1e-3, 900.0),
        Joules((3.0, 1.0, 7.0), server=0.5),
        Weighted(((Seconds(), 0.9, 2000.0), (Joules((3.0, 1.0, 7.0)), 0.1, 900.0))),
    ],
    ids=lambda o: type(o).__name__,
)
@pytest.mark.parametrize("m", [1, 2, 7])
def test_item_1_finite_differences(objective: Objective, m: int) -> None:
    p = np.array([0.15, 0.2, 0.1])
    value, gradient = slope(objective, solve(LINKED, p, m))
    for c, step in enumerate(1e-5 * p):
        move = step * np.eye(3)[c]
        more, less = (objective.at(evaluate(LINKED, p + sign * move, m)).value for sign in (1, -1))
        assert (more - less) / (2 * step) == pytest.approx(gradient[c], rel=1e-6, abs=1e-6 * value)


@pytest.mark.parametrize(("faster", "best"), [(1.0, (0.50, 7)), (3.0, (0.32, 6))])
def test_item_6_published_two_client_example(faster: float, best: tuple[float, int]) -> None:
    """Search over p_1 on a grid of 0.01 and m = 1..15: (0.50, 7), and (0.32, 6) when client 2 is three times faster."""
    times = [1.0, 1.0 / faster]
    network, learning = Network(times, times, times), Learning()
    grid = [
        (Seconds(learning).at(solve(network, [p, 1 - p], m)).value, p, m)
        for p in np.arange(1, 100) / 100
        for m in range(1, 16)
    ]
    assert min(grid)[1:] == best
    found = optimize(network, Seconds(learning), (1, 15))
    assert found.solution.in_flight == best[1]
    assert found.solution.routing[0] == pytest.approx(best[0], abs=0.006)
    if faster == 1.0:
        assert found.value == pytest.approx(8101.0621, abs=1e-4)


def test_optima_of_case_a() -> None:
    best = optimize(A, Seconds(), (1, 6))
    curve = dict(best.curve)
    expected = {1: 4026.9582, 2: 3066.4971, 3: 2879.0949, 4: 2885.9173, 5: 2970.0965, 6: 3091.8324}
    assert {m: curve[m] for m in curve} == pytest.approx({m: expected[m] for m in curve}, abs=1e-4)
    assert best.solution.in_flight == 3
    assert best.solution.routing == pytest.approx([0.19771, 0.31169, 0.49060], abs=1e-5)
    assert optimize(A, Seconds(), 4).solution.routing == pytest.approx([0.18718, 0.30815, 0.50467], abs=1e-5)


def test_item_11_what_each_optimum_trades() -> None:
    """Fewest rounds favours the slow and loses throughput; most throughput the opposite; least time is between."""
    rounds, seconds = optimize(A, Rounds(), 4), optimize(A, Seconds(), 4)
    fastest = optimize(A, Interval(), 4, floor=0.0)
    assert rounds.solution.routing == pytest.approx([0.38583, 0.31403, 0.30014], abs=1e-5)
    assert rounds.value == pytest.approx(9812.801, abs=1e-3)
    assert rounds.solution.throughput == pytest.approx(2.52731, abs=1e-5)
    assert fastest.solution.routing == pytest.approx([0.06767, 0.23480, 0.69753], abs=1e-4)
    assert fastest.solution.throughput == pytest.approx(5.08695, abs=1e-5)
    uniform = solve(A, A.uniform(), 4).throughput
    assert rounds.solution.routing[0] > 1 / 3 > fastest.solution.routing[0]
    assert rounds.solution.throughput < uniform < fastest.solution.throughput
    assert rounds.solution.throughput < seconds.solution.throughput < fastest.solution.throughput
    assert solve(A, [1 / 7, 2 / 7, 4 / 7], 4).throughput == pytest.approx(14 / 3)


@pytest.mark.parametrize(("n", "best"), [(5, 6), (10, 9)])
def test_homogeneous_tasks_in_flight(n: int, best: int) -> None:
    """m* is near sqrt((r-1)(n-1)), r = 9.017."""
    found = optimize(Network(compute=[1.0], clients=[n]), Seconds(), (1, 60))
    assert found.solution.in_flight == best
    learning = Learning()
    r = (4 + learning.sampling) / sqrt(learning.aging)
    assert abs(best - sqrt((r - 1) * (n - 1))) < 1


def test_item_8_published_time_optimum() -> None:
    """Table 1 with r = 41: m* in 90..92 (published 91), p within 1 %, tau* = 8157, lambda 18.61."""
    learning = ratio(41.0)
    network = table_1()
    best = optimize(network, Seconds(learning), (1, 150), starts=(0.0,))
    assert 90 <= best.solution.in_flight <= 92
    assert 100 * best.solution.routing == pytest.approx([1.307, 0.515, 1.752, 0.340, 2.403], rel=0.01)
    assert best.solution.throughput == pytest.approx(18.61, rel=0.01)
    assert best.value == pytest.approx(8157, rel=1e-3)
    uniform = Seconds(learning).at(solve(network, network.uniform(), 100)).value
    assert best.value <= uniform == pytest.approx(9038, rel=1e-3)


def test_item_8_every_client_on_its_own() -> None:
    """100 clients one by one find what five classes find."""
    learning = ratio(41.0)
    alone, together = (optimize(table_1(classes), Seconds(learning), 91) for classes in (False, True))
    assert alone.value == pytest.approx(together.value, rel=1e-9)


def test_item_10_predicted_optimum_of_the_small_network() -> None:
    """Table 1's types with 3, 3, 4, 8 and 2 clients, r = 15.7: 23 tasks; the predicted time is below uniform's."""
    types = table_1()
    network = Network(types.compute, types.download, types.upload, clients=[3, 3, 4, 8, 2])
    best = optimize(network, Seconds(ratio(15.7)), (1, 60))
    assert best.solution.in_flight == 23
    assert best.value < Seconds(ratio(15.7)).at(solve(network, network.uniform(), 20)).value


def test_the_search_over_tasks_finds_the_least_of_all() -> None:
    network = Network([0.3, 2.0], [0.1, 4.0], [1.0, 0.2], clients=[4, 3])
    best = optimize(network, Seconds(ratio(12.0)), (1, 40))
    every = [optimize(network, Seconds(ratio(12.0)), m).value for m in range(1, 41)]
    assert best.value == pytest.approx(min(every), rel=1e-9)
    assert best.solution.in_flight == 1 + every.index(min(every))
    assert optimize(network, Seconds(ratio(12.0)), (30, 40)).solution.in_flight == 30
    assert optimize(network, Seconds(ratio(12.0)), (1, 3)).solution.in_flight == 3


def test_item_12_energy() -> None:
    """m* = 1 and p ~ 1/sqrt(E); the mixture's m* falls from 91 to 1, 55 or 56 at weight 0.1 (published 56)."""
    network, learning = table_1(), ratio(41.0)
    joules = network.joules(**TABLE_1_WATTS)
    energy, seconds = Joules(tuple(joules), learning=learning), Seconds(learning)
    least = optimize(network, energy, (1, 20))
    assert least.solution.in_flight == 1
    assert least.solution.routing == pytest.approx(joules**-0.5 / (network.counts @ joules**-0.5), rel=1e-5)
    front = 24 * learning.smoothness * (4 + learning.sampling) / network.size**2
    assert least.value == pytest.approx(front * (network.counts @ np.sqrt(joules)) ** 2, rel=1e-9)
    assert least.value == pytest.approx(2.17e6, rel=3e-3)
    fastest = optimize(network, seconds, (1, 150))
    found = []
    for weight in (0.0, 0.1, 0.4, 1.0):
        both = Weighted(((energy, weight, least.value), (seconds, 1 - weight, fastest.value)))
        found.append(optimize(network, both, (1, 150)))
    tasks = [best.solution.in_flight for best in found]
    assert tasks == sorted(tasks, reverse=True)
    assert (tasks[0], tasks[-1]) == (91, 1)
    assert tasks[1] in (55, 56)
    assert found[1].value == pytest.approx(1.280658, rel=1e-5)


def test_energy_with_a_server() -> None:
    """p ~ 1/sqrt(E_i + E_server)."""
    best = optimize(A, Joules((1.0, 4.0, 9.0), server=7.0), 1)
    shape = (np.array([1.0, 4.0, 9.0]) + 7.0) ** -0.5
    assert best.solution.routing == pytest.approx(shape / shape.sum(), rel=1e-5)


def test_round_optimum_is_serial_and_uniform() -> None:
    best = optimize(A, Rounds(), (1, 20))
    assert best.solution.in_flight == 1
    assert best.solution.routing == pytest.approx(A.uniform(), rel=1e-5)


def test_the_floor_holds_and_nothing_is_random() -> None:
    network = table_1()
    first, second = (optimize(network, Interval(), 100, floor=0.05) for _ in range(2))
    assert first.solution.routing.min() >= 0.05 / network.size
    assert first.solution.routing.tobytes() == second.solution.routing.tobytes()
    assert network.counts @ first.solution.routing == pytest.approx(1.0)


def test_published_columns_of_table_2() -> None:
    """Throughput and staleness factors/100 of the four routings as printed (p rounded to 0.001 %)."""
    network = table_1()
    columns = {
        "time": (91, [1.307, 0.514, 1.752, 0.340, 2.405], [14.2, 182.0, 5.5, 1615.7, 2.1], 18.7),
        "throughput": (100, [0.845, 0.011, 1.591, 0.005, 5.514], None, 152),
        "rounds": (100, [0.526, 0.627, 0.506, 1.691, 0.496], [8.6, 28.0, 4.6, 84.6, 2.5], 4.5),
        "uniform": (100, [1.0] * 5, [7.4, 33.9, 3.8, 229.6, 2.0], 7.4),
    }
    for m, percent, factors, throughput in columns.values():
        p = np.array(percent) / (network.counts @ np.array(percent))
        s = solve(network, p, m)
        assert s.throughput == pytest.approx(throughput, rel=0.01)
        if factors is not None:
            assert s.delay / p**2 / 100 == pytest.approx(factors, rel=0.01, abs=0.06)


def test_published_round_optimum_of_table_2() -> None:
    """r = 21.9 gives the printed routing within 1 %."""
    best = optimize(table_1(), Rounds(ratio(21.9)), 100)
    assert 100 * best.solution.routing == pytest.approx([0.526, 0.627, 0.506, 1.691, 0.496], rel=0.01)
