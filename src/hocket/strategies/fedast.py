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
| gamma_max | ``staleness_limit`` | older updates are refused (the paper has no bound); one number, or per task |

| ``allocation`` | how R_m moves |
|---|---|
| static | not at all, until a task comes or goes (option S) |
| paper | with the standard deviation of client gradients (option D) |
| released | as the authors' program does: a variance relative to the mean update, scaled by the rates, without a root |
| robust | with the relative standard deviation, which needs no scale and is bounded, smoothed from deal to deal |
| progress | hocket's own: where it certainly shortens the predicted time of a step's worth of loss decrease most |
| in_turn | all to one task after the other: sequential training |

Askin, Sharma, Joe-Wong, Joshi, "FedAST: federated asynchronous simultaneous training", UAI 2024, PMLR 244:138-172
(arXiv 2406.00302); program: github.com/askinb/FedAST.
"""

from typing import Literal

from hocket.errors import InvalidInput
from hocket.guard import Staleness
from hocket.matching import Uniform
from hocket.merge import MeanByCount, Spread
from hocket.optimizer import SGD
from hocket.pacing import Budgets, ByHeterogeneity, ByProgress, InTurn, Static
from hocket.pacing.allocation import Allocation
from hocket.pacing.in_flight import PerTask
from hocket.strategy import Strategy, TaskPart

Rule = Literal["static", "paper", "released", "robust", "progress", "in_turn"]


def fedast(
    in_flight: int = 40,
    ratio: int = 10,
    *,
    allocation: Rule = "robust",
    shares: dict[str, int] | None = None,
    buffer: PerTask | None = None,
    distinct: int | None = None,
    window: int = 8,
    exponent: float | None = None,
    period: float = 0.75,
    lr: float = 1.0,
    staleness_limit: PerTask | None = None,
    attach: Literal["issue", "start"] = "issue",
    timeout: float | None = None,
) -> Strategy:
    """``in_flight`` requests over all tasks; ``shares`` per task at the start, equal if left out.

    Args:
        allocation: by what requests are dealt: "robust", "paper", "released", "progress", "static" or "in_turn"; see
            :mod:`hocket.pacing.allocation`.
        distinct: clients that may have work at once; None: all.
        exponent: of the heterogeneity's standard deviation, where it is not to be the rule's own.
        period: a deal comes after ``period`` x ``in_flight`` arrivals per task.

    Raises:
        InvalidInput: an exponent for a rule that has none.

    >>> fedast(in_flight=384, ratio=32).pacing.allocation.exponent
    1.0
    """
    limits = staleness_limit if isinstance(staleness_limit, dict) else {}
    common = staleness_limit if isinstance(staleness_limit, int) else None
    return Strategy(
        name="fedast" if allocation == "robust" else f"fedast-{allocation}",
        pacing=Budgets(in_flight, ratio, shares, buffer, _rule(allocation, exponent, period, window), timeout),
        matching=Uniform("queue", distinct=distinct),
        attach=attach,
        task=TaskPart(
            merge=_merge(allocation, window, lr),
            optimizer=SGD(lr),
            guard=None if limits else Staleness(limit=common),
        ),
        tasks={n: TaskPart(guard=Staleness(limit=limit)) for n, limit in limits.items()},
    )


def _merge(allocation: Rule, window: int, lr: float) -> MeanByCount | Spread:
    match allocation:
        case "static" | "in_turn":
            return MeanByCount()
        case "paper":
            return Spread(window=window, estimator="step")
        case "released":
            return Spread(window=window, estimator="released", rate=lr)
        case _:
            return Spread(window=window)


def _rule(allocation: Rule, exponent: float | None, period: float, after: int) -> Allocation:
    if exponent is not None and allocation not in ("paper", "released", "robust"):
        raise InvalidInput(
            f"fedast: exponent = {exponent}, allocation = {allocation!r}; paper, released, robust have one"
        )
    match allocation:
        case "static":
            return Static()
        case "in_turn":
            return InTurn()
        case "progress":
            return ByProgress(period=period, after=after, window=after)
    usual, memory = (2.0, 0.0) if allocation == "released" else (1.0, 0.5 if allocation == "robust" else 0.0)
    return ByHeterogeneity(usual if exponent is None else exponent, period, after, memory, allocation == "released")
