"""EDEN: rotate at random, round to the best centroids for normal values, scale so that the rotation undoes the bias.

    z = H D x / ||x||,  c_i = the centroid nearest to z_i,  Q(x) = f D H c,
    f = ||x|| / <z, c>  (scale "unbiased")    or    f = ||x|| <z, c> / (d ||c||^2)  ("least_squares")

for blocks of d values: H is the d x d Hadamard matrix, D random signs (drawn once per message), and the centroids are
those of Lloyd and Max for the normal law. One bit is DRIVE. With a uniformly random rotation the first scale is
unbiased with error pi/2 - 1 = 0.571 (1 bit), 0.133, 0.036, 0.0096 (4 bits) of ||x||^2; a Hadamard matrix comes close to
that but does not prove it, so neither is promised here. The second scale projects x, so it is a contraction at any
width: ||Q(x) - x||^2 = (1 - cos^2(z, c)) ||x||^2, at most 1 - 1/d, and 0.363, 0.117, 0.035, 0.0095 for most x.

A last block that is not full is padded to the next power of two. Body: the seed of the signs (8 bytes), f for each
block (float32), then the centroids' numbers.

Vargaftik et al., "DRIVE", NeurIPS 2021 (arXiv 2105.08339); Vargaftik et al., "EDEN", ICML 2022 (arXiv 2108.08842).
"""

from functools import cache
from itertools import pairwise
from math import inf
from typing import Any, ClassVar, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.codec import bits as packing
from hocket.codec.body import bits_of, exactly, finite, to_float32
from hocket.errors import InvalidInput
from hocket.schema import Schema, Vector
from hocket.strategy import policy

_UPPER = {
    1: (0.7978846,),
    2: (0.45278, 1.5104176),
    3: (0.2450942, 0.7560053, 1.3439093, 2.1519457),
    4: (0.128395, 0.3880483, 0.6567591, 0.9423405, 1.2562312, 1.6180464, 2.0690172, 2.7325896),
}
"""Positive centroids of the standard normal law (Max, "Quantizing for minimum distortion", 1960); the others mirror."""
Space = tuple[NDArray[np.float32], NDArray[np.float32]]
_MOST = np.float32(np.finfo(np.float32).max)
_COLUMNS = 1 << 16  # values rotated at once


