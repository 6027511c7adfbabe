"""Sixteen bits per value: IEEE half precision and bfloat16, with one power of two that keeps both in range.

With e the exponent of max |x|: round(x 2^-e) to 16 bits, and 2^e back. Values are at most 1 before rounding, so nothing
overflows, and what is exact in 16 bits stays exact at any scale. Body: e as int16, then the values.
"""

from typing import Any, ClassVar

import numpy as np
from msgspec import Struct

from hocket.codec.body import exactly, finite, to_float32
from hocket.errors import InvalidInput
from hocket.schema import Schema, Vector
from hocket.strategy import policy


@policy("codec")
class Float16(Struct, frozen=True, tag="float16", tag_field="kind", forbid_unknown_fields=True):
    """11 significant bits down to 2^-14 of the largest value, fewer below."""

    id: ClassVar[int] = 1
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    def size(self, schema: Schema) -> tuple[int, bool]:
        return 2 + 2 * schema.size, True

    def distortion(self, schema: Schema) -> float:
        """2^-22 by relative rounding, and n 2^-48 by what lies below the smallest normal number."""
        return 2.0**-22 + schema.size * 2.0**-48

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        e = _exponent(self, x)
        return e.tobytes() + _times(x, -int(e)).astype("<f2").tobytes()

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        return _scaled(self, np.frombuffer(body, "<f2", offset=2).astype(np.float32), body)


@policy("codec")
class BFloat16(Struct, frozen=True, tag="bfloat16", tag_field="kind", forbid_unknown_fields=True):
    """8 significant bits at every scale."""

    id: ClassVar[int] = 2
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    def size(self, schema: Schema) -> tuple[int, bool]:
        return 2 + 2 * schema.size, True

    def distortion(self, schema: Schema) -> float:
        """2^-16 by relative rounding; what lies below 2^-126 of the largest value is negligible."""
        return 2.0**-16 + schema.size * 2.0**-200

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        e = _exponent(self, x)
        bits = _times(x, -int(e)).view(np.uint32)
        nearest_even = (bits + (0x7FFF + (bits >> 16 & 1)).astype(np.uint32)) >> 16
        return e.tobytes() + nearest_even.astype("<u2").tobytes()

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        bits = np.frombuffer(body, "<u2", offset=2).astype(np.uint32) << 16
        return _scaled(self, bits.view(np.float32), body)


def _exponent(codec: Float16 | BFloat16, x: Vector) -> "np.ndarray[Any, np.dtype[np.int16]]":
    finite(codec, x)
    most = float(np.abs(x).max(initial=0.0))
    return np.array(np.frexp(most)[1], "<i2")


def _scaled(codec: Float16 | BFloat16, values: Vector, body: Any) -> Vector:
    finite(codec, values)
    e = int(np.frombuffer(body, "<i2", 1)[0])
    if not -148 <= e <= 128:
        raise InvalidInput(f"codec {codec.__struct_config__.tag}: exponent {e}; float32 has -148 to 128")
    with np.errstate(over="ignore"):
        return to_float32(_times(values, e))  # the largest value may have been rounded up


def _times(x: Vector, e: int) -> Vector:
    """x 2^e; a product with a power of two is exact wherever the result is a normal number."""
    return x * np.float32(2.0**e) if -120 <= e <= 120 else np.ldexp(x, e)
