"""The one interface between the system and whatever computes gradients.

A job is a pure function of its start vector, its client's data and its seed: results may not depend on which
other jobs are in the same call (the lane rule), so training may happen at any time and in any grouping.
``hocket.testing.learner.LearnerConformance`` holds a learner to that.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.chunks import norm
from hocket.errors import Diverged
from hocket.learning.local import LocalSGD
from hocket.ranking import Positions
from hocket.schema import Schema, Vector


class Job(Struct, frozen=True, eq=False):
    """Local work to be computed: ``client`` trains from ``start`` (float32[size], never written to).

    ``seed`` keys the order of the samples; ``version`` is that of the start node and sets the rate. ``covered``:
    int32[length], the coordinates of a sub-model; the others are zero in ``start`` and stay as they are. None: all.
    ``squares``: the result's ``aux`` is to hold the squared gradients of the last batch, of the covered coordinates in
    that order (:mod:`hocket.learning.squares`).

    A learner that cannot train sub-models says so (:func:`plain_only`).
    """

    lease: int
    client: int
    start: Vector
    local: LocalSGD
    seed: int
    version: int
    covered: Positions | None = None
    squares: bool = False


class Trained(Struct, frozen=True, eq=False):
    """The result of a job: ``delta`` is result minus start, float32[size].

    ``samples`` were processed; ``metrics`` holds at least ``"loss"``, the mean training loss over them, each
    taken before the step that its batch made. ``aux`` is what a method uploads besides the update.
    """

    delta: Vector
    samples: int
    metrics: dict[str, float]
    aux: bytes | None = None


def measured(result: Trained) -> dict[str, float]:
    """What a guard may ask of a result: its own metrics, the Euclidean ``norm`` of its delta, ``finite`` 0 or 1."""
    length = norm(result.delta)
    return {**result.metrics, "norm": length, "finite": float(np.isfinite(length))}


def diverged(job: Job) -> Diverged:
    """The error for a result that is not finite; it names the client and the rate."""
    return Diverged(
        f"client {job.client}: its result (lease {job.lease}) is not finite after training from "
        f"version {job.version} at rate {job.local.rate(job.version):g}; lower lr of its LocalSGD"
    )


class Learner(Protocol):
    """A model, the data of every client, and the arithmetic."""

    @property
    def schema(self) -> Schema:
        """What the model is made of."""
        ...

    @property
    def samples(self) -> NDArray[np.int64]:
        """Samples that each client holds, int64[clients]."""
        ...

    def initial(self, seed: int) -> Vector:
        """A first model, float32[size]; the same for the same seed."""
        ...

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """Results in the order of the jobs, bit for bit those of one call per job.

        Raises:
            Diverged: a result is not finite; the message names the client.
        """
        ...

    def evaluate(self, x: Vector, split: str) -> dict[str, float]:
        """At least ``"accuracy"`` and ``"loss"`` (mean) of a model on ``"validation"`` or ``"test"``."""
        ...


@runtime_checkable
class Background(Protocol):
    """A learner that can compute while its caller does something else.

    ``ahead``: so many jobs are worth to be begun before a result is needed; 0: none.
    """

    @property
    def ahead(self) -> int:
        """See the class."""
        ...

    def begin(self, jobs: Sequence[Job]) -> Sequence[Callable[[], Trained]] | None:
        """Let the jobs be computed; each call gives a result, once, as soon as it is there.

        None if that cannot be now: :meth:`Learner.train` can. A call raises what ``train`` would.
        """
        ...
