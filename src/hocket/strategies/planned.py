"""Generalized AsyncSGD with the routing p and the jobs in flight m that a planner finds best for the fleet at hand.

The update is that of :mod:`hocket.strategies.generalized_asyncsgd`. p and m are asked for when the run begins, and
again while it goes on if ``every`` is above 0 and devices change (:mod:`hocket.matching.planned`).

| strategy | p, m | name in 2603.26231 |
|---|---|---|
| :func:`time_optimal` | least K_eps/lambda; with ``energy`` = rho, rho E/E* + (1 - rho) tau/tau* | p*_tau, p*_rho |
| :func:`round_optimal` | least K_eps, m = n unless given | p*_K |
| :func:`max_throughput` | largest lambda, m = n unless given; slow clients get ``floor``/n | p*_lambda |
| :func:`energy_optimal` | least K_eps sum p_i E_i: m = 1, p_i as 1/sqrt(E_i) | p*_E |
| :func:`hocket.strategies.asyncsgd` | p = 1/n | AsyncSGD |

``learning`` holds the constants of the learning problem; :func:`hocket.planning.noise.learning` estimates them.

Alahyane, Comte, Jonckheere, "Optimization trade-offs in asynchronous federated learning" (arXiv 2603.26231); for
compute times only, Alahyane, Comte, Jonckheere, Moulines, ECAI 2025 (arXiv 2502.08206).
"""

from msgspec.structs import replace

from hocket.matching import PlannedRouting
from hocket.pacing import PlannedInFlight
from hocket.queueing import Goal, Learning, Power
from hocket.strategies.asyncsgd import asyncsgd
from hocket.strategy import Strategy

PUBLISHED = Learning()


def time_optimal(
    in_flight: int | None = None,
    most: int | None = None,
    energy: float = 0.0,
    power: Power | None = None,
    learning: Learning = PUBLISHED,
    every: int = 0,
    lr: float | None = None,
    buffer: int = 1,
    steps: int | None = 1,
    floor: float = 1e-3,
    timeout: float | None = None,
) -> Strategy:
    """Least wall-clock time; ``in_flight`` fixes m, else the best up to ``most`` is taken.

    >>> time_optimal(every=200).matching.every
    200
    """
    goal = Goal("time", energy, in_flight, most, learning, power, floor)
    return _planned("time_optimal", goal, every, lr, buffer, steps, timeout)


def round_optimal(
    in_flight: int | None = None,
    learning: Learning = PUBLISHED,
    every: int = 0,
    lr: float | None = None,
    buffer: int = 1,
    steps: int | None = 1,
    timeout: float | None = None,
) -> Strategy:
    """Fewest updates to the accuracy asked for.

    >>> round_optimal().matching.goal.in_flight
    'clients'
    """
    goal = Goal("rounds", in_flight=in_flight or "clients", learning=learning)
    return _planned("round_optimal", goal, every, lr, buffer, steps, timeout)


def max_throughput(
    in_flight: int | None = None,
    floor: float = 5e-3,
    every: int = 0,
    lr: float | None = None,
    buffer: int = 1,
    steps: int | None = 1,
    timeout: float | None = None,
) -> Strategy:
    """Most updates per second, whoever they come from; the least p is ``floor``/n.

    >>> max_throughput().matching.goal.minimise
    'throughput'
    """
    goal = Goal("throughput", in_flight=in_flight or "clients", floor=floor)
    return _planned("max_throughput", goal, every, lr, buffer, steps, timeout)


def energy_optimal(
    power: Power | None = None,
    learning: Learning = PUBLISHED,
    lr: float | None = None,
    steps: int | None = 1,
    timeout: float | None = None,
) -> Strategy:
    """Least energy: one job at a time, drawn by its cost.

    Raises:
        InvalidInput: no watts are given.

    >>> energy_optimal(Power(compute=5.0)).matching.goal.needs_joules
    True
    """
    return _planned("energy_optimal", Goal("energy", learning=learning, power=power), 0, lr, 1, steps, timeout)


def _planned(
    name: str, goal: Goal, every: int, lr: float | None, buffer: int, steps: int | None, timeout: float | None
) -> Strategy:
    return replace(
        asyncsgd(1, lr, steps),
        name=name,
        pacing=PlannedInFlight(1, buffer, timeout),
        matching=PlannedRouting(goal, every),
    )
