"""FedAST: several models at once on one fleet; requests queue at clients and move to where they are needed.

For task m, whenever b_m updates D_i are in: x_m <- x_m + (eta_s / b_m) sum_i D_i, with b_m = R_m / rho and R_m requests
outstanding; a request goes to a client drawn uniformly from all, which queues it. R_m follows the heterogeneity that
the last V updates show.

| symbol | argument | meaning |
|---|---|---|
| R | ``in_flight`` | requests outstanding, all tasks together |
| rho = R_m/b_m | ``ratio`` | mean staleness is about rho - 1 |
| b_m | ``buffer`` | where it is fixed; 1 is FedAST-NoBuffer |
| A | ``distinct`` | most clients with work at once |
| V | ``window`` | updates that the heterogeneity is measured on |
| eta_s | ``lr`` | server learning rate |
| gamma_max | ``staleness_limit`` | older updates are refused (the paper has no bound) |

Askin, Sharma, Joe-Wong, Joshi, "FedAST: federated asynchronous simultaneous training", UAI 2024, PMLR 244:138-172
(arXiv 2406.00302). ``dynamic`` True is option D, False option S.
"""

from typing import Literal

from hocket.guard import Staleness
from hocket.matching import Uniform
from hocket.merge import MeanByCount, Spread
from hocket.optimizer import SGD
from hocket.pacing import Budgets, ByHeterogeneity, Static
from hocket.pacing.in_flight import PerTask
from hocket.strategy import Strategy, TaskPart


def fedast(
    in_flight: int = 40,
    ratio: int = 10,
    *,
    dynamic: bool = True,
    shares: dict[str, int] | None = None,
    buffer: PerTask | None = None,
    distinct: int | None = None,
    window: int = 8,
    exponent: float = 1.0,
    lr: float = 1.0,
    staleness_limit: int | None = None,
    attach: Literal["issue", "start"] = "issue",
    timeout: float | None = None,
) -> Strategy:
    """``in_flight`` requests over all tasks; ``shares`` per task at the start, equal if left out.

    >>> fedast(in_flight=384, ratio=32).pacing.allocation.exponent
    1.0
    """
    return Strategy(
        name="fedast" if dynamic else "fedast-static",
        pacing=Budgets(
            in_flight, ratio, shares, buffer, ByHeterogeneity(exponent, after=window) if dynamic else Static(), timeout
        ),
        matching=Uniform("queue", distinct=distinct),
        attach=attach,
        task=TaskPart(
            merge=Spread(MeanByCount(), window) if dynamic else MeanByCount(),
            optimizer=SGD(lr),
            guard=Staleness(limit=staleness_limit),
        ),
    )
