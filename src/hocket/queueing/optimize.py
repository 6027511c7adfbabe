"""The best routing p and number of tasks m for an objective (2603.26231, section 5.3.2 and appendix J).

Inside, m is fixed and p_c = floor/n + (1 - floor) softmax(theta)_c is moved by L-BFGS with exact gradients of the
logarithm of the objective (the papers use Adam). Outside, m goes over a geometric grid until the value has clearly
passed its least, then the bracket around the best is shrunk by golden section, each m starting from its nearest
neighbour's p; last, the m beside the best are tried, because the curve is flat there. K_eps is not convex in p: the
best m is tried again from several starts, p proportional to (seconds of a cycle)^a, and if one of them leads lower the
search goes on from there. Nothing is random.
"""

from collections.abc import Callable
from math import exp, log

import numpy as np
from msgspec import Struct

from hocket.errors import InvalidInput
from hocket.queueing.network import Floats, Network, tasks
from hocket.queueing.objective import Objective, slope
from hocket.queueing.solution import Solution, evaluate

STARTS = (0.0, -0.5, 0.5)
_GROWTH = 1.5  # between neighbours of the coarse grid
_PATIENCE = 3  # coarse values above the best before the grid ends
_GOLDEN = 0.381966
_BETTER = 1e-9  # relative, what makes it worth searching again
_WIDEST = 30.0  # of theta: beyond e^30 between two clients nothing is gained


class Optimum(Struct, frozen=True, eq=False):
    """The best that was found.

    Attributes:
        solution: the network there; ``solution.routing`` is p and ``solution.in_flight`` m.
        value: the objective there.
        curve: (m, least value over p) for each m that was tried, by m.
    """

    solution: Solution
    value: float
    curve: tuple[tuple[int, float], ...]


def optimize(
    network: Network,
    objective: Objective,
    in_flight: int | tuple[int, int],
    *,
    floor: float = 1e-3,
    starts: tuple[float, ...] = STARTS,
) -> Optimum:
    """Minimise ``objective`` over the routing, and over m if ``in_flight`` is a pair (least, most).

    ``floor`` is the least p in units of 1/n, 0 to below 1; it bounds the importance weight 1/(n p) by 1/floor.
    ``starts`` are the exponents a of the first routings; (0.0,) starts from the uniform one only.

    Raises:
        InvalidInput: an empty or non-positive range of m, a floor outside 0 to 1, no start.

    >>> from hocket.queueing import Network, Seconds
    >>> best = optimize(Network(compute=[1.0, 0.5, 0.25]), Seconds(), in_flight=(1, 10))
    >>> best.solution.in_flight, round(best.value, 3), best.solution.routing.round(3)
    (3, 2879.095, array([0.198, 0.312, 0.491]))
    """
    low, high = map(tasks, in_flight if isinstance(in_flight, tuple) else (in_flight, in_flight))
    if low > high:
        raise InvalidInput(f"in_flight = {in_flight}: give m, or (least, most) with 1 <= least <= most")
    if not 0.0 <= floor < 1.0 or not starts:
        raise InvalidInput(f"floor = {floor}, starts = {starts}: give a floor from 0 to below 1 and at least one start")
    cycle = network.processing + network.travel + network.server
    tilts = [a * np.log(cycle) for a in starts]
    found: dict[int, tuple[float, Floats]] = {}

    def least(m: int) -> float:
        if m not in found:
            near = min(found, key=lambda k: abs(log(k / m)), default=None)
            found[m] = _descend(network, objective, m, floor, tilts[:1] if near is None else [found[near][1]])
        return found[m][0]

    while True:
        _search(least, low, high)
        best = min(found, key=lambda m: (found[m][0], m))
        again = _descend(network, objective, best, floor, tilts)
        if again[0] >= found[best][0] * (1.0 - _BETTER):
            break
        found = {best: again}
    value, theta = found[best]
    solution = evaluate(network, _routing(network, theta, floor)[0], best)
    return Optimum(solution, value, tuple((m, found[m][0]) for m in sorted(found)))


def _search(least: Callable[[int], float], low: int, high: int) -> None:
    """Ask ``least`` for the integers that matter; it remembers."""
    grid = [low]
    while grid[-1] < high and (len(grid) <= _PATIENCE or min(map(least, grid)) in map(least, grid[-_PATIENCE:])):
        grid.append(min(max(grid[-1] + 1, int(grid[-1] * _GROWTH)), high))
    at = min(range(len(grid)), key=lambda i: least(grid[i]))
    left, best, right = grid[max(at - 1, 0)], grid[at], grid[min(at + 1, len(grid) - 1)]
    while right - left > 2:
        widest = (best, right) if right - best >= best - left else (best, left)
        step = max(1, int(abs(widest[1] - widest[0]) * _GOLDEN))
        probe = best + step if widest[1] > best else best - step
        if least(probe) < least(best):
            left, best, right = (best, probe, right) if probe > best else (left, probe, best)
        else:
            left, right = (left, probe) if probe > best else (probe, right)
    for m in range(max(best - 1, low), min(best + 1, high) + 1):
        least(m)


def _descend(
    network: Network, objective: Objective, m: int, floor: float, starts: list[Floats]
) -> tuple[float, Floats]:
    """The least value at m that L-BFGS reaches from ``starts``, and theta there."""
    from scipy.optimize import minimize  # takes as long to load as the rest of hocket

    def function(theta: Floats) -> tuple[float, Floats]:
        routing, share = _routing(network, theta, floor)
        value, gradient = slope(objective, evaluate(network, routing, m))
        moved = share * gradient
        return log(value), (1.0 - floor) * (moved - network.counts * share * moved.sum()) / value

    reached = [
        minimize(
            function,
            start - start.mean(),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-_WIDEST, _WIDEST)] * len(start),
            options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-8, "maxcor": 20},
        )
        for start in starts
    ]
    best = min(reached, key=lambda result: float(result.fun))
    return exp(float(best.fun)), np.asarray(best.x)


def _routing(network: Network, theta: Floats, floor: float) -> tuple[Floats, Floats]:
    """p with its floor, and the softmax under it."""
    share = np.exp(theta - theta.max())
    share /= (network.counts * share).sum()
    return floor / network.size + (1.0 - floor) * share, share
