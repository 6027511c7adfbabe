"""What is run: tasks, strategy, stop rule, evaluation and seed as one value that every driver starts from."""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.book import Book, Source
from hocket.core import Tasks, build, named, resolve
from hocket.errors import InvalidInput
from hocket.keyed import seeded
from hocket.learning.task import Task
from hocket.received import Received
from hocket.schedule import Change, checked
from hocket.server import Server
from hocket.snapshot import digest
from hocket.strategy import FullStrategy, Strategy, describe
from hocket.until import Evaluation, Until


class Setup(Struct, frozen=True, eq=False):
    """A run before it has a driver; ``tasks`` and ``strategy`` have every part set, ``schedule`` is in order."""

    tasks: Mapping[str, Task]
    strategy: FullStrategy
    until: Until
    evaluation: Evaluation
    seed: int
    measure: tuple[str, ...]
    schedule: tuple[Change, ...] = ()

    @classmethod
    def of(
        cls,
        task: Tasks,
        method: Strategy,
        until: Until,
        *,
        seed: int = 0,
        evaluation: Evaluation | None = None,
        measure: tuple[str, ...] = (),
        schedule: Sequence[Change] = (),
    ) -> Self:
        """Fill what a strategy leaves open; the arguments are those of :func:`hocket.simulate`.

        Raises:
            InvalidInput: something contradicts something else.
        """
        strategy, tasks = resolve(named(task), method)
        return cls(tasks, strategy, until, evaluation or Evaluation(), seeded(seed), measure, checked(schedule, tasks))

    def build(
        self,
        source: Source,
        *,
        journaled: bool = False,
        down: NDArray[np.float64] | None = None,
        secret: bytes | None = None,
    ) -> tuple[Server, Book]:
        """A server and a book; ``down`` (bytes/s, per device) is what a prefetch policy may plan with.

        ``secret``: what noise for privacy is drawn from (the seed, if left out).

        Raises:
            InvalidInput: a target on a metric for a task without a learner, or too small a budget of privacy.
        """
        server, book = build(
            self.tasks, self.strategy, source, seed=self.seed, until=self.until, evaluation=self.evaluation,
            measure=self.measure, journaled=journaled, down=down, secret=secret,
        )  # fmt: skip
        if isinstance(source, Received):
            source.ranking = book.ranking
        return server, book

    def check_clients(self, devices: int) -> None:
        """Make sure that each task has a client per device.

        Raises:
            InvalidInput: the numbers differ.
        """
        for t in self.tasks.values():
            if t.clients != devices:
                raise InvalidInput(
                    f"task {t.name!r} has {t.clients} clients and the fleet {devices} devices; make them equal"
                )

    def digest(self, *more: object) -> str:
        """32 hex digits that differ for runs whose servers would decide differently, or with other ``more``."""
        each = [[n, t.schema.digest, t.samples, t.local, t.objective] for n, t in self.tasks.items()]
        own = [self.schedule] if self.schedule else []
        return digest(
            [describe(self.strategy), each, self.seed, self.until, self.evaluation, self.measure, *own, *more]
        )
