"""Speed of the queueing formulas against clients and tasks: ``python -m benchmarks.queueing``.

Processor seconds (set OMP_NUM_THREADS=1), medians of ``--rounds`` calls. Networks are drawn at random with seed 0:
compute and transfer times over two orders of magnitude, routing uniform.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np

from hocket import keyed
from hocket.queueing import Network, Seconds, optimize, slope, solve

SIZES = ((10, 10), (100, 100), (100, 1000), (1000, 1000), (10_000, 1000), (50, 10_000), (50, 100_000))


def network(classes: int, clients: int = 1) -> Network:
    """A network of ``classes`` classes of ``clients`` clients each."""
    draw = keyed.generator(keyed.key(0, "benchmark", classes))
    times = 10.0 ** draw.uniform(-1, 1, size=(3, classes))
    return Network(*times, clients=clients)


def median(call: Callable[[], object], rounds: int) -> float:
    """Seconds of one call, the median of ``rounds``."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def evaluation(net: Network, tasks: int, rounds: int) -> tuple[float, float]:
    """Seconds of the objective, and of the objective and its gradient."""
    p = net.uniform()
    value = median(lambda: Seconds().at(solve(net, p, tasks)), rounds)
    return value, median(lambda: slope(Seconds(), solve(net, p, tasks)), rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    print("| classes | tasks | solve, s | objective and gradient, s |\n|---|---|---|---|")
    for classes, tasks in SIZES:
        value, both = evaluation(network(classes), tasks, rounds)
        print(f"| {classes} | {tasks} | {value:.2g} | {both:.2g} |")
    square = network(100)
    covariance = median(lambda: solve(square, square.uniform(), 100).covariance(), rounds)
    print(f"covariance of 100 clients, 100 tasks: {covariance:.2g} s")
    plans = {
        "100 clients, m <= 150": (square, 150),
        "1,000,000 clients in 50 classes, m <= 10,000": (network(50, 20_000), 10_000),
    }
    for name, (net, most) in plans.items():
        began = time.process_time()
        best = optimize(net, Seconds(), (1, most))
        taken = time.process_time() - began
        print(f"plan of {name}: {taken:.2g} s, m = {best.solution.in_flight}, {len(best.curve)} values of m tried")


if __name__ == "__main__":
    main()
