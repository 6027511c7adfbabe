"""Lazy training: a result is computed when it is first needed, together with all that could be by then.

A client's local work is a pure function of its start node, its data and its key, so it may be computed any time
between its start and the moment its result is needed. When one is needed, every lease of its task that has started
and is not yet computed is trained in one batch, or given to a learner that can compute beside the simulation. Such a
learner may get leases before one is needed, so that it has something to do while the simulation goes on, as long as
hardly any turn out to be in vain. Results do not depend on the batch (the learner's lane rule), so eager and lazy runs,
and a resumed run that trains again what it had not consumed, agree bit for bit.

An uplink that remembers encodes a client's updates in the order in which the client finished them, whatever
order they are needed in; an update that came to nothing is settled back when that is known.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.learning.learner import Background, Job, Trained, measured
from hocket.lease import Lease
from hocket.policies import State
from hocket.received import Sent, decode, encode
from hocket.setup import Setup
from hocket.snapshot import pack, unpack

VAIN = 20
"""Leases are trained before they are needed while less than one in so many is forgotten."""


class Progress(Struct):
    """What training remembers: leases in the order they began, those whose device is done, what cannot be computed
    again because an uplink's memory has moved on, and that memory (task, client, packed)."""

    started: list[int] = []
    finished: list[int] = []
    sent: dict[int, Sent] = {}
    memories: list[tuple[str, int, bytes]] = []


@runtime_checkable
class Pinnable(Protocol):
    """A learner with a choice of how to compute."""

    def pin(self, kernels: Mapping[str, str]) -> None:
        """Take these choices."""
        ...


