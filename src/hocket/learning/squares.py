"""Squared gradients as a byte per coordinate: what a client uploads so that the server can rank coordinates.

A value v is sent relative to the largest one m: code = round(255 + 8 log2(v/m)), at least 1; 0 stands for 0. Eight
codes an octave are right within 4.4%; what is 32 octaves below the largest counts as that small.
"""

from struct import Struct as Layout
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hocket.errors import InvalidInput

_LARGEST = Layout("<f")


def size(count: int) -> int:
    """Bytes for so many coordinates."""
    return _LARGEST.size + count


def encode(g: NDArray[np.float32]) -> bytes:
    """Bytes of the squares of gradients float32[n].

    >>> decode(encode(np.array([0, 2, -1], np.float32)), 3).tolist()
    [0.0, 4.0, 1.0]
    """
    v = np.square(g, dtype=np.float64)
    top = float(v.max(initial=0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.rint(255 + 8 * np.log2(v / top)) if top > 0 else np.zeros(len(v))
    codes = np.where(v > 0, np.clip(codes, 1, 255), 0).astype(np.uint8)
    return _LARGEST.pack(min(top, 3e38)) + codes.tobytes()


def decode(data: Any, count: int) -> NDArray[np.float64]:
    """The squares, float64[count].

    Raises:
        InvalidInput: these bytes are not of so many coordinates.
    """
    if len(data) != size(count):
        raise InvalidInput(f"squared gradients: {len(data)} bytes; {count} coordinates take {size(count)}")
    (top,) = _LARGEST.unpack_from(data)
    if not 0 <= top < float("inf"):
        raise InvalidInput(f"squared gradients: the largest is {top}; it is 0 or more, and finite")
    codes = np.frombuffer(data, np.uint8, offset=_LARGEST.size).astype(np.float64)
    return np.where(codes > 0, top * np.exp2((codes - 255) / 8), 0.0)
