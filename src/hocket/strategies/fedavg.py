"""FedAvg: x <- x + lr * sum_{i in S} w_i d_i / sum_{i in S} w_i over a cohort S.

| symbol | argument | meaning |
|---|---|---|
| K | ``cohort`` | updates that make a round |
| OC | ``overcommit`` | clients asked per update wanted (Bonawitz et al. 2019 ask 1.3) |
| eta_g | ``lr`` | server learning rate, 1 in the paper; left out, the optimizer is open to compose |
| w_i | the task's objective | 1, or client i's number of samples |

McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-efficient learning of deep networks from
decentralized data", AISTATS 2017. Over-commitment and deadline: Bonawitz et al., "Towards federated learning
at scale", MLSys 2019.
"""

from hocket.matching import Uniform
from hocket.merge import MeanByWeight
from hocket.optimizer import SGD
from hocket.pacing import Rounds
from hocket.strategy import Strategy, TaskPart


def fedavg(
    cohort: int = 10,
    overcommit: float = 1.0,
    deadline: float | None = None,
    minimum: int = 1,
    lr: float | None = None,
    timeout: float | None = None,
) -> Strategy:
    """Synchronous rounds over a uniform cohort; ``deadline`` and ``timeout`` in seconds.

    Args:
        cohort: updates that a round waits for.
        overcommit: clients asked per update that is waited for; whoever comes later is cut off.
        deadline: after which a round ends with what it has, if that is ``minimum`` updates or more; None: never.
        lr: learning rate of the server; 1 if left out.
        timeout: after which a job that nothing was heard of counts as lost, and another client is asked; None: never.

    Raises:
        InvalidInput: a value out of range.

    >>> fedavg(cohort=20, overcommit=1.3).pacing.asked("digits")
    26
    """
    return Strategy(
        name="fedavg",
        pacing=Rounds(cohort, overcommit, deadline, minimum, timeout),
        matching=Uniform("skip", once=True),
        task=TaskPart(merge=MeanByWeight(), optimizer=None if lr is None else SGD(lr)),
    )
