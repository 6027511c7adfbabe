"""QSGD: each value is rounded at random to one of 2s + 1 multiples of its bucket's norm over s.

    Q(v)_i = (||v|| / s) xi_i,  xi_i = floor(s v_i / ||v|| + u_i),  u_i uniform on [0, 1),  v a bucket of d values

| symbol | field | meaning |
|---|---|---|
| s | ``levels`` | positive levels; as many as ``bits`` hold (2^(bits-1) - 1) if left out |
|  | ``bits`` | bits per value |
| d | ``bucket`` | values that share a norm; None: all |

E Q(v) = v, and E||Q(v) - v||^2 <= omega ||v||^2 with omega = min(d/(4 s^2), sqrt(d)/s): a value lies between two levels
||v||/s apart, so its variance is at most a quarter of that squared. With ``shrink`` the output is Q(v)/(1 + omega):
biased, and a contraction for any s, E||.|| ^2 <= omega/(1 + omega) ||v||^2.

Body: a float32 norm per bucket, then xi + s in ``bits`` bits each.

Alistarh, Grubic, Li, Tomioka, Vojnovic, "QSGD: communication-efficient SGD via gradient quantization and encoding",
NIPS 2017 (arXiv 1610.02132).
"""

from math import sqrt
from typing import Any, ClassVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.codec import bits as packing
from hocket.codec.body import bits_of, exactly, finite
from hocket.codec.dither import BLOCK, Dither
from hocket.errors import InvalidInput
from hocket.schema import Schema, Vector
from hocket.strategy import policy

_ROUND_UP = 1.0 + 2.0**-15  # a norm in single precision never falls short of the largest value
_LARGEST = float(np.finfo(np.float32).max)
_PART = 4096  # values whose squares are summed at once
_PLAIN = 1e-30, 1e37  # sums of squares within are as good as exact in single precision


