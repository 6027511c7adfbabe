"""What is not a network, a routing, or a learning problem is refused in a sentence."""

from collections.abc import Callable

import numpy as np
import pytest

from hocket.errors import InvalidInput
from hocket.queueing import FixedRate, Joules, Learning, Network, Rounds, Seconds, Weighted, optimize, solve

TWO = Network(compute=[1.0, 2.0])


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Network(compute=[]), "compute has shape"),
        (lambda: Network(compute=[1.0, 0.0]), r"compute\[1\] = 0"),
        (lambda: Network(compute=["fast"]), "compute is not an array"),
        (lambda: Network(compute=[np.nan]), "compute holds a number that is not finite"),
        (lambda: Network(compute=[1.0], download=-1.0), r"download\[0\] = -1"),
        (lambda: Network(compute=[1.0, 2.0], upload=[1.0, 2.0, 3.0]), "upload has shape"),
        (lambda: Network(compute=[1.0], clients=1.5), r"clients\[0\] = 1.5"),
        (lambda: Network(compute=[1.0], server=-2.0), "server = -2"),
        (lambda: TWO.joules(compute=[1.0, 2.0, 3.0]), "compute watts has shape"),
        (lambda: solve(TWO, [0.5, 0.6], 1), "routing sums to 1.1"),
        (lambda: solve(TWO, [1.0, 0.0], 1), r"routing\[1\] = 0"),
        (lambda: solve(TWO, [0.5, 0.5], 0), "in_flight = 0"),
        (lambda: solve(TWO, [0.5, 0.5], 1.5), "in_flight = 1.5"),  # type: ignore[arg-type]
        (lambda: optimize(TWO, Seconds(), 2.5), "in_flight = 2.5"),  # type: ignore[arg-type]
        (lambda: solve(TWO, [0.2, 0.3, 0.5], 1), "routing has shape"),
        (lambda: Learning(epsilon=0.0), "learning: epsilon = 0"),
        (lambda: Learning(noise=-1.0), "learning: noise = -1"),
        (lambda: FixedRate(0.0, 1.0), "learning_rate = 0"),
        (lambda: Joules((0.0,)), "not all 0"),
        (lambda: Joules((1.0, 2.0, 3.0)).at(solve(TWO, [0.5, 0.5], 2)), "joules has shape"),
        (lambda: Weighted(()), "no term"),
        (lambda: Weighted(((Rounds(), -1.0, 1.0),)), "weight = -1"),
        (lambda: Weighted(((Rounds(), 1.0, 0.0),)), "scale = 0"),
        (lambda: optimize(TWO, Seconds(), (3, 2)), r"in_flight = \(3, 2\)"),
        (lambda: optimize(TWO, Seconds(), 2, floor=1.0), "floor = 1"),
        (lambda: optimize(TWO, Seconds(), 2, starts=()), "at least one start"),
    ],
)
def test_refused(build: Callable[[], object], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        build()


def test_columns_are_read_only_copies() -> None:
    mine = np.ones(2)
    network = Network(compute=mine)
    mine[0] = 5.0
    assert network.processing.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="read-only"):
        network.processing[0] = 2.0
