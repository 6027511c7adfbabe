"""Which k of n coordinates: a bitmap, plain numbers, or Golomb-Rice gaps, whichever is shortest.

The first byte says which: 255 bitmap (n bits), 254 numbers (ceil(log2 n) bits each), else b, the bits of a Rice code:
a gap g (numbers skipped since the last one) is g >> b in unary, low bits apart. The unary part is a stream of zeros and
closing ones, preceded by its length in bytes (uint32), followed by the low parts, b bits each. With share p = k/n,

    b = max(0, 1 + floor(log2(ln(phi - 1)/ln(1 - p)))),  phi = (sqrt(5) + 1)/2

is best for independent positions (Sattler et al., "Robust and communication-efficient federated learning from non-iid
data", 2019, arXiv 1903.02891, eq. 15-16): 8.1 bits per position at 1 %, and a bitmap is shorter above p = 0.382.
"""

from math import floor, log, log1p, log2, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hocket.codec import bits
from hocket.errors import InvalidInput

BITMAP, NUMBERS = 255, 254
Positions = NDArray[np.int64]


def rice(n: int, k: int) -> int:
    """Bits of the low part of a gap."""
    if not 0 < k < n:
        return 0
    return min(max(0, 1 + floor(log2(log((sqrt(5) + 1) / 2 - 1) / log1p(-k / n)))), 31)


def bound(n: int, k: int) -> int:
    """Bytes that the positions never exceed."""
    return 1 + min((n + 7) // 8, bits.packed(k, _width(n)))


def encode(at: Positions, n: int) -> bytes:
    """Bytes of ascending positions below ``n``."""
    k, b = len(at), rice(n, len(at))
    gaps = np.diff(at, prepend=-1) - 1
    highs = gaps >> b
    unary = k + int(highs.sum())
    options = {
        BITMAP: (n + 7) // 8,
        NUMBERS: bits.packed(k, _width(n)),
        b: 4 + (unary + 7) // 8 + (bits.packed(k, b) if b else 0),
    }
    kind = min(options, key=lambda o: (options[o], -o))
    if kind == BITMAP:
        stream = np.zeros(n, np.uint8)
        stream[at] = 1
        return bytes([kind]) + bits.pack(stream, 1)
    if kind == NUMBERS:
        return bytes([kind]) + bits.pack(at.astype(np.uint32), _width(n))
    stream = np.zeros(unary, np.uint8)
    stream[np.cumsum(highs + 1) - 1] = 1
    high = bits.pack(stream, 1)
    low = bits.pack((gaps & ((1 << b) - 1)).astype(np.uint32), b) if b else b""
    return bytes([b]) + len(high).to_bytes(4, "little") + high + low


def decode(data: Any, n: int, k: int) -> tuple[Positions, int]:
    """The positions, and how many bytes of ``data`` they took.

    Raises:
        InvalidInput: these are not k ascending positions below n.
    """
    view = memoryview(data)
    if not view:
        raise InvalidInput("positions: no bytes")
    kind = view[0]
    if kind == BITMAP:
        end = 1 + (n + 7) // 8
        at = np.flatnonzero(bits.unpack(view[1:end], 1, n))
    elif kind == NUMBERS:
        end = 1 + bits.packed(k, _width(n))
        at = bits.unpack(view[1:end], _width(n), k).astype(np.int64)
    else:
        at, end = _gaps(view, kind, n, k)
    if len(at) != k or (k and (at[-1] >= n or (np.diff(at) <= 0).any())):
        raise InvalidInput(f"positions: not {k} ascending numbers below {n}")
    return at, end


def _gaps(view: memoryview, b: int, n: int, k: int) -> tuple[Positions, int]:
    if b != rice(n, k) or len(view) < 5:
        raise InvalidInput(f"positions: coding {b}; {k} of {n} have {BITMAP}, {NUMBERS} or {rice(n, k)}")
    length = int.from_bytes(view[1:5], "little")
    if length > (k + (n >> b) + 7) // 8:
        raise InvalidInput(f"positions: {length} bytes of gaps; {k} of {n} take no more than {(k + (n >> b) + 7) // 8}")
    middle = 5 + length
    end = middle + (bits.packed(k, b) if b else 0)
    if len(view) < end:
        raise InvalidInput(f"positions: {len(view)} bytes of {end}")
    ones = np.flatnonzero(np.unpackbits(np.frombuffer(view[5:middle], np.uint8), bitorder="little"))
    if len(ones) != k:
        raise InvalidInput(f"positions: {len(ones)} gaps, not {k}")
    gaps = (np.diff(ones, prepend=-1) - 1) << b
    if b:
        gaps |= bits.unpack(view[middle:end], b, k).astype(np.int64)
    return np.cumsum(gaps + 1) - 1, end


def _width(n: int) -> int:
    return max(1, (n - 1).bit_length())
