"""Structured sub-models trained at their own size: one learner per width, and slices of vectors between them.

A job whose cover has as many coordinates as one of the smaller models is a job of that model: its start is the slice,
its tensors have the width, and what comes back is the slice's update. Nothing is multiplied by a mask.
"""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.learning.learner import Job, Learner, Trained
from hocket.schema import Schema, Vector
from hocket.width import at_width


class SlicedLearner:
    """``build(width)`` makes the learner of a width; all of them have the same data.

    Raises:
        InvalidInput: a smaller model is not the leading part of the whole one.

    >>> from hocket.learning import ClientData, Examples, Job, LocalSGD, MLP, NumpyLearner
    >>> rows = Examples(np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1]))
    >>> data = ClientData(rows, np.array([0, 3, 4]), rows, rows)
    >>> learner = SlicedLearner(lambda r: NumpyLearner(MLP(4, (round(8 * r),), 2), data), (1.0, 0.5))
    >>> learner.schema.size, learner.sizes
    (58, (58, 30))
    """

    def __init__(self, build: Callable[[float], Learner], widths: Sequence[float]) -> None:
        self._whole = build(1.0)
        self._parts: dict[int, Learner] = {self._whole.schema.size: self._whole}
        for r in widths:
            learner = self._whole if r == 1 else build(r)
            shapes = [s.shape for s in learner.schema.travelling]
            wanted = [s.shape for s in at_width(self._whole.schema, r)]
            if shapes != wanted:
                raise InvalidInput(f"width {r}: tensors {shapes}; the leading part of the whole model is {wanted}")
            self._parts[learner.schema.size] = learner

    @property
    def schema(self) -> Schema:
        """That of the whole model."""
        return self._whole.schema

    @property
    def sizes(self) -> tuple[int, ...]:
        """Coordinates of the models there are."""
        return tuple(self._parts)

    @property
    def samples(self) -> NDArray[np.int64]:
        """Samples that each client holds, int64[clients], read-only."""
        return self._whole.samples

    def initial(self, seed: int) -> Vector:
        """A first whole model, float32[size]."""
        return self._whole.initial(seed)

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """Results in the order of the jobs, float32[size] each, zero outside a slice.

        Raises:
            InvalidInput: a cover that is none of the widths.
            Diverged: a result is not finite.
        """
        by_size: dict[int, list[int]] = {}
        for i, job in enumerate(jobs):
            n = self._whole.schema.size if job.covered is None else len(job.covered)
            if n not in self._parts or job.squares:
                raise InvalidInput(
                    f"client {job.client}: a cover of {n} coordinates; this learner trains {list(self._parts)}"
                )
            by_size.setdefault(n, []).append(i)
        out: dict[int, Trained] = {}
        for n, members in by_size.items():
            places = [np.sort(c) if (c := jobs[i].covered) is not None else None for i in members]
            small = [
                job if at is None else replace(job, start=job.start[at], covered=None)
                for job, at in zip((jobs[i] for i in members), places, strict=True)
            ]
            for i, at, done in zip(members, places, self._parts[n].train(small), strict=True):
                delta = done.delta
                if at is not None:
                    delta = np.zeros(self._whole.schema.size, np.float32)
                    delta[at] = done.delta
                out[i] = replace(done, delta=delta)
        return [out[i] for i in range(len(jobs))]

    def evaluate(self, x: Vector, split: str) -> dict[str, float]:
        """Metrics of a whole model."""
        return self._whole.evaluate(x, split)
