"""What a server received: updates as they were sent, and decoded from those bytes."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from hocket.learning.learner import Trained
from hocket.lease import Lease
from hocket.policies import Uplink
from hocket.schema import Schema


class Sent(Struct, frozen=True, array_like=True):
    """An update on its way: the encoded bytes, and what travels beside them."""

    data: bytes
    samples: int
    metrics: dict[str, float]


def decode(sent: Sent, uplink: Uplink, schema: Schema, lease: Lease) -> Trained:
    """An update as the server sees it.

    Raises:
        InvalidInput: the bytes are not an update of this lease.
    """
    delta, aux = uplink.decode(sent.data, schema, lease)
    return Trained(delta, sent.samples, sent.metrics, aux)


class Received:
    """The book's source: updates by lease, each handed over once."""

    def __init__(self) -> None:
        self.updates: dict[int, Trained] = {}

    def take(self, leases: Sequence[Lease]) -> list[Trained]:
        """Updates of these leases; each is handed over once."""
        return [self.updates.pop(lease.id) for lease in leases]

    def look(self, lease: Lease) -> Trained:
        """The update of a lease, to be taken later."""
        return self.updates[lease.id]

    def measure(self, lease: int) -> dict[str, float]:
        """``finite``, ``norm`` and the learner's own metrics of an update."""
        t = self.updates[lease]
        norm = float(np.sqrt(np.dot(t.delta.astype(np.float64), t.delta)))
        return {**t.metrics, "norm": norm, "finite": float(np.isfinite(norm))}
