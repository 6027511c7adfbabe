"""FjORD: each job trains a width drawn uniformly from those that its client can carry (ordered dropout).

    p ~ U{widths up to the client's own};   x_k <- x_k + sum_i w_i d_ik / sum_i w_i over the jobs that have k

| symbol | argument | meaning |
|---|---|---|
| p | ``widths`` | shares of the units of every layer, falling; the fleet is divided into as many equal parts |
| | ``cohort`` | clients per round |

A width is drawn per job here, per batch in the paper; its self-distillation is not built in. The draws are the same for
all seeds of a run.

Horvath, Laskaridis, Almeida, Leontiadis, Venieris, Lane, "FjORD: fair and accurate federated learning under
heterogeneous targets with ordered dropout", NeurIPS 2021 (arXiv 2102.13451).
"""

from msgspec.structs import replace

from hocket.strategies.heterofl import heterofl
from hocket.strategy import Strategy
from hocket.submodel import Slices


def fjord(
    cohort: int = 10, widths: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25), timeout: float | None = None
) -> Strategy:
    """HeteroFL with a width drawn for each job.

    >>> fjord().task.submodel.drawn
    True
    """
    base = heterofl(cohort, timeout=timeout)
    return replace(base, name="fjord", task=replace(base.task, submodel=Slices(widths, drawn=True)))
