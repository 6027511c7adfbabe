"""Error feedback: what a codec leaves out of an update, the client adds to its next one.

With d_k the update of the client's k-th job and e its residual (0 at first):

    m_k = encode(d_k + e),   e <- d_k + e - decode(m_k),   and if m_k is refused or lost, e <- e + decode(m_k)

so that what was delivered plus what is owed is all that the client ever learned. The residual is a vector per client
that has worked, and messages stay with the client until it hears what became of them. It stays bounded only if the
codec leaves less out than it is given: with one that is unbiased but coarse (rand_k with ``scale``, QSGD of a few bits
in large buckets) it grows from job to job, and the model is lost. Take ``scale=False``, ``shrink=True``, or no
feedback.

Seide et al., "1-bit stochastic gradient descent", Interspeech 2014; Karimireddy et al., "Error feedback fixes SignSGD",
ICML 2019 (arXiv 1901.09847).
"""

from typing import ClassVar

import numpy as np
from msgspec import Struct

from hocket import wire
from hocket.codec import Coded, Float32
from hocket.lease import Cover, Lease
from hocket.schema import Schema, Vector
from hocket.strategy import FullStrategy, FullTask, policy


class Residual(Struct):
    """What is owed, float32[size], and the messages that nothing is known of yet, by ordinal of the job."""

    schema: Schema
    owed: np.ndarray
    sent: dict[int, bytes] = {}


@policy("uplink")
class ErrorFeedback(Struct, frozen=True, tag="error_feedback", tag_field="kind", forbid_unknown_fields=True):
    """``codec`` with the client's residual."""

    codec: Coded = Float32()
    lossless: ClassVar[bool] = False  # also with a lossless codec: a refused update comes with the next one
    memory: ClassVar[type[Struct]] = Residual

    def size(self, schema: Schema, cover: Cover) -> tuple[int, bool]:
        return wire.size(self.codec, schema)

    def encode(
        self, memory: Residual | None, delta: Vector, aux: bytes | None, schema: Schema, lease: Lease
    ) -> tuple[bytes, Residual]:
        memory = memory or Residual(schema, np.zeros(schema.size, np.float32))
        due = memory.owed + delta
        data = wire.encode(self.codec, due, schema, lease.seed)
        memory.owed = due - wire.decode(self.codec, data, schema)
        memory.sent[lease.ordinal] = data
        return data, memory

    def decode(self, data: bytes, schema: Schema, lease: Lease) -> tuple[Vector, bytes | None]:
        return wire.decode(self.codec, data, schema), None

    def settle(self, memory: Residual | None, ordinal: int, accepted: bool) -> Residual | None:
        if memory is None:
            return None
        data = memory.sent.pop(ordinal, None)
        if data is not None and not accepted:
            memory.owed = memory.owed + wire.decode(self.codec, data, memory.schema)
        return memory

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """A residual belongs to the coordinates that a client trains."""
        kind = None if task is None else task.submodel.__struct_config__.tag  # type: ignore[attr-defined]
        if kind not in (None, "whole"):
            return (
                f"uplink error_feedback keeps a residual of the whole model, submodel {kind} changes what is trained; "
                "use uplink banded"
            )
        return None