class LazyTraining:
    """The simulator's source of deltas, with the server and the book that it serves.

    Args:
        setup: what is run.
        eager: train each lease alone, when it starts (the reference that lazy runs are compared with).
        down: download rates of the devices in bytes/s, for policies that plan with them.
    """

    def __init__(self, setup: Setup, *, eager: bool = False, down: NDArray[np.float64] | None = None) -> None:
        self.batches = 0
        self.trained = 0
        self._learners = {n: t.learner for n, t in setup.tasks.items() if t.learner is not None}
        self._beside = {n: x for n, x in self._learners.items() if isinstance(x, Background)}
        self._uplinks = {n: p.uplink for n, p in setup.strategy.tasks.items()}
        self._schemas = {n: t.schema for n, t in setup.tasks.items()}
        self._eager = eager
        self._memory_types = {n: getattr(u, "memory", None) for n, u in self._uplinks.items() if n in self._learners}
        self._clear()
        self.server, self.book = setup.build(self, down=down)

    def _clear(self) -> None:
        self._leases: dict[int, Lease] = {}  # in the order in which they began
        self._started: dict[str, dict[int, Lease]] = {n: {} for n in self._learners}  # by task, not yet computed
        self._begun: dict[int, Callable[[], Trained]] = {}  # being computed, or it will be when called
        self._done: dict[int, Trained] = {}
        self._encoded: dict[int, bytes] = {}
        self._finished: dict[tuple[str, int], list[Lease]] = {}  # not yet encoded, by task and client
        self._memories: dict[tuple[str, int], State] = {}
        self._counts = {n: [0, 0] for n in self._learners}  # started, and those of them that were forgotten

    def remembers(self, task: str) -> bool:
        """Whether :meth:`finish` must be told when a device is done, because the task's uplink has a memory."""
        return self._memory_types.get(task) is not None

    def start(self, lease: Lease) -> None:
        """A client began to train; nothing is computed yet (unless eager)."""
        if lease.task in self._learners:
            self._leases[lease.id] = self._started[lease.task][lease.id] = lease
            self._counts[lease.task][0] += 1
            if self._eager:
                self._train(lease.task)
            elif (beside := self._beside.get(lease.task)) is not None and self._early(lease.task, beside):
                self._begin(lease.task, beside)

    def finish(self, lease: Lease) -> None:
        """The device has trained and encoded the update of a lease."""
        self._finished.setdefault((lease.task, lease.client), []).append(lease)

    def forget(self, lease_id: int, accepted: bool = False) -> None:
        """The result will not be needed; a device that had encoded it hears whether it was accepted all the same."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return
        self._counts[lease.task][1] += 1
        if self.remembers(lease.task):
            waiting = self._finished.get((lease.task, lease.client), ())
            if lease_id in self._encoded or any(x.id == lease_id for x in waiting):
                self._decoded(lease)
                self._settle(lease, accepted)
        self._drop(lease)

    def take(self, leases: Sequence[Lease]) -> Iterator[Trained]:
        """Results of these leases as the server decodes them, each once and as soon as it is there."""
        for task in {lease.task for lease in leases if lease.id in self._started[lease.task]}:
            self._train(task)
        known = [self._decoded(lease) if self.remembers(lease.task) else None for lease in leases]
        for lease, trained in zip(leases, known, strict=True):
            if trained is not None:
                self._settle(lease, True)
            found = trained or self._decoded(lease)
            self._drop(lease)
            yield found

    def look(self, lease: Lease) -> Trained:
        """The result of a lease, to be taken later."""
        return self._decoded(lease)

    def measure(self, lease: Lease) -> dict[str, float]:
        """What can be measured of a result: ``finite``, ``norm`` and the learner's own metrics."""
        if lease.task not in self._learners:
            return {}
        return measured(self._decoded(lease))

    def size(self, lease: Lease) -> int:
        """Bytes of the encoded update, where that depends on the data."""
        self._decoded(lease)
        return len(self._encoded[lease.id])

    @property
    def kernels(self) -> dict[str, dict[str, str]]:
        """How each task's learner computes what, if it has a choice; results differ by rounding between choices."""
        found = {n: getattr(x, "kernels", None) for n, x in self._learners.items()}
        return {n: kernels for n, kernels in found.items() if kernels}

    def pin(self, kernels: Mapping[str, Mapping[str, str]]) -> None:
        """Compute as another run did."""
        for name, chosen in kernels.items():
            learner: object = self._learners.get(name)
            if isinstance(learner, Pinnable):
                learner.pin(chosen)

    # --- memory ------------------------------------------------------------------------------------------

    def freeze(self) -> Progress:
        """What a run that goes on elsewhere needs; the rest is computed again."""
        sent = {
            i: Sent(data, self._done[i].samples, self._done[i].metrics)
            for i, data in self._encoded.items()
            if self.remembers(self._leases[i].task)
        }
        finished = {x.id for waiting in self._finished.values() for x in waiting}
        memories = [(task, client, pack(memory)) for (task, client), memory in self._memories.items()]
        return Progress(list(self._leases), [i for i in self._leases if i in finished], sent, memories)

    def thaw(self, progress: Progress, leases: Mapping[int, Lease]) -> None:
        """Continue from such a value; ``leases`` are those it names."""
        self._clear()
        for task, client, memory in progress.memories:
            kind = self._memory_types[task]
            assert kind is not None, "only an uplink that remembers has a memory"
            self._memories[task, client] = unpack(memory, kind)
        for i in progress.started:
            lease, sent = leases[i], progress.sent.get(i)
            if sent is None:
                self.start(lease)
                continue
            self._leases[i] = lease
            self._encoded[i] = sent.data
            ranking = self.book.ranking(lease.task, lease.cover)
            self._done[i] = decode(sent, self._uplinks[lease.task], self._schemas[lease.task], lease, ranking)
        for i in progress.finished:
            self.finish(leases[i])

    # --- computing ---------------------------------------------------------------------------------------

    def _drop(self, lease: Lease) -> None:
        for table in (self._leases, self._started[lease.task], self._begun, self._done, self._encoded):
            table.pop(lease.id, None)

    def _decoded(self, lease: Lease) -> Trained:
        trained, uplink = self._computed(lease), self._uplinks[lease.task]
        if (uplink.lossless and trained.aux is None) or lease.id in self._encoded:
            return trained
        if not self.remembers(lease.task):
            return self._encode(lease)
        waiting = self._finished[lease.task, lease.client]
        while lease.id not in self._encoded:
            self._encode(waiting.pop(0))
        return self._done[lease.id]

    def _encode(self, lease: Lease) -> Trained:
        """Encode a result as its device does, and keep what the server decodes."""
        trained, uplink, schema = self._computed(lease), self._uplinks[lease.task], self._schemas[lease.task]
        owner = (lease.task, lease.client)
        ranking = self.book.ranking(lease.task, lease.cover)
        data, memory = encode(uplink, self._memories.get(owner), trained, schema, lease, ranking)
        if memory is not None:
            self._memories[owner] = memory
        self._encoded[lease.id] = data
        self._done[lease.id] = decode(Sent(data, trained.samples, trained.metrics), uplink, schema, lease, ranking)
        return self._done[lease.id]

    def _settle(self, lease: Lease, accepted: bool) -> None:
        owner = (lease.task, lease.client)
        self._memories[owner] = self._uplinks[lease.task].settle(self._memories.get(owner), lease.ordinal, accepted)

    def _computed(self, lease: Lease) -> Trained:
        if lease.id not in self._done:
            if lease.id not in self._begun:
                self._train(lease.task)
            if lease.id in self._begun:
                self._done[lease.id] = self._begun.pop(lease.id)()
        return self._done[lease.id]

    def _train(self, task: str) -> None:
        beside = self._beside.get(task)
        if beside is None or not self._begin(task, beside):
            leases = self._started[task]
            self._done.update(zip(leases, self._learners[task].train(self._jobs(leases)), strict=True))
            self._count(leases)

    def _early(self, task: str, beside: Background) -> bool:
        """Whether so much has started that it is worth to begin before a result is needed."""
        started, forgotten = self._counts[task]
        return 0 < beside.ahead <= len(self._started[task]) and VAIN * forgotten < started

    def _begin(self, task: str, beside: Background) -> bool:
        """Let what has started be computed beside the simulation, if that can be now."""
        leases = self._started[task]
        begun = beside.begin(self._jobs(leases))
        if begun is None:
            return False
        self._begun.update(zip(leases, begun, strict=True))
        self._count(leases)
        return True

    def _jobs(self, leases: Mapping[int, Lease]) -> list[Job]:
        return [self.book.job(lease) for lease in leases.values()]

    def _count(self, leases: dict[int, Lease]) -> None:
        self.batches += 1
        self.trained += len(leases)
        leases.clear()
