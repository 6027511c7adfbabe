"""AsyncSGD: m jobs circulate; each gradient is applied when it arrives, then a client is drawn uniformly.

x <- x + lr d_i with d_i = -eta_l g_i, one local step; the next job goes to a client drawn with replacement
from all, which queues it if it is busy. Over T updates the staleness of the applied ones plus the ages of the
m outstanding add up to (m - 1) T exactly, whatever the service times.

| symbol | argument | meaning |
|---|---|---|
| m | ``in_flight`` | jobs in circulation |
| p_i | 1/n | routing probability |
| eta | ``lr`` | server learning rate, times the local one |

Koloskova, Stich, Jaggi, "Sharper convergence guarantees for asynchronous SGD for distributed and federated
learning", NeurIPS 2022 (arXiv 2206.08307), Algorithm 2.
"""

from hocket.matching import Uniform
from hocket.merge import MeanByCount
from hocket.optimizer import SGD
from hocket.pacing import InFlight
from hocket.strategy import Local, Strategy, TaskPart


def asyncsgd(
    in_flight: int = 10, lr: float | None = None, steps: int | None = 1, timeout: float | None = None
) -> Strategy:
    """One gradient per job, applied at once; ``steps`` None keeps the task's own local work.

    >>> asyncsgd(in_flight=8).matching.busy
    'queue'
    """
    return Strategy(
        name="asyncsgd",
        pacing=InFlight(in_flight, buffer=1, timeout=timeout),
        matching=Uniform("queue"),
        task=TaskPart(
            merge=MeanByCount(),
            optimizer=None if lr is None else SGD(lr),
            local=None if steps is None else Local(steps=steps),
        ),
    )