@policy("codec")
class EDEN(Struct, frozen=True, tag="eden", tag_field="kind", forbid_unknown_fields=True):
    """``bits`` (1 to 4) per value after rotating blocks of ``block`` (a power of two) values.

    >>> EDEN(bits=1).block
    1024
    """

    bits: int = 4
    block: int = 1024
    scale: Literal["unbiased", "least_squares"] = "unbiased"
    id: ClassVar[int] = 14
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    def __post_init__(self) -> None:
        bits_of(self, self.bits, most=4)
        if self.block < 1 or self.block & (self.block - 1) or self.block > 1 << 20:
            raise InvalidInput(f"eden.block = {self.block}: must be a power of two, 2**20 at most")

    def size(self, schema: Schema) -> tuple[int, bool]:
        n = schema.size
        return 8 + 4 * -(-n // self.block) + packing.packed(self._padded(n), self.bits), True

    def _padded(self, n: int) -> int:
        rest = n % self.block
        return n - rest + (1 << (rest - 1).bit_length() if rest else 0)

    def distortion(self, schema: Schema) -> float:
        d = min(self.block, self._padded(schema.size))
        return (1 - 1 / d if d else 0.0) if self.scale == "least_squares" else inf

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        n, d, seed = x.size, self.block, key & (1 << 64) - 1
        factors, codes = np.empty(-(-n // d), np.float32), np.empty(self._padded(n), np.uint8)
        signs, space = _signs(seed, d), _space(self, n)
        for at, end, width in self._grids(n):
            rows = x[at:end] if end <= n else np.append(x[at:], np.zeros(end - n, np.float32))
            factors[at // d : -(-end // d)] = self._grid(rows.reshape(-1, width), signs[:width], codes[at:end], space)
        return b"".join((seed.to_bytes(8, "little"), factors.astype("<f4").tobytes(), packing.pack(codes, self.bits)))

    def _grids(self, n: int) -> list[tuple[int, int, int]]:
        """(first value, behind the last, block length) of blocks of one length to be rotated together."""
        d, whole, end = self.block, n - n % self.block, self._padded(n)
        step = max(1, _COLUMNS // d) * d
        out = [(at, min(at + step, whole), d) for at in range(0, whole, step)]
        return [*out, (whole, end, end - whole)] if end > whole else out

    def _grid(
        self, rows: NDArray[np.float32], signs: NDArray[np.float32], codes: NDArray[np.uint8], space: Space
    ) -> Vector:
        """Rotate rows and write their centroids' numbers; the factors f."""
        d, upper = rows.shape[1], _UPPER[self.bits]
        norms = _norms(self, rows)
        tiny = (norms > 0) & (norms < 1e-30)
        if tiny.any():  # one over them would overflow
            rows = np.where(tiny[:, None], rows * np.float32(2.0**100), rows)
        lifted = np.where(tiny, norms * 2.0**100, norms)
        units = np.divide(1, lifted, out=np.zeros_like(lifted), where=lifted > 0).astype(np.float32)
        a, b = (m[: rows.size].reshape(d, -1) for m in space)
        np.multiply(rows.T, units, out=a)
        a *= signs[:, None]
        z = hadamard(a, b)
        number = (z > 0).astype(np.uint8)
        for low, high in pairwise(upper):
            t = np.float32((low + high) / 2)
            number += (z > t).view(np.uint8)
            number += (z > -t).view(np.uint8)
        c = _values(packing.pack(number.ravel(), self.bits), self.bits, z.size).reshape(z.shape)
        agree = np.multiply(z, c, out=z).sum(axis=0).astype(np.float64)
        if self.scale == "unbiased":
            f = np.divide(norms, agree, out=np.zeros_like(norms), where=agree > 0)
        else:
            f = norms * agree / (d * np.multiply(c, c, out=c).sum(axis=0).astype(np.float64))
        codes.reshape(-1, d)[:] = number.T
        return to_float32(f)

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        n, d, out = schema.size, self.block, np.empty(self._padded(schema.size), np.float32)
        factors = np.frombuffer(body, "<f4", -(-n // d), 8).astype(np.float32)
        finite(self, factors)
        if factors.size and factors.min() < 0:
            raise InvalidInput("codec eden: a factor below zero")
        stream = memoryview(body)[8 + 4 * len(factors) :]
        packing.check(stream, self.bits, len(out))
        signs, space = _signs(int.from_bytes(body[:8], "little"), d), _space(self, n)
        for at, end, width in self._grids(n):
            c = _values(stream[at * self.bits // 8 : -(-end * self.bits // 8)], self.bits, end - at)
            one, other = (m[: end - at].reshape(width, -1) for m in space)
            np.copyto(one, c.reshape(-1, width).T)
            x = hadamard(one, other)
            with np.errstate(over="ignore"):
                x *= signs[:width, None]
                x *= factors[at // d : -(-end // d)]
            if not np.isfinite(x).all():
                x.clip(-_MOST, _MOST, out=x)
            out[at:end].reshape(-1, width)[:] = x.T
        return out[:n]


def hadamard(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """H times every column of ``a`` (d, a power of two, by any number), by sums and differences.

    The result is in ``a`` or in ``b``, of the same shape; the other holds nothing of use then.
    """
    d, count = a.shape
    half = 1
    while half < d:
        source, target = (m.reshape(d // (2 * half), 2, half * count) for m in (a, b))
        np.add(source[:, 0], source[:, 1], out=target[:, 0])
        np.subtract(source[:, 0], source[:, 1], out=target[:, 1])
        a, b, half = b, a, 2 * half
    return a


def _space(codec: EDEN, n: int) -> Space:
    """Two buffers for the values that are rotated at once."""
    most = max((end - at for at, end, _ in codec._grids(n)), default=0)
    return np.empty(most, np.float32), np.empty(most, np.float32)


@cache
def _table(bits: int) -> NDArray[np.float32]:
    """The centroids that a packed byte stands for, float32[256, 8 / bits] (of 3 bits: those of a number)."""
    centroids = np.array([*(-c for c in reversed(_UPPER[bits])), *_UPPER[bits]], np.float32)
    if bits == 3:
        return centroids
    each = 8 // bits
    return np.asarray(centroids[np.arange(256)[:, None] >> bits * np.arange(each) & (1 << bits) - 1])


def _values(packed: Any, bits: int, count: int) -> NDArray[np.float32]:
    """The centroids of packed numbers, float32[count]."""
    if bits == 3:
        return _table(3).take(packing.unpack(packed, 3, count))
    table, numbers = _table(bits), np.frombuffer(packed, np.uint8)
    if bits == 1:
        return table.take(numbers, axis=0).ravel()[:count]
    rows = table.view(np.uint64 if bits == 4 else np.complex128).ravel().take(numbers)  # one number per row: faster
    return rows.view(np.float32)[:count]


def _norms(codec: EDEN, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Norms of the rows."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows).astype(np.float64)
    for i in np.flatnonzero(~((squares > 1e-30) & (squares < 1e37))):
        row = rows[i].astype(np.float64)
        finite(codec, row)
        squares[i] = float(np.add.reduce(row * row))
    return np.asarray(np.sqrt(squares))


def _signs(seed: int, count: int) -> NDArray[np.float32]:
    """Random +1 and -1, a function of the seed."""
    words = np.random.SFC64(seed).random_raw(-(-count // 64) or 1).astype("<u8")
    return 1.0 - 2.0 * np.unpackbits(words.view(np.uint8), count=count).astype(np.float32)
