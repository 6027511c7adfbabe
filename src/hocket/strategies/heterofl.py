"""HeteroFL: synchronous rounds in which each client trains the leading part of every layer that its device can carry.

    x_k <- x_k + sum_i w_i d_ik / sum_i w_i          over the clients i whose sub-model has coordinate k

| symbol | argument | meaning |
|---|---|---|
| r | ``widths`` | share of the units of every layer, falling; the fleet is divided into as many equal parts |
| | ``densities`` | instead: fixed densities of unstructured sub-models, which is what the PR-FL paper compares with |
| | ``cohort`` | clients per round |

With :class:`hocket.learning.SlicedLearner` a slice is trained at its own size. The scaler and the masked loss of the
paper are properties of the model and are not built in; batch norm is not sliced.

Diao, Ding, Tarokh, "HeteroFL: computation and communication efficient federated learning for heterogeneous clients",
ICLR 2021 (arXiv 2010.01264).
"""

from hocket.downlink import Bands
from hocket.matching import Uniform
from hocket.merge import MaskedDeltas
from hocket.pacing import Rounds
from hocket.strategy import Strategy, TaskPart
from hocket.submodel import Pruning, Slices
from hocket.uplink import Banded


def heterofl(
    cohort: int = 10,
    widths: tuple[float, ...] = (1.0, 0.5, 0.25),
    densities: tuple[float, ...] | None = None,
    interval: int = 50,
    timeout: float | None = None,
) -> Strategy:
    """Rounds over width slices; with ``densities`` over pruned sub-models that are ranked anew every ``interval``.

    >>> heterofl(widths=(1.0, 0.5)).task.submodel.structured
    True
    """
    fixed = None if densities is None else Pruning(densities, min(densities), 0.0, interval, None, None)
    return Strategy(
        name="heterofl",
        pacing=Rounds(cohort, timeout=timeout),
        matching=Uniform("skip", once=True),
        task=TaskPart(submodel=fixed or Slices(widths), downlink=Bands(), uplink=Banded(), merge=MaskedDeltas()),
    )
