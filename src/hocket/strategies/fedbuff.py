"""FedBuff: x <- x + (lr / K) sum_{i in buffer} s(tau_i) d_i whenever K updates are in.

| symbol | argument | meaning |
|---|---|---|
| K | ``buffer`` | updates per step |
| M_c | ``in_flight`` | clients at work at once |
| eta_g | ``lr`` | server learning rate |
| s(tau) | ``decay`` | 1/sqrt(1 + tau), raw: the step shrinks with staleness |
|  | ``normalise`` | "count" divides by K (paper); "weight" by the sum of s(tau_i) |
| tau_max | ``staleness_limit`` | older updates are refused and do not fill the buffer |

Mean staleness is (m - 1)/K for m in flight; with ``refill_first`` (a freed slot is filled before the step) m/K.
Nguyen et al., "Federated learning with buffered asynchronous aggregation", AISTATS 2022 (arXiv 2106.06639).
"""

from typing import Literal

from hocket.errors import InvalidInput
from hocket.guard import Polynomial, Staleness
from hocket.guard.staleness import Decay
from hocket.matching import Uniform
from hocket.merge import MeanByCount, MeanByWeight
from hocket.optimizer import SGD
from hocket.pacing import InFlight
from hocket.policies import Merge
from hocket.strategy import Strategy, TaskPart


def fedbuff(
    buffer: int = 10,
    in_flight: int = 20,
    lr: float | None = None,
    decay: Decay | None = None,
    normalise: Literal["count", "weight"] = "count",
    staleness_limit: int | None = None,
    refill_first: bool = False,
    timeout: float | None = None,
) -> Strategy:
    """Buffered asynchronous steps; ``decay`` defaults to 1/sqrt(1 + tau).

    Args:
        buffer: updates of a step (K).
        in_flight: clients at work at all times (m); the mean staleness is about (m - 1)/K versions.
        lr: learning rate of the server; 1 if left out.
        decay: what an update weighs by its staleness.
        normalise: divide by the "count" of updates, as published, or by the sum of their "weight".
        staleness_limit: versions beyond which an update is refused; None: never.
        refill_first: give out new work before the step that an arrival triggers, as QAFeL's released code does.
        timeout: seconds after which a job that nothing was heard of counts as lost; None: never.

    Raises:
        InvalidInput: a value out of range.

    >>> fedbuff(buffer=10, in_flight=40).task.guard.decay.weight(3)
    0.5
    """
    merges: dict[str, Merge] = {"count": MeanByCount(), "weight": MeanByWeight()}
    if normalise not in merges:
        raise InvalidInput(f"fedbuff: normalise = {normalise!r}; must be 'count' or 'weight'")
    return Strategy(
        name="fedbuff",
        pacing=InFlight(in_flight, buffer, refill_first, timeout),
        matching=Uniform("skip"),
        task=TaskPart(
            merge=merges[normalise],
            optimizer=None if lr is None else SGD(lr),
            guard=Staleness(decay or Polynomial(), staleness_limit),
        ),
    )
