"""FedFix: every client takes part all the time; the server steps at fixed times with what has arrived.

x <- x + lr * (1/n) sum_{i arrived} (tau_i + 1) d_i. A client that needs tau+1 windows for a job delivers once
in tau+1 windows, so with that factor every client moves the model equally over time, fast or slow.

| symbol | argument | meaning |
|---|---|---|
| Delta t | ``window`` | seconds between steps |
| d_i | tau_i + 1 | aggregation weight that makes the expected step unbiased (``unbiased=False``: 1) |
| n | all clients of the task | |

Fraboni, Vidal, Kameni, Lorenzi, "A general theory for federated optimization with asynchronous and heterogeneous
clients updates", JMLR 2023 (arXiv 2206.10189). A window without arrivals makes no step, so tau counts the windows
in which something arrived.
"""

from hocket.guard import Constant, Staleness, Windowed
from hocket.matching import Uniform
from hocket.merge import MeanByFleet
from hocket.optimizer import SGD
from hocket.pacing import Windows
from hocket.strategy import Strategy, TaskPart


def fedfix(
    window: float = 10.0, lr: float | None = None, unbiased: bool = True, timeout: float | None = None
) -> Strategy:
    """Steps at the multiples of ``window`` seconds with every client at work.

    >>> fedfix(window=5).pacing.window
    5
    """
    return Strategy(
        name="fedfix",
        pacing=Windows(window, timeout=timeout),
        matching=Uniform("skip"),
        task=TaskPart(
            merge=MeanByFleet(),
            optimizer=None if lr is None else SGD(lr),
            guard=Staleness(Windowed() if unbiased else Constant()),
        ),
    )
