"""Quadratic losses with different optima: everything about them is known, and a step costs next to nothing.

f_i(w) = (w - c_i)' diag(h) (w - c_i) / 2 with c_i the centre of client i's group; a stochastic gradient is
diag(h)(w - c_i) + z with z normal and E|z|^2 = ``noise``^2. w starts at 0. The metrics of w are ``gradient``, the
squared norm of the gradient of the mean loss, ``loss``, and ``accuracy``, 1/(1 + gradient).
"""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hocket.errors import InvalidInput
from hocket.keyed import generator, key
from hocket.learning.learner import Job, Trained, diverged
from hocket.learning.local import LocalSGD
from hocket.learning.task import Task
from hocket.schema import Schema, Segment, Vector


class Quadratics:
    """Learner of the losses above; ``curvature`` float64[d] is h, ``centres`` float64[clients, d] are the c_i."""

    def __init__(self, curvature: ArrayLike, centres: ArrayLike, noise: float, samples: int = 1) -> None:
        self._h, self._c = np.asarray(curvature, np.float64), np.asarray(centres, np.float64)
        if self._c.ndim != 2 or self._h.shape != self._c.shape[1:]:
            raise InvalidInput(
                f"quadratics: curvature {self._h.shape}, centres {self._c.shape}; give [d], [clients, d]"
            )
        self._noise = noise / sqrt(len(self._h))
        self.schema = Schema((Segment("w", (len(self._h),)),))
        self.samples: NDArray[np.int64] = np.full(len(self._c), samples, np.int64)

    def initial(self, seed: int) -> Vector:
        """Zeros."""
        return np.zeros(len(self._h), np.float32)

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """One job after the other."""
        return [self._train(job) for job in jobs]

    def _train(self, job: Job) -> Trained:
        w = job.start.astype(np.float64)
        draw = generator(key(job.seed, "quadratics"))
        steps, rate = job.local.samples(1), job.local.rate(job.version)
        loss = 0.0
        for _ in range(steps):
            away = w - self._c[job.client]
            loss += float(self._h @ away**2) / 2 / steps
            w -= rate * (self._h * away + self._noise * draw.standard_normal(len(w)))
        delta = (w - job.start).astype(np.float32)
        if not np.isfinite(delta).all():
            raise diverged(job)
        return Trained(delta, steps, {"loss": loss})

    def evaluate(self, x: Vector, split: str) -> dict[str, float]:
        """The same on every split: nothing is sampled."""
        away = x.astype(np.float64) - self._c
        gradient = float(((self._h * away.mean(0)) ** 2).sum())
        return {
            "accuracy": 1 / (1 + gradient),
            "loss": float((self._h * away**2).sum(1).mean() / 2),
            "gradient": gradient,
        }


def quadratics(
    groups: Sequence[int] = (10, 10),
    dim: int = 20,
    spread: float = 1.0,
    noise: float = 1.0,
    *,
    seed: int = 0,
    local: LocalSGD | None = None,
    name: str = "quadratics",
) -> Task:
    """``groups`` are numbers of clients with a centre in common, drawn from N(0, ``spread``^2) in every
    coordinate; h goes from 0.2 to 1.

    Default local work: one gradient at rate 0.01.

    >>> quadratics((3, 2)).learner.evaluate(np.zeros(20, np.float32), "test")["gradient"] > 0
    True
    """
    centres = spread * generator(key(seed, "quadratics", "centres")).standard_normal((len(groups), dim))
    learner = Quadratics(np.linspace(0.2, 1.0, dim), np.repeat(centres, groups, axis=0), noise)
    return Task.of(learner, local or LocalSGD(lr=0.01, batch_size=1, steps=1), name=name)
