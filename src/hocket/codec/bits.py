"""Unsigned integers of 1 to 32 bits, packed without gaps.

Up to 8 bits wide: value i occupies bits i*w to (i+1)*w - 1 of a little-endian bit stream. Wider: the low 8 bits (or 16,
beyond 16) of all values as they are, then their high parts packed in the same way. Bits after the last value are zero.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hocket.errors import InvalidInput

Codes = NDArray[np.unsignedinteger[Any]]


def packed(count: int, width: int) -> int:
    """Bytes that ``count`` values of ``width`` bits take."""
    if width in (8, 16, 32):
        return count * (width // 8)
    if width > 8:
        low = 16 if width > 16 else 8
        return count * (low // 8) + packed(count, width - low)
    return (count * width + 7) // 8


def dtype(width: int) -> np.dtype[Any]:
    """The smallest type that holds ``width`` bits."""
    return np.dtype("<u1" if width <= 8 else "<u2" if width <= 16 else "<u4")


def pack(codes: Codes, width: int) -> bytes:
    """Bytes of unsigned integers (1-d, contiguous, all below 2**width); ``packed(len(codes), width)`` of them."""
    codes = codes.astype(dtype(width), copy=False)
    if width in (8, 16, 32):
        return codes.tobytes()
    if width > 8:
        low = dtype(16 if width > 16 else 8)
        high = codes >> np.array(8 * low.itemsize, codes.dtype)
        return codes.astype(low).tobytes() + pack(high, width - 8 * low.itemsize)
    if width == 1:
        return np.packbits(codes, bitorder="little").tobytes()
    return _pack_even(codes, width) if width in (2, 4) else _pack_odd(codes, width)


def _pack_even(codes: Codes, width: int) -> bytes:
    """2 or 4 bits: neighbours are joined two at a time, as halves of a wider integer."""
    while width < 8:
        if len(codes) % 2:
            codes = np.append(codes, np.zeros(1, np.uint8))
        pairs = codes.view("<u2")
        codes = (pairs | pairs >> np.uint16(8 - width)).astype(np.uint8)
        width *= 2
    return codes.tobytes()


def _pack_odd(codes: Codes, width: int) -> bytes:
    """3, 5, 6 or 7 bits: eight values fill ``width`` bytes of a 64-bit word."""
    count = len(codes)
    if count % 8:
        codes = np.append(codes, np.zeros(-count % 8, np.uint8))
    columns = codes.reshape(-1, 8)
    words = np.zeros(len(columns), "<u8")
    for i in range(8):
        words |= columns[:, i].astype("<u8") << np.uint64(i * width)
    stream = words.view(np.uint8).reshape(-1, 8)[:, :width]
    return stream.tobytes()[: packed(count, width)]


def unpack(data: Any, width: int, count: int) -> Codes:
    """``count`` unsigned integers (of the smallest type) from bytes.

    Raises:
        InvalidInput: not ``packed(count, width)`` bytes, or bits are set after the last value.
    """
    check(data, width, count)
    kind = dtype(width)
    if width in (8, 16, 32):
        return np.frombuffer(data, kind)
    if width > 8:
        low = dtype(16 if width > 16 else 8)
        at = count * low.itemsize
        high = unpack(memoryview(data)[at:], width - 8 * low.itemsize, count).astype(kind)
        codes: Codes = np.frombuffer(data, low, count).astype(kind)
        codes |= high << np.array(8 * low.itemsize, kind)
        return codes
    stream = np.frombuffer(data, np.uint8)
    if width == 1:
        return np.unpackbits(stream, count=count, bitorder="little")
    return (_unpack_even(stream, width) if width in (2, 4) else _unpack_odd(stream, width, count))[:count]


def check(data: Any, width: int, count: int) -> None:
    """Refuse what is not ``count`` packed values.

    Raises:
        InvalidInput: not ``packed(count, width)`` bytes, or bits are set after the last value.
    """
    if len(data) != packed(count, width):
        raise InvalidInput(f"{len(data)} bytes of packed values; {count} of {width} bits take {packed(count, width)}")
    if width < 8 and (spare := 8 * len(data) - count * width) and data[-1] >> (8 - spare):
        raise InvalidInput("bits are set after the last of the packed values")


def _unpack_even(stream: Codes, width: int) -> Codes:
    half = 4
    while half >= width:
        wide = stream.astype("<u2")
        mask = np.uint16((1 << half) - 1)
        wide |= wide << np.uint16(8 - half)
        wide &= mask | mask << np.uint16(8)
        stream = wide.view(np.uint8)
        half //= 2
    return stream


def _unpack_odd(stream: Codes, width: int, count: int) -> Codes:
    groups = -(-count // 8)
    padded = np.zeros((groups, 8), np.uint8)
    full = np.zeros(groups * width, np.uint8)
    full[: len(stream)] = stream
    padded[:, :width] = full.reshape(-1, width)
    words = padded.view("<u8").ravel()
    mask = np.uint64((1 << width) - 1)
    out = np.empty((groups, 8), np.uint8)
    for i in range(8):
        out[:, i] = words >> np.uint64(i * width) & mask
    return out.ravel()
