"""Measure how much the updates of a task differ from one another, and merge them as another merge does (FedAST).

Over the last V updates D_v with mean Dbar and S = (1/V) sum_v ||D_v - Dbar||^2, the ``spread`` is

    relative   S / ||Dbar||^2                                          no unit; cannot be much more than V
    step       S / (eta_l tau)^2                                       an estimate of the variance of client gradients
    released   0.5 eta_l eta_s S / (||Dbar||^2 (eta_l tau)^2)          the authors' program: V - 1 updates, no biases

with eta_l the local rate, tau the number of local steps and eta_s the server's rate. Without bias are, in units of the
loss,

    signal     (||Dbar||^2 - S / (V - 1)) / (eta_l tau)          what a step along E D lowers the loss by, first order
    noise      S V / (V - 1) / (eta_l tau)                       the same unit for what one update adds to it

The values are facts of a step, means over its updates. It takes V vectors of memory and a few passes over a vector per
update. Tensors of one dimension count as biases.

Askin, Sharma, Joe-Wong, Joshi, "FedAST: federated asynchronous simultaneous training", UAI 2024 (arXiv 2406.00302);
program: github.com/askinb/FedAST.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.merge.mean import MeanByCount, MeanByFleet, MeanByWeight, Sum
from hocket.policies import Contribution, Weigh
from hocket.schema import Schema, Vector
from hocket.strategy import FullStrategy, FullTask, policy

LARGEST = 10.0  # times V: a mean update near zero says nothing about heterogeneity


class Window(Struct):
    """The newest updates, float32[V, size], as a ring, their sum, and the squared norm of each; ``seen`` counts all.

    ``parts``: the coordinates that count, as ranges.
    """

    sum: Sum
    updates: np.ndarray
    total: np.ndarray
    squares: list[float]
    parts: list[tuple[int, int]]
    seen: int = 0


@policy("merge")
class Spread(Struct, frozen=True, tag="spread", tag_field="kind", forbid_unknown_fields=True):
    """Merge as ``of`` does and measure the ``spread`` of the last ``window`` updates (V); ``rate``: eta_s."""

    of: MeanByCount | MeanByWeight | MeanByFleet = MeanByCount()
    window: int = 8
    estimator: Literal["relative", "step", "released"] = "relative"
    rate: float = 1.0
    measures: ClassVar[tuple[str, ...]] = ("spread", "signal", "noise")
    keeps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 3 <= self.window <= 4096:
            raise InvalidInput(f"spread.window = {self.window}: must be from 3 to 4096 updates")
        if not 0 < self.rate < float("inf"):
            raise InvalidInput(f"spread.rate = {self.rate}: must be above 0")

    def init(self, schema: Schema, clients: int) -> Window:
        released, at = self.estimator == "released", 0
        parts: list[tuple[int, int]] = []
        for segment in schema.travelling:
            if not released or len(segment.shape) > 1:
                parts.append((at, at + segment.size))
            at += segment.size
        updates = np.zeros((self.window - released, schema.size), np.float32)
        return Window(
            self.of.init(schema, clients), updates, np.zeros(schema.size), [0.0] * len(updates), parts or [(0, at)]
        )

    def add(self, state: Window, contribution: Contribution) -> Mapping[str, float]:
        at = state.seen % len(state.updates)
        state.total -= state.updates[at]
        state.updates[at] = contribution.delta
        state.total += state.updates[at]
        own = [state.updates[at][a:b].astype(np.float64) for a, b in state.parts]
        state.squares[at] = sum(float(np.dot(part, part)) for part in own)
        state.seen += 1
        facts = self.of.add(state.sum, contribution)
        return facts if state.seen < 2 else {**facts, **self._measure(state, contribution)}

    def _measure(self, state: Window, c: Contribution) -> dict[str, float]:
        n = min(state.seen, len(state.updates))
        norm = sum(float(np.dot(state.total[a:b], state.total[a:b])) for a, b in state.parts) / n**2
        variance = max(0.0, sum(state.squares) / n - norm)
        local = c.lease.local
        rate = local.rate(c.lease.version)
        path = rate * max(1, c.samples // local.batch_size)
        relative = min(variance, LARGEST * n * norm) / norm if norm > 0 else LARGEST * n
        spread = {
            "relative": relative,
            "step": variance / path**2,
            "released": 0.5 * rate * self.rate * relative / path**2,
        }[self.estimator]
        signal, noise = norm - variance / (n - 1), variance * n / (n - 1)
        return {"spread": spread, "signal": signal / path, "noise": noise / path}

    def take(self, state: Window, x: Vector, weigh: Weigh) -> NDArray[np.float64]:
        return self.of.take(state.sum, x, weigh)

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """What the merge inside objects to."""
        objection = getattr(self.of, "objection", None)
        sentence = None if objection is None else objection(strategy, task)
        return None if sentence is None else f"merge spread: {sentence}"
