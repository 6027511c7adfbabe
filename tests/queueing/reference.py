"""The same answers by other means: enumeration of states, a Markov chain, and 30-digit arithmetic."""

from itertools import combinations_with_replacement
from math import factorial, prod

import mpmath
import numpy as np
from numpy.typing import NDArray

from hocket.queueing import Network

Floats = NDArray[np.float64]


def distinct(network: Network) -> Network:
    """The network with every class written out client by client."""
    k = network.counts.astype(int)
    columns = (np.repeat(np.asarray(c), k) for c in (network.compute, network.download, network.upload))
    return Network(*columns, server=network.server)


def states(stations: int, tasks: int) -> list[tuple[int, ...]]:
    """Every way to put ``tasks`` equal tasks on ``stations``."""
    ways = combinations_with_replacement(range(stations), tasks)
    return [tuple(way.count(s) for s in range(stations)) for way in ways]


def enumerated(network: Network, routing: Floats, tasks: int) -> tuple[float, Floats, Floats]:
    """Z, E[X], Cov(X) of distinct clients from the product form, one term per state: client i's queue, down, up and
    its own tasks at the server are four coordinates."""
    n, p = len(routing), routing
    total, first, second = 0.0, np.zeros(n), np.zeros((n, n))
    times = [np.asarray(c) for c in (network.compute, network.download, network.upload)]
    for state in states(4 * n, tasks):
        queue, down, up, server = np.array(state).reshape(4, n)
        weight = prod(float(x) for x in (p * times[0]) ** queue)
        for count, time in ((down, times[1]), (up, times[2])):
            weight *= prod(float(a) ** int(k) / factorial(int(k)) for a, k in zip(p * time, count, strict=True))
        weight *= factorial(int(server.sum())) * prod(
            float(a) ** int(k) / factorial(int(k)) for a, k in zip(p * network.server, server, strict=True)
        )
        held = queue + down + up + server
        total += weight
        first += weight * held
        second += weight * np.outer(held, held)
    first, second = first / total, second / total
    return total, first, second - np.outer(first, first)


def markov_chain(network: Network, routing: Floats, tasks: int) -> tuple[float, Floats]:
    """Throughput and E0[D] from the balance equations, assuming no product form and no arrival theorem.

    Distinct clients with all of download, queue, upload; the mean of X is taken at updates, the task applied left out.
    """
    n = len(routing)
    rate = 1.0 / np.concatenate([network.download, network.compute, network.upload])
    space = states(3 * n, tasks)
    index = {state: i for i, state in enumerate(space)}
    generator = np.zeros((len(space), len(space)))
    applied, seen = np.zeros(len(space)), np.zeros((len(space), n))
    for state, i in index.items():
        for s in (s for s in range(3 * n) if state[s]):
            speed = rate[s] * (1 if n <= s < 2 * n else state[s])
            left = np.array(state)
            left[s] -= 1
            if s < 2 * n:
                goes = [(s + n, speed)]
            else:
                goes = [(c, speed * routing[c]) for c in range(n)]
                applied[i] += speed
                seen[i] += speed * left.reshape(3, n).sum(axis=0)
            for to, flow in goes:
                after = left.copy()
                after[to] += 1
                generator[i, index[tuple(after.tolist())]] += flow
                generator[i, i] -= flow
    system = np.vstack([generator.T, np.ones(len(space))])
    stationary = np.linalg.lstsq(system, np.append(np.zeros(len(space)), 1.0), rcond=None)[0]
    throughput = float(stationary @ applied)
    return throughput, stationary @ seen / throughput


def buzen(network: Network, routing: Floats, tasks: int) -> list[mpmath.mpf]:
    """Z_0..Z_m with 30 digits and no limit to exponents.

    From k Z_k = Gamma Z_(k-1) + sum_s q_s a_s Y_s(k-1), Y_s(k) = Z_k + a_s Y_s(k-1), the derivative of the generating
    function.
    """
    with mpmath.workdps(30):
        p = [mpmath.mpf(float(x)) for x in routing]
        counts = [int(x) for x in network.counts]
        loads = [a * mpmath.mpf(float(t)) for a, t in zip(p, network.processing, strict=True)]
        loads.append(sum((a * q for a, q in zip(p, counts, strict=True)), mpmath.mpf(0)) * mpmath.mpf(network.server))
        delay = sum((a * q * float(t) for a, q, t in zip(p, counts, network.travel, strict=True)), mpmath.mpf(0))
        counts.append(1)
        z = [mpmath.mpf(1)]
        partial = [mpmath.mpf(1)] * len(loads)
        for k in range(1, tasks + 1):
            flows = (q * a * y for q, a, y in zip(counts, loads, partial, strict=True))
            z.append((delay * z[-1] + sum(flows, mpmath.mpf(0))) / k)
            partial = [z[-1] + a * y for a, y in zip(loads, partial, strict=True)]
        return z
