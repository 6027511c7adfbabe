"""Lazy training: a result is computed when it is first needed, together with all that could be by then.

A client's local work is a pure function of its start node, its data and its key, so it may be computed any time
between its start and the moment its result is needed. When one is needed, every lease that has started and is
not yet computed is trained in one batch. Results do not depend on the batch (the learner's lane rule), so eager
and lazy runs, and a resumed run that trains again what it had not consumed, agree bit for bit.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hocket.learning.learner import Job, Trained
from hocket.lease import Lease
from hocket.policies import State
from hocket.setup import Setup


class LazyTraining:
    """The simulator's source of deltas, with the server and the book that it serves.

    Args:
        setup: what is run.
        eager: train each lease alone, when it starts (the reference that lazy runs are compared with).
        journaled: whether the server remembers its recent answers.
        down: download rates of the devices in bytes/s, for policies that plan with them.
    """

    def __init__(
        self, setup: Setup, *, eager: bool = False, journaled: bool = False, down: NDArray[np.float64] | None = None
    ) -> None:
        self.memories: dict[str, dict[int, State]] = {t: {} for t in setup.tasks}
        self.batches = 0
        self.trained = 0
        self._learners = {n: t.learner for n, t in setup.tasks.items() if t.learner is not None}
        self._uplinks = {n: p.uplink for n, p in setup.strategy.tasks.items()}
        self._schemas = {n: t.schema for n, t in setup.tasks.items()}
        self._eager = eager
        self._started: dict[int, Lease] = {}
        self._done: dict[int, Trained] = {}
        self._encoded: dict[int, bytes] = {}
        self.server, self.book = setup.build(self, journaled=journaled, down=down)

    @property
    def started(self) -> list[int]:
        """Leases whose result is not yet consumed, in the order in which they started."""
        return sorted((*self._started, *self._done))

    def start(self, lease: Lease) -> None:
        """A client began to train; nothing is computed yet (unless eager)."""
        if lease.task in self._learners:
            self._started[lease.id] = lease
            if self._eager:
                self._train()

    def forget(self, lease_id: int) -> None:
        """The result will not be needed."""
        self._started.pop(lease_id, None)
        self._done.pop(lease_id, None)
        self._encoded.pop(lease_id, None)

    def take(self, leases: Sequence[Lease]) -> list[Trained]:
        """Results of these leases as the server decodes them; they are handed over once."""
        out = [self._decoded(lease) for lease in leases]
        for lease in leases:
            self.forget(lease.id)
        return out

    def look(self, lease: Lease) -> Trained:
        """The result of a lease, to be taken later."""
        return self._decoded(lease)

    def measure(self, lease: Lease) -> dict[str, float]:
        """What can be measured of a result: ``finite``, ``norm`` and the learner's own metrics."""
        if lease.task not in self._learners:
            return {}
        t = self._decoded(lease)
        norm = float(np.sqrt(np.dot(t.delta.astype(np.float64), t.delta)))
        return {**t.metrics, "norm": norm, "finite": float(np.isfinite(norm))}

    def size(self, lease: Lease) -> int:
        """Bytes of the encoded update, where that depends on the data."""
        self._decoded(lease)
        return len(self._encoded[lease.id])

    def _decoded(self, lease: Lease) -> Trained:
        if lease.id not in self._done:
            self._train()
        trained, uplink = self._done[lease.id], self._uplinks[lease.task]
        if (uplink.lossless and trained.aux is None) or lease.id in self._encoded:
            return trained
        schema, memory = self._schemas[lease.task], self.memories[lease.task]
        own, delta, aux = memory.get(lease.client), trained.delta, trained.aux
        data, memory[lease.client] = uplink.encode(own, delta, aux, schema, lease)
        self._encoded[lease.id] = data
        delta, aux = uplink.decode(data, schema, lease)
        trained = Trained(delta, trained.samples, trained.metrics, aux)
        self._done[lease.id] = trained
        return trained

    def _train(self) -> None:
        by_task: dict[str, list[Lease]] = {}
        for lease in self._started.values():
            by_task.setdefault(lease.task, []).append(lease)
        self._started.clear()
        for task, leases in by_task.items():
            jobs = [Job(x.id, x.client, self.book.start(x), x.local, x.seed, x.version) for x in leases]
            for lease, result in zip(leases, self._learners[task].train(jobs), strict=True):
                self._done[lease.id] = result
            self.batches += 1
            self.trained += len(jobs)
