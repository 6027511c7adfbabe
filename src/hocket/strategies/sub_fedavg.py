"""Sub-FedAvg's server: pruned sub-models, of which only the part that all of a round's clients share is averaged.

    x_k <- mean of W_ik where all clients of the round cover k; other coordinates stay

| symbol | argument | meaning |
|---|---|---|
| 1 - pruning rate | ``densities`` | by part of the fleet |
| | ``cohort`` | clients per round |

Sub-models are nested by the size of the weights here; in the paper each client prunes its own and keeps it.

Vahidian, Morafah, Lin, "Personalized federated learning by structured and unstructured pruning under data
heterogeneity", 2021 (arXiv 2105.00562).
"""

from msgspec.structs import replace

from hocket.merge import MaskedModels
from hocket.strategies.heterofl import heterofl
from hocket.strategy import Strategy


def sub_fedavg(
    cohort: int = 10, densities: tuple[float, ...] = (0.7, 0.5), interval: int = 10, timeout: float | None = None
) -> Strategy:
    """Rounds whose common part is averaged.

    >>> sub_fedavg().task.merge.average
    'common'
    """
    base = heterofl(cohort, densities=densities, interval=interval, timeout=timeout)
    by_weight = replace(base.task.submodel, importance="weight")  # type: ignore[type-var]
    merge = MaskedModels("common", latest=False)
    return replace(base, name="sub_fedavg", task=replace(base.task, submodel=by_weight, merge=merge))
