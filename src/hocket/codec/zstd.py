"""A last stage: the bytes of another codec, compressed without loss by Zstandard.

Body: 0 and the other codec's body if that is no longer, else 1, its length (uint32), and the compressed bytes. Nothing
is unpacked that would be longer than the other codec promises.
"""

from typing import Any, ClassVar

from msgspec import Struct

from hocket.codec.body import exactly
from hocket.codec.ecuq import ECUQ
from hocket.codec.glue import Glue
from hocket.codec.min_max import MinMax
from hocket.codec.power_sgd import PowerSGD
from hocket.codec.qsgd import QSGD
from hocket.codec.sparse import RandK, TopK, Values
from hocket.errors import InvalidInput
from hocket.schema import Schema, Vector
from hocket.strategy import policy

Single = Values | MinMax | ECUQ | TopK | RandK | Glue | PowerSGD
"""Every codec but this one."""


@policy("codec")
class Zstd(Struct, frozen=True, tag="zstd", tag_field="kind", forbid_unknown_fields=True):
    """``codec``, compressed at ``level`` (1 to 19)."""

    codec: Single = QSGD()
    level: int = 3
    id: ClassVar[int] = 13

    def __post_init__(self) -> None:
        if not 1 <= self.level <= 19:
            raise InvalidInput(f"zstd.level = {self.level}: must be from 1 to 19")

    @property
    def lossless(self) -> bool:
        return self.codec.lossless

    @property
    def unbiased(self) -> bool:
        return self.codec.unbiased

    @property
    def merges(self) -> bool:
        return self.codec.merges

    def size(self, schema: Schema) -> tuple[int, bool]:
        return 1 + self.codec.size(schema)[0], False

    def distortion(self, schema: Schema) -> float:
        return self.codec.distortion(schema)

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        plain = self.codec.encode(x, schema, key)
        small: bytes = _zstd(self.level).compress(plain, asbytes=True)
        if len(small) + 4 >= len(plain):
            return b"\0" + plain
        return b"\1" + len(plain).to_bytes(4, "little") + small

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        view = memoryview(body)
        if len(view) and view[0] == 0:
            return self.codec.decode(view[1:], schema)
        if len(view) < 5 or view[0] != 1:
            raise InvalidInput(f"codec zstd: {len(view)} bytes that begin with neither 0 nor 1 and a length")
        length, (most, exact) = int.from_bytes(view[1:5], "little"), self.codec.size(schema)
        if length > most or (exact and length != most):
            raise InvalidInput(f"codec zstd: {length} bytes unpacked; {self.codec} takes {most} at most")
        try:
            plain = _zstd(self.level).decompress(view[5:], length, asbytes=True)
        except (OSError, ValueError) as e:
            raise InvalidInput(f"codec zstd: damaged: {e}") from e
        if len(plain) != length:
            raise InvalidInput(f"codec zstd: {len(plain)} bytes unpacked, {length} promised")
        return self.codec.decode(plain, schema)


def _zstd(level: int) -> Any:
    from pyarrow import Codec  # heavy, and part of the event log rather than of the core

    return Codec("zstd", compression_level=level)
