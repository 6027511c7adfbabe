"""Data that change in the middle of a run: a learner that takes the place of another from some version on."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.learning.learner import Job, Learner, Trained
from hocket.schema import Schema, Vector


class Shift(Struct, frozen=True, eq=False):
    """Jobs that start from ``version`` or later are trained on the data of ``after``, others on those of ``before``.

    It goes by the version a job starts from, so a result stays a function of its job alone. Models are measured on
    the splits of ``before``.

    Raises:
        InvalidInput: the learners have another schema or other numbers of samples.

    >>> from hocket.learning import reference_tasks
    >>> even, skewed = (reference_tasks.gaussian(4, samples=20, alpha=a).learner for a in (100.0, 0.1))
    >>> Shift(even, skewed, version=50).schema == even.schema
    True
    """

    before: Learner
    after: Learner
    version: int

    def __post_init__(self) -> None:
        if self.before.schema != self.after.schema:
            raise InvalidInput("shift: the learners have models of different schemas; use one model for both")
        if not np.array_equal(self.before.samples, self.after.samples):
            raise InvalidInput("shift: a client holds another number of samples afterwards; keep the numbers")

    @property
    def schema(self) -> Schema:
        """Of both."""
        return self.before.schema

    @property
    def samples(self) -> NDArray[np.int64]:
        """Of both, int64[clients]."""
        return self.before.samples

    def initial(self, seed: int) -> Vector:
        """That of ``before``."""
        return self.before.initial(seed)

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """Results in the order of the jobs."""
        late = [job.version >= self.version for job in jobs]
        parts = [
            iter(learner.train(own) if (own := [j for j, x in zip(jobs, late, strict=True) if x == now]) else ())
            for learner, now in ((self.before, False), (self.after, True))
        ]
        return [next(parts[x]) for x in late]

    def evaluate(self, x: Vector, split: str) -> dict[str, float]:
        """On the splits of ``before``."""
        return self.before.evaluate(x, split)
