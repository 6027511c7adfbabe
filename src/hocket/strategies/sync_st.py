"""Sync-ST: several models trained by synchronous rounds with one barrier over all of them.

Each round splits A clients at random over the tasks that go on; task m averages the first k_m updates,
x_m <- x_m + (eta_s / k_m) sum_i D_i, and the round ends when every task has its k_m.

| symbol | argument | meaning |
|---|---|---|
| A | ``asked`` | clients asked per round, all tasks together |
| k_m | ``cohort`` | updates a task waits for |
| eta_s | ``lr`` | server learning rate |

Who is too late is cancelled at the end of the round. The program of that comparison lets them finish (``late``), for
nothing, and draws from all clients, so that a busy one that is asked again begins late: its rounds are longer.

Bhuyan, Moharir, "Multi-model federated learning", COMSNETS 2022; with over-commitment as in the FedAST comparison
(arXiv 2406.00302). ``choose`` "ucb" is Sync-UCB-ST and "bods" Sync-Bayes-ST: who is asked is chosen for all tasks at
once, by :mod:`hocket.matching.ucb` or :mod:`hocket.matching.bods`.
"""

from typing import Literal

from hocket.errors import InvalidInput
from hocket.guard import Staleness
from hocket.matching import BODS, UCB, Uniform
from hocket.merge import MeanByCount
from hocket.optimizer import SGD
from hocket.pacing import JointRounds
from hocket.pacing.in_flight import PerTask
from hocket.policies import Matching
from hocket.strategy import Strategy, TaskPart

CHOOSE: dict[str, Matching] = {"uniform": Uniform(), "ucb": UCB(), "bods": BODS()}


def sync_st(
    asked: int = 30,
    cohort: PerTask = 10,
    shares: dict[str, float] | None = None,
    lr: float = 1.0,
    timeout: float | None = None,
    choose: Literal["uniform", "ucb", "bods"] = "uniform",
    late: Literal["cancel", "finish"] = "cancel",
) -> Strategy:
    """Joint rounds of ``asked`` clients.

    Args:
        choose: who is asked for what: "uniform", or by the losses seen, "ucb" or "bods" (:mod:`hocket.matching`).

    Raises:
        InvalidInput: late clients finish, and clients are not chosen uniformly.

    >>> sync_st(asked=60, cohort=12).pacing.asked
    60
    """
    finish = late == "finish"
    if finish and choose != "uniform":
        raise InvalidInput(f'sync_st: late = "finish", choose = {choose!r}; it goes with choose = "uniform" only')
    return Strategy(
        name="sync-st" if choose == "uniform" else f"sync-{choose}-st",
        pacing=JointRounds(asked, cohort, shares, late, timeout),
        matching=Uniform("queue", once=True) if finish else CHOOSE[choose],
        task=TaskPart(merge=MeanByCount(), optimizer=SGD(lr), guard=Staleness(limit=0) if finish else None),
    )
