"""LFL's quantizer: each tensor between its smallest and its largest value, rounded at random to an even grid.

    Q(x)_i = a + D floor((x_i - a)/D + u_i),  a = min x,  D = (max x - min x)/L,  L = 2^bits - 1,  u_i uniform on [0, 1)

E Q(x) = x, and E||Q(x) - x||^2 <= n D^2/4 <= n/(2 L^2) ||x||^2 for a tensor of n values, since (max - min)^2 is at most
2 ||x||^2. Body: for each tensor a and D as float32, then the grid points, ``bits`` bits each, tensors from whole bytes.

Amiri, Gunduz, Kulkarni, Poor, "Federated learning with quantized global model updates", 2020 (arXiv 2006.10672).
"""

from typing import Any, ClassVar

import numpy as np
from msgspec import Struct

from hocket.codec import bits as packing
from hocket.codec.body import bits_of, exactly, finite, spans, to_float32
from hocket.codec.dither import Dither
from hocket.schema import Schema, Vector
from hocket.strategy import policy


@policy("codec")
class LFL(Struct, frozen=True, tag="lfl", tag_field="kind", forbid_unknown_fields=True):
    """Stochastic rounding between the extremes of each tensor.

    >>> LFL(bits=4).levels
    15
    """

    bits: int = 4
    id: ClassVar[int] = 4
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = True
    merges: ClassVar[bool] = False

    def __post_init__(self) -> None:
        bits_of(self, self.bits)

    @property
    def levels(self) -> int:
        """Steps of the grid."""
        return (1 << self.bits) - 1

    def size(self, schema: Schema) -> tuple[int, bool]:
        return sum(8 + packing.packed(b - a, self.bits) for a, b in spans(schema)), True

    def distortion(self, schema: Schema) -> float:
        return max((b - a for a, b in spans(schema)), default=0) / (2.0 * self.levels**2)

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        finite(self, x)
        dither, out = Dither(key), []
        for a, b in spans(schema):
            part = x[a:b].astype(np.float64)
            low = np.float32(part.min())
            step = _at_least((float(part.max()) - float(low)) / self.levels)
            y = (part - float(low)) / float(step) if step else np.zeros_like(part)
            codes = dither.round(y).clip(0, self.levels).astype(packing.dtype(self.bits))
            out += [np.array([low, step], "<f4").tobytes(), packing.pack(codes, self.bits)]
        return b"".join(out)

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        out, at = np.empty(schema.size, np.float32), 0
        for a, b in spans(schema):
            ends, end = np.frombuffer(body, "<f4", 2, at), at + 8 + packing.packed(b - a, self.bits)
            finite(self, ends)
            codes = packing.unpack(memoryview(body)[at + 8 : end], self.bits, b - a)
            out[a:b] = to_float32(float(ends[0]) + float(ends[1]) * codes.astype(np.float64))
            at = end
        return out


def _at_least(x: float) -> "np.float32":
    """The smallest float32 that is not below ``x``."""
    y = np.float32(min(x, float(np.finfo(np.float32).max)))
    return np.nextafter(y, np.float32(np.inf)) if float(y) < x else y
