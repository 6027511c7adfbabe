"""Each band of a sub-model is encoded on its own: one scale per band, so that a few large values far out do not coarsen
the rest. Only the values of the coordinates that the client covers travel; the server knows which they are."""

from typing import Any

import numpy as np
from msgspec import Struct

from hocket import wire
from hocket.codec import Coded, Float32
from hocket.errors import InvalidInput
from hocket.keyed import mix
from hocket.lease import Cover, Lease
from hocket.schema import Schema, Vector
from hocket.strategy import policy
from hocket.uplink.plain import with_aux

_LENGTH = 4


@policy("uplink")
class Banded(Struct, frozen=True, tag="banded", tag_field="kind", forbid_unknown_fields=True):
    """``codec`` for each segment of what is sent: the bands of a cover, or the tensors of a whole model."""

    codec: Coded = Float32()

    @property
    def lossless(self) -> bool:
        """Whether what is decoded equals what was encoded, bit for bit."""
        return self.codec.lossless

    def size(self, schema: Schema, cover: Cover) -> tuple[int, bool]:
        sizes = [wire.size(self.codec, part) for part in _parts(schema)]
        return sum(n + _LENGTH for n, _ in sizes), all(exact for _, exact in sizes)

    def encode(self, memory: Any, delta: Vector, aux: bytes | None, schema: Schema, lease: Lease) -> tuple[bytes, Any]:
        out, at = [], 0
        for i, part in enumerate(_parts(schema)):
            data = wire.encode(self.codec, delta[at : at + part.size], part, mix(lease.seed ^ i))
            out.append(len(data).to_bytes(_LENGTH, "little") + data)
            at += part.size
        return b"".join(out) + (aux or b""), memory

    def decode(self, data: bytes, schema: Schema, lease: Lease) -> tuple[Vector, bytes | None]:
        parts, at = [], 0
        for part in _parts(schema):
            length = int.from_bytes(data[at : at + _LENGTH], "little")
            at += _LENGTH
            if len(data) < at + length:
                raise InvalidInput(f"banded update: {len(data)} bytes; a band ends at {at + length}")
            parts.append(wire.decode(self.codec, data[at : at + length], part))
            at += length
        return np.concatenate(parts), with_aux(data[at:], schema.size)

    def settle(self, memory: Any, ordinal: int, accepted: bool) -> Any:
        return memory


def _parts(schema: Schema) -> list[Schema]:
    return [Schema((s,)) for s in schema.travelling]
