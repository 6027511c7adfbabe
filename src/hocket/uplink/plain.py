"""Each update is encoded on its own, and what a method uploads besides it follows; the client remembers nothing."""

from typing import Any

from msgspec import Struct

from hocket import wire
from hocket.codec import Coded, Float32
from hocket.learning import squares
from hocket.lease import Cover, Lease
from hocket.schema import Schema, Vector
from hocket.strategy import policy


@policy("uplink")
class Plain(Struct, frozen=True, tag="plain", tag_field="kind", forbid_unknown_fields=True):
    """The codec alone."""

    codec: Coded = Float32()

    @property
    def lossless(self) -> bool:
        """Whether what is decoded equals what was encoded, bit for bit."""
        return self.codec.lossless

    def size(self, schema: Schema, cover: Cover) -> tuple[int, bool]:
        return wire.size(self.codec, schema)

    def encode(self, memory: Any, delta: Vector, aux: bytes | None, schema: Schema, lease: Lease) -> tuple[bytes, Any]:
        return wire.encode(self.codec, delta, schema, lease.seed) + (aux or b""), memory

    def decode(self, data: bytes, schema: Schema, lease: Lease) -> tuple[Vector, bytes | None]:
        end = wire.length(data)
        return wire.decode(self.codec, data[:end], schema), with_aux(data[end:], schema.size)

    def settle(self, memory: Any, ordinal: int, accepted: bool) -> Any:
        return memory


def with_aux(rest: bytes, count: int) -> bytes | None:
    """What follows an update of so many values: nothing, or their squared gradients.

    Raises:
        InvalidInput: it is neither.
    """
    if not rest:
        return None
    squares.decode(rest, count)
    return rest
