"""What a server received: updates as they were sent, and decoded from those bytes."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from msgspec import Struct

from hocket.learning.learner import Trained, measured
from hocket.learning.task import Task
from hocket.lease import Cover, Lease
from hocket.policies import State, Uplink
from hocket.ranking import Ranking, schema_of
from hocket.schema import Schema
from hocket.strategy import FullTask


class Sent(Struct, frozen=True, array_like=True):
    """An update on its way: the encoded bytes, and what travels beside them."""

    data: bytes
    samples: int
    metrics: dict[str, float]


def encode(
    uplink: Uplink, memory: State | None, done: Trained, schema: Schema, lease: Lease, ranking: Ranking | None
) -> tuple[bytes, State | None]:
    """What a device sends of its result (the values of the coordinates it covers), and what it remembers."""
    length = lease.cover.length
    if ranking is None:
        return uplink.encode(memory, done.delta, done.aux, schema, lease)
    part = schema_of(ranking.cuts, length)
    return uplink.encode(memory, done.delta[ranking.positions(length)], done.aux, part, lease)


def decode(sent: Sent, uplink: Uplink, schema: Schema, lease: Lease, ranking: Ranking | None = None) -> Trained:
    """An update as the server sees it; zero outside its cover.

    Raises:
        InvalidInput: the bytes are not an update of this lease.
    """
    length = lease.cover.length
    part = schema if ranking is None else schema_of(ranking.cuts, length)
    delta, aux = uplink.decode(sent.data, part, lease)
    if ranking is not None:
        values, delta = delta, np.zeros(schema.size, np.float32)
        delta[ranking.positions(length)] = values
    return Trained(delta, sent.samples, sent.metrics, aux)


class Received:
    """The book's source: updates by lease as they were sent, each handed over once.

    They are decoded when they are first needed, unless :meth:`put` was given the result. ``ranking`` is the book's.
    """

    def __init__(self, parts: Mapping[str, FullTask], tasks: Mapping[str, Task]) -> None:
        self.sent: dict[int, Sent] = {}
        self.ranking: Callable[[str, Cover], Ranking | None] = lambda task, cover: None
        self._codings = {n: (part.uplink, tasks[n].schema) for n, part in parts.items()}
        self._decoded: dict[int, Trained] = {}

    def put(self, lease: int, sent: Sent, decoded: Trained | None = None) -> None:
        """An update has arrived."""
        self.sent[lease] = sent
        if decoded is not None:
            self._decoded[lease] = decoded

    def forget(self, lease: int) -> None:
        """The update will not be needed."""
        self.sent.pop(lease, None)
        self._decoded.pop(lease, None)

    def take(self, leases: Sequence[Lease]) -> Iterator[Trained]:
        """Updates of these leases, one at a time; each is handed over once."""
        for lease in leases:
            yield self.look(lease)
            self.forget(lease.id)

    def look(self, lease: Lease) -> Trained:
        """The update of a lease, to be taken later."""
        decoded = self._decoded.get(lease.id)
        if decoded is not None:
            return decoded
        ranking = self.ranking(lease.task, lease.cover)
        return decode(self.sent[lease.id], *self._codings[lease.task], lease, ranking)

    def measure(self, lease: Lease) -> dict[str, float]:
        """``finite``, ``norm`` and the learner's own metrics of an update."""
        return measured(self.look(lease))
