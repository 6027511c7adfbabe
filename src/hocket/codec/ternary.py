"""One sign and one magnitude per tensor: TernGrad's random {-m, 0, m}, and the scaled sign.

    Ternary:  Q(x)_i = m sign(x_i) b_i,  m = max |x|,  P(b_i = 1) = |x_i|/m    five values to a byte, 3^5 = 243
    Sign:     Q(x)_i = m sign(x_i),      m = mean |x|                          eight values to a byte

Ternary is unbiased with E||Q(x) - x||^2 = m ||x||_1 - ||x||^2 <= (sqrt(n) - 1) ||x||^2: no contraction. Sign is biased
and one: ||Q(x) - x||^2 = (1 - ||x||_1^2/(n ||x||^2)) ||x||^2 <= (1 - 1/n) ||x||^2. It is what sparse ternary
compression sends of the values that it keeps. Body: for each tensor m as float32, then its digits.

Wen et al., "TernGrad", NIPS 2017 (arXiv 1705.07878); Bernstein et al., "signSGD", ICML 2018 (arXiv 1802.04434).
"""

from math import sqrt
from typing import Any, ClassVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.codec.body import exactly, finite, spans, to_float32
from hocket.codec.dither import Dither
from hocket.errors import InvalidInput
from hocket.schema import Schema, Vector
from hocket.strategy import policy

_POWERS = np.array([1, 3, 9, 27, 81], np.uint8)
_DIGITS = (np.arange(243)[:, None] // _POWERS % 3).astype(np.uint8)


@policy("codec")
class Ternary(Struct, frozen=True, tag="ternary", tag_field="kind", forbid_unknown_fields=True):
    """Random ternary values."""

    id: ClassVar[int] = 6
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = True
    merges: ClassVar[bool] = False

    def size(self, schema: Schema) -> tuple[int, bool]:
        return sum(4 - (a - b) // 5 for a, b in spans(schema)), True

    def distortion(self, schema: Schema) -> float:
        return max((sqrt(b - a) - 1 for a, b in spans(schema)), default=0.0)

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        finite(self, x)
        dither, out = Dither(key), []
        for a, b in spans(schema):
            part = x[a:b].astype(np.float64)
            most = float(np.abs(part).max())
            q = dither.round(part / most if most else part).clip(-1, 1) + 1
            digits = np.ones(-(-(b - a) // 5) * 5, np.uint8)
            digits[: b - a] = q
            out += [np.array(most, "<f4").tobytes(), (digits.reshape(-1, 5) @ _POWERS).astype(np.uint8).tobytes()]
        return b"".join(out)

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        out, at = np.empty(schema.size, np.float32), 0
        for a, b in spans(schema):
            scale, count = _scale(self, body, at), -(-(b - a) // 5)
            fives = np.frombuffer(body, np.uint8, count, at + 4)
            if fives.max() > 242:
                raise InvalidInput(f"codec ternary: a byte of {fives.max()}; five ternary digits are at most 242")
            digits = _DIGITS[fives].reshape(-1)
            if (digits[b - a :] != 1).any():
                raise InvalidInput("codec ternary: digits are set after the last value")
            out[a:b] = (digits[: b - a].astype(np.float32) - np.float32(1)) * scale
            at += 4 + count
        return out


@policy("codec")
class Sign(Struct, frozen=True, tag="sign", tag_field="kind", forbid_unknown_fields=True):
    """Signs at the mean magnitude."""

    id: ClassVar[int] = 7
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    def size(self, schema: Schema) -> tuple[int, bool]:
        return sum(4 + (b - a + 7) // 8 for a, b in spans(schema)), True

    def distortion(self, schema: Schema) -> float:
        return max((1 - 1 / (b - a) for a, b in spans(schema)), default=0.0)

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        finite(self, x)
        out = []
        for a, b in spans(schema):
            mean = to_float32(np.abs(x[a:b].astype(np.float64)).mean(keepdims=True))
            out += [mean.astype("<f4").tobytes(), np.packbits(x[a:b] < 0, bitorder="little").tobytes()]
        return b"".join(out)

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        out, at = np.empty(schema.size, np.float32), 0
        for a, b in spans(schema):
            scale, count = _scale(self, body, at), (b - a + 7) // 8
            stream = np.frombuffer(body, np.uint8, count, at + 4)
            if (spare := 8 * count - (b - a)) and stream[-1] >> (8 - spare):
                raise InvalidInput("codec sign: bits are set after the last value")
            out[a:b] = np.where(np.unpackbits(stream, count=b - a, bitorder="little") == 1, -scale, scale)
            at += 4 + count
        return out


def _scale(codec: Ternary | Sign, body: Any, at: int) -> np.float32:
    scale: NDArray[np.float32] = np.frombuffer(body, "<f4", 1, at).astype(np.float32)
    finite(codec, scale)
    if scale[0] < 0:
        raise InvalidInput(f"codec {codec.__struct_config__.tag}: a magnitude below zero")
    return np.float32(scale[0])
