"""Each update is encoded on its own; the client remembers nothing and sends nothing besides it."""

from typing import Any

from msgspec import Struct

from hocket import wire
from hocket.codec import Coded, Float32
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
        return wire.encode(self.codec, delta, schema, lease.seed), memory

    def decode(self, data: bytes, schema: Schema, lease: Lease) -> tuple[Vector, bytes | None]:
        return wire.decode(self.codec, data, schema), None

    def settle(self, memory: Any, ordinal: int, accepted: bool) -> Any:
        return memory
