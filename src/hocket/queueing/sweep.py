"""One sweep over the number of tasks: throughput, queue lengths and normalising constants for 1..m tasks.

Buzen's constants Z_k have the generating function exp(Gamma x) / prod_s (1 - a_s x)^(q_s), with Gamma the load of all
delay stations and q_s single-server stations of load a_s. Differentiating it gives, with the ratio
lambda(k) = Z_(k-1)/Z_k and L_s(k) the mean length of one queue,

    lambda(k) = k / (Gamma + sum_s q_s a_s (1 + L_s(k-1))),    L_s(k) = lambda(k) a_s (1 + L_s(k-1)),

which is mean value analysis (Reiser, Lavenberg, J. ACM 27, 1980). Only ratios are kept, so nothing over- or
underflows, only positive numbers are added, so nothing cancels, and a class of identical clients costs as much as one:
O(classes x m) time, O(classes + m) memory.
"""

from typing import NamedTuple

import numpy as np

from hocket.queueing.network import Floats


class Sweep(NamedTuple):
    """Of a network with 0..m tasks: ``rates`` ``float64[m+1]`` is lambda(k), 0 for k = 0; ``lengths``
    ``float64[3, stations]`` are the mean totals of each class of queues with m, m-1 and m-2 tasks."""

    rates: Floats
    lengths: Floats


def sweep(loads: Floats, copies: Floats, delay: float, tasks: int) -> Sweep:
    """Fill the network with ``tasks`` tasks, one by one.

    ``loads`` and ``copies`` are ``float64[stations]``: a_s, one queue's load in seconds, and q_s, how many such queues
    there are; ``delay`` is Gamma in seconds.

    >>> sweep(np.array([0.2, 0.15, 0.125]), np.ones(3), 0.0, 4).rates.round(6)
    array([0.      , 2.105263, 3.127572, 3.717017, 4.090571])
    """
    rates = np.zeros(tasks + 1)
    older, old, new = np.zeros((3, len(loads)))
    for k in range(1, tasks + 1):
        older, old, new = old, new, older
        np.add(copies, old, out=new)
        new *= loads
        rates[k] = rate = k / (delay + float(np.add.reduce(new)))
        new *= rate
    return Sweep(rates, np.stack([new, old, older]))


def log_constants(rates: Floats) -> Floats:
    """``float64[m+1]``, the natural logarithms of Buzen's constants Z_0..Z_m (Z_0 = 1) from :attr:`Sweep.rates`.

    >>> np.exp(log_constants(sweep(np.array([0.2, 0.15, 0.125]), np.ones(3), 0.0, 4).rates)).round(9)
    array([1.        , 0.475     , 0.151875  , 0.04085938, 0.00998867])
    """
    return np.concatenate([[0.0], -np.cumsum(np.log(rates[1:]))])
