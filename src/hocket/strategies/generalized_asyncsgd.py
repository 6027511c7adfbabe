"""Generalized AsyncSGD: m jobs circulate, client i is drawn with probability p_i, its gradient counts for 1/(n p_i).

x <- x + lr d_i/(n p_i) when a result arrives, then the next client is drawn from p and queues the job. With p and m
from :func:`hocket.queueing.optimize` the queues are those that the objective asks for (fewest rounds, least time, least
energy); with p uniform it is AsyncSGD.

| symbol | argument | meaning |
|---|---|---|
| p_i | ``routing`` | one number per client; they need not sum to 1 |
| m | ``in_flight`` | jobs in circulation |
| eta | ``lr`` | server learning rate, times the local one |
|  | ``buffer`` | updates per step, divided by their number; the theory is for 1 |
|  | ``steps`` | local steps; the theory is for 1 |

Jobs that start from version 0 go to clients drawn uniformly, as in the papers. While clients are away p is conditioned
on who is online (see :mod:`hocket.matching.weighted`).

Leconte, Jonckheere, Samsonov, Moulines, "Queuing dynamics of asynchronous federated learning", AISTATS 2024 (arXiv
2405.00017); Alahyane, Comte, Jonckheere, "Optimization trade-offs in asynchronous federated learning" (arXiv
2603.26231).
"""

from collections.abc import Sequence

from msgspec.structs import replace

from hocket.matching import Weighted
from hocket.pacing import InFlight
from hocket.strategies.asyncsgd import asyncsgd
from hocket.strategy import Strategy


def generalized_asyncsgd(
    routing: Sequence[float] = (),
    in_flight: int = 10,
    lr: float | None = None,
    buffer: int = 1,
    steps: int | None = 1,
    timeout: float | None = None,
) -> Strategy:
    """Weighted routing at a fixed number of jobs.

    >>> generalized_asyncsgd([0.5, 0.25, 0.25], in_flight=4).matching.routing
    (0.5, 0.25, 0.25)
    """
    return replace(
        asyncsgd(in_flight, lr, steps),
        name="generalized_asyncsgd",
        pacing=InFlight(in_flight, buffer, timeout=timeout),
        matching=Weighted(tuple(float(p) for p in routing), first="uniform"),
    )
