"""Linear models of two classes by a loss of the margin, for studies of optimization: the optimum is known.

    f(w, b) = mean over samples of loss(y (w . x + b)) + (l2/2) ||(w, b)||^2,  y in {-1, +1}

with loss(m) = log(1 + e^-m) (logistic) or max(0, 1 - m) (hinge: convex, not smooth). ``gap`` is f - f* on the training
samples of all clients together. Jobs are computed one after another in float64.
"""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.keyed import MASK
from hocket.learning.data import ClientData, Examples
from hocket.learning.learner import Job, Trained, diverged
from hocket.learning.local import LocalSGD
from hocket.learning.order import batches, width
from hocket.schema import Schema, Segment, Vector

Loss = Literal["logistic", "hinge"]
Weights = NDArray[np.float64]


class MarginLearner:
    """A linear model with bias on the clients' ``data`` (labels 0 and 1), float32[features + 1].

    ``optimum``: f*, None if it is not known (then there is no ``gap``).

    Raises:
        InvalidInput: labels other than 0 and 1, or ``l2`` below 0.
    """

    def __init__(self, data: ClientData, l2: float, loss: Loss = "logistic", optimum: float | None = None) -> None:
        if not 0 <= l2 < float("inf"):
            raise InvalidInput(f"margin learner: l2 = {l2}; it must be 0 or more")
        for split in (data.train, data.test, data.validation):
            if split.labels.dtype != np.int64 or split.labels.max() > 1 or split.features.ndim != 2:
                raise InvalidInput(f"margin learner: {split.name} needs features [samples, n] and labels 0 and 1")
        self._data, self._l2, self._loss, self._optimum = data, l2, loss, optimum
        self._x = {n: _with_ones(getattr(data, n)) for n in ("train", "validation", "test")}
        self._y = {n: 2.0 * getattr(data, n).labels - 1.0 for n in ("train", "validation", "test")}
        self._schema = Schema((Segment("w", (data.train.features.shape[1],)), Segment("b", ())))

    @classmethod
    def solved(cls, data: ClientData, l2: float) -> Self:
        """Logistic loss, with the optimum found by L-BFGS."""
        from scipy.optimize import minimize  # slow to import

        free = cls(data, l2)
        exact = {"maxiter": 5000, "gtol": 1e-9}
        start = np.zeros(free.schema.size)
        best = minimize(free.objective, start, jac=True, method="L-BFGS-B", options=exact)
        return cls(data, l2, "logistic", float(best.fun))

    @property
    def schema(self) -> Schema:
        """``w`` and ``b``."""
        return self._schema

    @property
    def samples(self) -> NDArray[np.int64]:
        """Samples that each client holds, int64[clients]."""
        return self._data.samples

    def initial(self, seed: int) -> Vector:
        """Zeros, whatever the seed."""
        return np.zeros(self._schema.size, np.float32)

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """Results in the order of the jobs.

        Raises:
            InvalidInput: a client that does not exist, or a start vector of another size or type.
            Diverged: a result is not finite.
        """
        return [self._train(job) for job in jobs]

    def _train(self, job: Job) -> Trained:
        if not 0 <= job.client < len(self.samples):
            raise InvalidInput(
                f"client {job.client} does not exist; the learner has clients 0 to {len(self.samples) - 1}"
            )
        if job.start.shape != (self._schema.size,) or job.start.dtype != np.float32:
            raise InvalidInput(f"client {job.client}: start is {job.start.dtype}{list(job.start.shape)}, not a model")
        local, n, first = job.local, int(self.samples[job.client]), int(self._data.offsets[job.client])
        x, y = self._x["train"][first : first + n], self._y["train"][first : first + n]
        start = job.start.astype(np.float64)
        w, velocity, rate, total, seen = start.copy(), np.zeros_like(start), local.rate(job.version), 0.0, 0
        with np.errstate(over="ignore", invalid="ignore"):
            for rows in self._steps(local, job.seed, n):
                loss, g = self._gradient(w, x[rows], y[rows])
                count = n if isinstance(rows, slice) else len(rows)
                total, seen = total + loss * count, seen + count
                g += local.weight_decay * w + local.proximal * (w - start)
                velocity = local.momentum * velocity + g
                w -= rate * velocity
            delta = (w - start).astype(np.float32)
        if not np.isfinite(delta).all():
            raise diverged(job)
        return Trained(delta, local.samples(n), {"loss": total / seen})

    def _steps(self, local: LocalSGD, seed: int, n: int) -> Iterator[slice | NDArray[np.int64]]:
        """The rows of each step; a step on all of them takes them in their order."""
        if local.batch_size >= n:
            yield from repeat(slice(None), local.updates(n))
            return
        for batch in batches(local, np.array([seed & MASK], np.uint64), np.array([n]), width(local, n)):
            yield batch.rows[0, : int(np.count_nonzero(batch.scale))]

    def _gradient(self, w: Weights, x: Weights, y: Weights) -> tuple[float, Weights]:
        """f and its gradient on some samples."""
        m = y * (x @ w)
        if self._loss == "hinge":
            loss, pull = np.maximum(0, 1 - m).mean(), (m < 1).astype(np.float64)
        else:
            loss, pull = np.logaddexp(0, -m).mean(), 1 / (1 + np.exp(np.clip(m, -700, 700)))
        return float(loss) + self._l2 / 2 * float(w @ w), self._l2 * w - x.T @ (y * pull) / len(y)

    def evaluate(self, x: Vector, split: str) -> dict[str, float]:
        """``"accuracy"`` and ``"loss"`` (f) of a split, ``"gap"`` on the training samples.

        Raises:
            InvalidInput: another split.
        """
        if split not in ("validation", "test"):
            raise InvalidInput(f"split {split!r}: must be validation or test")
        w = x.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            right = float(np.mean((self._x[split] @ w > 0) == (self._y[split] > 0)))
            out = {"accuracy": right, "loss": self._gradient(w, self._x[split], self._y[split])[0]}
            if self._optimum is not None:
                out["gap"] = self._gradient(w, self._x["train"], self._y["train"])[0] - self._optimum
        return out

    def objective(self, w: Weights) -> tuple[float, Weights]:
        """f and its gradient (a subgradient of the hinge) on the training samples of all clients, float64."""
        return self._gradient(w, self._x["train"], self._y["train"])


def _with_ones(split: Examples) -> Weights:
    return np.hstack([split.features.astype(np.float64), np.ones((len(split), 1))])
