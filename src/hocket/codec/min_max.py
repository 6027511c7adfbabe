"""Affine quantization between the extremes: each weight tensor to the nearest of 2^bits points, one of them zero.

    q_i = clip(round(x_i / D) + z, 0, L),  Q(x)_i = D (q_i - z)
    D = (max(x, 0) - min(x, 0))/L,  z = round(-min(x, 0)/D)

with L = 2^bits - 1: deterministic and biased. No value moves by more than D/2, nor by more than itself (zero is a point
of the grid), so ||Q(x) - x||^2 <= min(n/(2 L^2), 1 - (1 - 1/L^2)/n) ||x||^2. Tensors of one dimension or none (biases,
scales) travel as float32. Body: for each other tensor D as float64, z as int32, then the q_i, tensors from whole bytes.

This is the quantizer behind QAFeL's published neural-network figures (FLSim's ScalarQuantizationChannel); its sizes are
theirs to the byte.
"""

from typing import Any, ClassVar

import numpy as np
from msgspec import Struct

from hocket.codec import bits as packing
from hocket.codec.body import bits_of, exactly, finite, to_float32
from hocket.errors import InvalidInput
from hocket.schema import Schema, Segment, Vector
from hocket.strategy import policy

_HEAD = np.dtype([("step", "<f8"), ("zero", "<i4")])


@policy("codec")
class MinMax(Struct, frozen=True, tag="min_max", tag_field="kind", forbid_unknown_fields=True):
    """Nearest point of an even grid per weight tensor."""

    bits: int = 4
    id: ClassVar[int] = 5
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    def __post_init__(self) -> None:
        bits_of(self, self.bits)

    @property
    def levels(self) -> int:
        """Steps of the grid."""
        return (1 << self.bits) - 1

    def size(self, schema: Schema) -> tuple[int, bool]:
        return sum(self._bytes(s) for s in schema.travelling), True

    def _bytes(self, s: Segment) -> int:
        return 4 * s.size if _raw(s) else _HEAD.itemsize + packing.packed(s.size, self.bits)

    def distortion(self, schema: Schema) -> float:
        sizes = [s.size for s in schema.travelling if not _raw(s)]
        return max((min(n / (2.0 * self.levels**2), 1 - (1 - self.levels**-2) / n) for n in sizes), default=0.0)

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        finite(self, x)
        out, at = [], 0
        for s in schema.travelling:
            part, at = x[at : at + s.size], at + s.size
            if _raw(s):
                out.append(part.astype("<f4").tobytes())
                continue
            low, high = min(float(part.min()), 0.0), max(float(part.max()), 0.0)
            step = (high - low) / self.levels
            zero = round(-low / step) if step else 0
            q = np.rint(part.astype(np.float64) / step if step else np.zeros(s.size)) + zero
            codes = q.clip(0, self.levels).astype(packing.dtype(self.bits))
            out += [np.array((step, zero), _HEAD).tobytes(), packing.pack(codes, self.bits)]
        return b"".join(out)

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        out, view, at, first = np.empty(schema.size, np.float32), memoryview(body), 0, 0
        for s in schema.travelling:
            part, first = out[first : first + s.size], first + s.size
            end = at + self._bytes(s)
            if _raw(s):
                part[:] = np.frombuffer(view[at:end], "<f4")
            else:
                step, zero = np.frombuffer(view, _HEAD, 1, at)[0].tolist()
                if not 0 <= step <= 1e39 or not 0 <= zero <= self.levels:
                    raise InvalidInput(f"codec min_max: step {step}, zero point {zero}; at most 1e39 and {self.levels}")
                codes = packing.unpack(view[at + _HEAD.itemsize : end], self.bits, s.size)
                part[:] = to_float32((codes.astype(np.float64) - zero) * step)
            at = end
        finite(self, out)
        return out


def _raw(s: Segment) -> bool:
    """Whether a tensor travels as it is."""
    return len(s.shape) <= 1 or not s.size
