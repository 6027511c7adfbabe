"""FedProx: FedAvg whose clients minimise f_i(w) + (mu/2) |w - x|^2, x the model they started from.

| symbol | argument | meaning |
|---|---|---|
| mu | ``proximal`` | pull towards the start point |
| K | ``cohort`` | updates that make a round |

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated optimization in heterogeneous networks", MLSys 2020.
"""

from hocket.errors import InvalidInput
from hocket.strategies.fedavg import fedavg
from hocket.strategy import Local, Strategy, TaskPart


def fedprox(
    proximal: float = 0.01,
    cohort: int = 10,
    overcommit: float = 1.0,
    deadline: float | None = None,
    minimum: int = 1,
    lr: float | None = None,
    timeout: float | None = None,
) -> Strategy:
    """FedAvg with a proximal term in the local work.

    >>> fedprox(proximal=0.1).task.local.proximal
    0.1
    """
    if not proximal >= 0:
        raise InvalidInput(f"fedprox: proximal = {proximal}; must be 0 or more (0 is FedAvg)")
    base = fedavg(cohort, overcommit, deadline, minimum, lr, timeout)
    part = TaskPart(merge=base.task.merge, optimizer=base.task.optimizer, local=Local(proximal=proximal))
    return Strategy(name="fedprox", pacing=base.pacing, matching=base.matching, task=part)