@policy("codec")
class QSGD(Struct, frozen=True, tag="qsgd", tag_field="kind", forbid_unknown_fields=True):
    """Stochastic uniform quantization by buckets.

    >>> QSGD(bits=4).s, QSGD(levels=5).width
    (7, 4)
    """

    bits: int = 4
    bucket: int | None = 128
    levels: int | None = None
    shrink: bool = False
    id: ClassVar[int] = 3
    lossless: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    def __post_init__(self) -> None:
        bits_of(self, self.bits, least=2)
        if self.bucket is not None and self.bucket < 1:
            raise InvalidInput(f"qsgd.bucket = {self.bucket}: must be 1 or more values, or left out for one bucket")
        if self.levels is not None and not 1 <= self.levels < 1 << 15:
            raise InvalidInput(f"qsgd.levels = {self.levels}: must be from 1 to {(1 << 15) - 1}")

    @property
    def s(self) -> int:
        """Positive levels."""
        return (1 << (self.bits - 1)) - 1 if self.levels is None else self.levels

    @property
    def width(self) -> int:
        """Bits per value on the wire."""
        return (2 * self.s).bit_length()

    @property
    def unbiased(self) -> bool:
        return not self.shrink

    def omega(self, d: int) -> float:
        """Variance of a bucket of ``d`` values over its squared norm, at most."""
        return min(d / (4.0 * self.s**2), sqrt(d) / self.s)

    def distortion(self, schema: Schema) -> float:
        omega = self.omega(self._largest(schema.size))
        return omega / (1.0 + omega) if self.shrink else omega

    def size(self, schema: Schema) -> tuple[int, bool]:
        return 4 * self._buckets(schema.size) + packing.packed(schema.size, self.width), True

    def _largest(self, n: int) -> int:
        return min(n, self.bucket or n)

    def _buckets(self, n: int) -> int:
        return -(-n // (self.bucket or n)) if n else 0

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        n, d = x.size, self._largest(x.size)
        if not n:
            return b""
        norms = np.empty(self._buckets(n), np.float32)
        codes = np.empty(n, packing.dtype(self.width))
        whole = n // d * d
        rounding = _Rounding(self.s, key, min(n, BLOCK))
        for first, last, width in ((0, whole, d), (whole, n, n - whole)):
            rows = max(1, BLOCK // width) if width else 1
            for at in range(first, last, rows * width or 1):
                end = min(at + rows * width, last)
                grid = x[at:end].reshape(-1, width)
                norm = norms[at // d : at // d + len(grid)]
                norm[:] = self._norms(grid)
                rounding.levels(grid, norm, codes[at:end].reshape(grid.shape))
        return norms.astype("<f4", copy=False).tobytes() + packing.pack(codes, self.width)

    def _norms(self, grid: NDArray[np.float32]) -> NDArray[np.float32]:
        """Norms of the rows, never below the largest value in them."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            squares = _squares(grid)
            norms: NDArray[np.float32] = np.sqrt(squares) * np.float32(_ROUND_UP)
        plain = (squares > _PLAIN[0]) & (squares < _PLAIN[1])
        if not plain.all():
            for i in np.flatnonzero(~plain):
                row = grid[i].astype(np.float64)
                finite(self, row)
                exact = sqrt(float(np.add.reduce(row * row))) * _ROUND_UP
                norms[i] = min(exact + (2.0**-149 if exact else 0.0), _LARGEST)
        return norms

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        n, s = schema.size, self.s
        buckets, d = self._buckets(n), self._largest(n)
        if not n:
            return np.empty(0, np.float32)
        norms = np.frombuffer(body, "<f4", buckets)
        finite(self, norms)
        if norms.min() < 0:
            raise InvalidInput("codec qsgd: a norm below zero")
        codes = packing.unpack(memoryview(body)[4 * buckets :], self.width, n)
        if 2 * s + 1 < 1 << self.width and int(codes.max()) > 2 * s:
            raise InvalidInput(f"codec qsgd: level {int(codes.max())}; there are {2 * s + 1}")
        shrink = 1.0 + self.omega(d) if self.shrink else 1.0
        unit = (norms.astype(np.float64) / (s * shrink)).astype(np.float32)
        np.minimum(unit, np.nextafter(np.float32(_LARGEST / s), np.float32(0)), out=unit)  # s of them are no infinity
        out = np.empty(n, np.float32)
        whole = n // d * d
        step = max(1, BLOCK // d)
        for at in range(0, whole, step * d):
            end = min(at + step * d, whole)
            part = out[at:end]
            np.subtract(codes[at:end], np.float32(s), out=part, dtype=np.float32)
            grid = part.reshape(-1, d)
            grid *= unit[at // d : at // d + len(grid), None]
        if whole < n:
            out[whole:] = (codes[whole:].astype(np.float32) - np.float32(s)) * unit[-1]
        return out


def _squares(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums of squares of the rows; long ones by parts, so that they keep their precision."""
    width = grid.shape[1]
    if width <= _PART:
        return np.asarray(np.einsum("ij,ij->i", grid, grid))
    whole = width // _PART * _PART
    parts = grid[:, :whole].reshape(len(grid), -1, _PART)
    total = np.einsum("ijk,ijk->ij", parts, parts).sum(axis=1, dtype=np.float64)
    rest = grid[:, whole:]
    return np.asarray(total + np.einsum("ij,ij->i", rest, rest), np.float32)


class _Rounding:
    """Values to random levels, counted from -s, block by block in buffers that are used again."""

    def __init__(self, s: int, key: int, most: int) -> None:
        self._s, self._dither = s, Dither(key)
        self._kind = np.dtype(np.float32 if s <= 127 else np.float64)
        self._y, self._u = np.empty(most, self._kind), np.empty(most, self._kind)

    def levels(
        self, grid: NDArray[np.float32], norms: NDArray[np.float32], out: NDArray[np.unsignedinteger[Any]]
    ) -> None:
        """Rows of a grid to rows of levels."""
        full, tiny = 256.0 * self._s, norms < 1e-35
        with np.errstate(divide="ignore"):
            scale = np.where(tiny, 0.0, full / norms.astype(np.float64))
        odd = [(i, full / float(norms[i])) for i in np.flatnonzero(tiny & (norms > 0))]
        columns = scale.astype(self._kind)[:, None]
        for left in range(0, grid.shape[1], BLOCK):
            piece = grid[:, left : left + BLOCK]
            y, u = (a[: piece.size].reshape(piece.shape) for a in (self._y, self._u))
            np.multiply(piece, columns, out=y, dtype=self._kind)
            for i, factor in odd:
                y[i] = piece[i].astype(np.float64) * factor
            b, v = self._dither.block(piece.size)
            np.copyto(u, b.reshape(piece.shape))
            u += self._kind.type(v + full)
            y += u
            y *= self._kind.type(1 / 256)
            np.copyto(out[:, left : left + BLOCK], y, casting="unsafe")
