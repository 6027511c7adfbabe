"""Asynchronous federated learning as a closed queueing network: what it will do, exactly, before anything is run.

>>> from hocket.queueing import Network, Seconds, optimize, solve
>>> net = Network(compute=[1.0, 0.25], clients=[3, 3])
>>> today = solve(net, net.uniform(), in_flight=6)
>>> best = optimize(net, Seconds(), in_flight=(1, 20))
>>> Seconds().at(today).value > best.value
True
"""

from hocket.queueing.goal import Goal, Minimise
from hocket.queueing.network import Network
from hocket.queueing.objective import (
    FixedRate,
    Interval,
    Joules,
    Learning,
    Objective,
    Partial,
    Rounds,
    Seconds,
    Weighted,
    slope,
)
from hocket.queueing.optimize import Optimum, optimize
from hocket.queueing.power import Power
from hocket.queueing.solution import Solution, solve

__all__ = [
    "FixedRate",
    "Goal",
    "Interval",
    "Joules",
    "Learning",
    "Minimise",
    "Network",
    "Objective",
    "Optimum",
    "Partial",
    "Power",
    "Rounds",
    "Seconds",
    "Solution",
    "Weighted",
    "optimize",
    "slope",
    "solve",
]
