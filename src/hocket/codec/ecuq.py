"""ECUQ, entropy-constrained uniform quantization: an even grid as fine as ``bits`` of entropy per value allow.

    Q(x)_i = a + D round((x_i - a)/D),  a = min x,  D = (max x - min x)/(K - 1)

K is searched so that the entropy of the K symbols lies in (bits - 0.1, bits], in at most 20 steps; the symbols are then
Huffman-coded. A tensor for which no such K is found, or whose code would be no shorter, travels as float32.
Deterministic and biased; ||Q(x) - x||^2 <= n D^2/4 <= n/(2 (K - 1)^2) ||x||^2, where K >= 2^(bits - 0.1), and usually
far above. Body: for each tensor K (uint32; 0: as it is), then a and D (float32), the lengths of the coded planes
(uint32 each) and the planes: the low bytes of the symbols, and the high bytes if K > 256.

Dorfman, Vargaftik, Ben-Itzhak, Levy, "DoCoFL: downlink compression for cross-device federated learning", ICML 2023
(arXiv 2302.00543), section 3.
"""

import zlib
from math import log2
from typing import Any, ClassVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.codec.body import exactly, finite, spans, to_float32
from hocket.errors import InvalidInput
from hocket.schema import Schema, Vector
from hocket.strategy import policy

_SAMPLE = 1 << 16  # values by which K is searched
_MOST = 1 << 16  # symbols
_HEAD = 12  # K, a, D
_LEAST = np.finfo(np.float32).tiny  # below it D has few digits, and K of them are far from max x - min x


@policy("codec")
class ECUQ(Struct, frozen=True, tag="ecuq", tag_field="kind", forbid_unknown_fields=True):
    """About ``bits`` per value after entropy coding.

    >>> ECUQ(bits=2.0).bits
    2.0
    """

    bits: float = 2.0
    id: ClassVar[int] = 11
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0.5 <= self.bits <= 12:
            raise InvalidInput(f"ecuq.bits = {self.bits}: must be from 0.5 to 12")

    def size(self, schema: Schema) -> tuple[int, bool]:
        return sum(4 + 4 * (b - a) for a, b in spans(schema)), False

    def expected(self, schema: Schema) -> int:
        """Bytes if every tensor has the entropy asked for, for sizes where there are no arrays."""
        return sum(_HEAD + 4 + min(round(self.bits * (b - a) / 8), 4 * (b - a)) for a, b in spans(schema))

    def distortion(self, schema: Schema) -> float:
        grid: float = max(self._fewest - 1, 1.0)
        return max((b - a for a, b in spans(schema)), default=0) / (2 * grid**2)

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        finite(self, x)
        return b"".join(self._tensor(x[a:b]) for a, b in spans(schema))

    def _tensor(self, x: Vector) -> bytes:
        low, high = float(x.min()), float(x.max())
        raw = bytes(4) + x.astype("<f4").tobytes()
        k = 1 if low == high else self._levels(x[:: max(1, x.size // _SAMPLE)], low, high)
        if not k:
            return raw
        step = np.float32((high - low) / (k - 1)) if k > 1 else np.float32(0)
        if not np.isfinite(step) or (k > 1 and step < _LEAST):
            return raw
        symbols = np.rint((x.astype(np.float64) - low) / float(step or 1)).clip(0, k - 1).astype("<u2")
        planes = [symbols.astype(np.uint8)] + ([(symbols >> 8).astype(np.uint8)] if k > 256 else [])
        coded = [_huffman(p) for p in planes]
        lengths = np.array([len(c) for c in coded], "<u4").tobytes()
        out = k.to_bytes(4, "little") + np.array([low, step], "<f4").tobytes() + lengths + b"".join(coded)
        return out if len(out) < len(raw) else raw

    def _levels(self, x: Vector, low: float, high: float) -> int:
        """K whose symbols have the entropy asked for; 0 if none was found."""
        y = (x.astype(np.float64) - low) / (high - low)
        least, most = 1, _MOST
        for _ in range(20):
            k = (least + most + 1) // 2
            h = entropy(np.rint(y * (k - 1)))
            if self.bits - 0.1 < h <= self.bits:
                return k
            least, most = (k, most) if h <= self.bits else (least, k - 1)
            if least >= most:
                break
        return least if least >= max(self._fewest, 2) and entropy(np.rint(y * (least - 1))) <= self.bits else 0

    @property
    def _fewest(self) -> float:
        """Levels that are as many as the entropy asked for needs; the error's bound is theirs."""
        return float(2.0 ** (self.bits - 0.1))

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        view, out, at = memoryview(body), np.empty(schema.size, np.float32), 0
        for a, b in spans(schema):
            at = self._read(view, at, out[a:b])
        if at != len(view):
            raise InvalidInput(f"codec ecuq: {len(view) - at} bytes after the last tensor")
        return out

    def _read(self, view: memoryview, at: int, out: Vector) -> int:
        """Fill a tensor from the bytes at ``at``; where the next one begins."""
        k, n = int.from_bytes(_take(view, at, 4), "little"), out.size
        if k == 0:
            out[:] = np.frombuffer(_take(view, at + 4, 4 * n), "<f4")
            finite(self, out)
            return at + 4 + 4 * n
        if k > _MOST:
            raise InvalidInput(f"codec ecuq: {k} levels; there are at most {_MOST}")
        ends = np.frombuffer(_take(view, at + 4, 8), "<f4")
        finite(self, ends)
        planes = 2 if k > 256 else 1
        lengths = np.frombuffer(_take(view, at + _HEAD, 4 * planes), "<u4").tolist()
        at += _HEAD + 4 * planes
        symbols = np.zeros(n, np.int64)
        for i, length in enumerate(lengths):
            symbols |= _plain(_take(view, at, length), n).astype(np.int64) << 8 * i
            at += length
        if symbols.max() >= k:
            raise InvalidInput(f"codec ecuq: symbol {symbols.max()} of {k}")
        out[:] = to_float32(float(ends[0]) + float(ends[1]) * symbols)
        return at


def entropy(symbols: NDArray[np.float64]) -> float:
    """Bits per symbol."""
    counts = np.unique(symbols, return_counts=True)[1]
    return -float(sum(c / symbols.size * log2(c / symbols.size) for c in counts.tolist()))


def _huffman(plane: NDArray[np.uint8]) -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return coder.compress(plane.tobytes()) + coder.flush()


def _plain(coded: memoryview, count: int) -> NDArray[np.uint8]:
    decoder = zlib.decompressobj(-15)
    try:
        data = decoder.decompress(coded, count + 1)
    except zlib.error as e:
        raise InvalidInput(f"codec ecuq: damaged: {e}") from e
    if len(data) != count or not decoder.eof or decoder.unused_data or decoder.unconsumed_tail:
        raise InvalidInput(f"codec ecuq: {len(data)} symbols or more, not {count}")
    return np.frombuffer(data, np.uint8)


def _take(view: memoryview, at: int, count: int) -> memoryview:
    if at + count > len(view):
        raise InvalidInput(f"codec ecuq: {len(view)} bytes; {at + count} or more are needed")
    return view[at : at + count]
