"""A model to be trained by the fleet: what it is made of, who has data for it, what a client does with it."""

from typing import Literal, Self

import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr
from numpy.typing import ArrayLike, NDArray

from hocket.errors import InvalidInput
from hocket.learning.learner import Learner
from hocket.learning.local import LocalSGD
from hocket.schema import Schema, Segment

Objective = Literal["uniform", "samples"]


class Task(Struct, frozen=True, eq=False):
    """One model and its work; without a ``learner`` only sizes and times are simulated.

    Args:
        name: unique among the tasks of a run.
        schema: what the model is made of.
        learner: computes updates, None for a size-only task.
        samples: samples that each client holds, int64[clients], each 1 or more; becomes read-only.
        local: what a client does in one job.
        cost: time per sample relative to the fleet's seconds per sample.
        objective: what a client's loss counts for: all the same, or by its samples.
        bayes: best accuracy that any model can reach, if known.

    Raises:
        InvalidInput: a value outside its range, or a schema or samples other than the learner's.
    """

    name: str
    schema: Schema
    learner: Learner | None
    samples: NDArray[np.int64]
    local: LocalSGD
    cost: float = 1.0
    objective: Objective = "uniform"
    bayes: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InvalidInput(f"task: name is {self.name!r}; give a word that is unique in the run")
        samples = np.asarray(self.samples)
        if samples.ndim != 1 or not samples.size or samples.dtype.kind not in "iu":
            raise InvalidInput(
                f"task {self.name!r}: samples are {samples.dtype}{list(samples.shape)}; "
                "give one whole number per client"
            )
        if samples.min() < 1:
            client = int(samples.argmin())
            raise InvalidInput(
                f"task {self.name!r}: client {client} has {samples[client]} samples; every client needs 1 or more"
            )
        if not 0 < self.cost < float("inf"):
            raise InvalidInput(f"task {self.name!r}: cost is {self.cost!r}; it must be positive and finite")
        if self.objective not in ("uniform", "samples"):
            raise InvalidInput(
                f"task {self.name!r}: objective is {self.objective!r}; it must be 'uniform' or 'samples'"
            )
        if self.bayes is not None and not 0 < self.bayes <= 1:
            raise InvalidInput(f"task {self.name!r}: bayes is {self.bayes!r}; an accuracy is in (0, 1]")
        if self.learner is not None and self.learner.schema != self.schema:
            raise InvalidInput(f"task {self.name!r}: schema differs from the learner's; pass learner.schema")
        if self.learner is not None and not np.array_equal(self.learner.samples, samples):
            raise InvalidInput(f"task {self.name!r}: samples differ from the learner's; pass learner.samples")
        own = np.array(samples, np.int64)
        own.flags.writeable = False
        force_setattr(self, "samples", own)

    @classmethod
    def of(
        cls,
        learner: Learner,
        local: LocalSGD,
        *,
        name: str = "task",
        cost: float = 1.0,
        objective: Objective = "uniform",
        bayes: float | None = None,
    ) -> Self:
        """A task with the schema and the samples of its learner."""
        return cls(name, learner.schema, learner, learner.samples, local, cost, objective, bayes)

    @classmethod
    def sized(
        cls,
        *,
        parameters: int,
        clients: int,
        samples: ArrayLike = 100,
        name: str = "task",
        local: LocalSGD | None = None,
        cost: float = 1.0,
        objective: Objective = "uniform",
    ) -> Self:
        """A size-only task: ``parameters`` numbers, nothing learned.

        ``samples`` is one number for all clients or one per client.

        Raises:
            InvalidInput: parameters or clients below 1, or another number of samples than clients.

        >>> Task.sized(parameters=1000, clients=3, samples=50).samples.tolist()
        [50, 50, 50]
        """
        if parameters < 1 or clients < 1:
            raise InvalidInput(f"task {name!r}: {parameters} parameters, {clients} clients; both must be 1 or more")
        each = np.asarray(samples)
        if each.ndim and each.shape != (clients,):
            raise InvalidInput(
                f"task {name!r}: samples have shape {list(each.shape)} for {clients} clients; "
                "give one number, or one per client"
            )
        schema = Schema((Segment("parameters", (parameters,)),))
        each = np.broadcast_to(each, (clients,))
        return cls(name, schema, None, each, local or LocalSGD(lr=0.1, batch_size=10), cost, objective)

    def __repr__(self) -> str:
        return (
            f"<Task {self.name}: {self.schema.size:,} parameters, {self.clients:,} clients with "
            f"{self.samples.min():,} to {self.samples.max():,} samples; {self.local}>"
        )

    @property
    def clients(self) -> int:
        """Number of clients."""
        return len(self.samples)
