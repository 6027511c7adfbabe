"""PowerSGD: each matrix as the product of two thin ones, found by one step of power iteration.

    G random m x r;  P = orth(M G),  Q = M^T P,  Q(M) = P Q^T                    for M (n0 x m), r = ``rank``

P Q^T is M projected on the columns of M G: a contraction, E||P Q^T - M||^2 <= (1 - r/m) ||M||^2, since projecting M on
the random rows G already keeps r/m of it. Tensors of more than two dimensions are read as n0 x (the rest); a tensor
whose factors would be no smaller than itself travels as float32. Body: for each tensor P, then Q (columns one after
another), or the tensor. The product is summed rank by rank, element-wise, so that every host gets the same bits.

Vogels, Karimireddy, Jaggi, "PowerSGD", NeurIPS 2019 (arXiv 1905.13727), without warm start.
"""

from typing import Any, ClassVar

import numpy as np
from msgspec import Struct

from hocket.codec.body import exactly, finite, to_float32
from hocket.errors import InvalidInput
from hocket.keyed import generator
from hocket.schema import Schema, Segment, Vector
from hocket.strategy import policy


@policy("codec")
class PowerSGD(Struct, frozen=True, tag="power_sgd", tag_field="kind", forbid_unknown_fields=True):
    """Rank-``rank`` factors of every matrix."""

    rank: int = 4
    id: ClassVar[int] = 12
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InvalidInput(f"power_sgd.rank = {self.rank}: must be 1 or more")

    def size(self, schema: Schema) -> tuple[int, bool]:
        return sum(
            4 * (s.size if (f := self._shape(s)) is None else sum(f) * self.rank) for s in schema.travelling
        ), True

    def _shape(self, s: Segment) -> tuple[int, int] | None:
        """Rows and columns of a tensor that is sent as factors."""
        if len(s.shape) < 2 or not s.size:
            return None
        rows, columns = s.shape[0], s.size // s.shape[0]
        return (rows, columns) if (rows + columns) * self.rank < s.size else None

    def distortion(self, schema: Schema) -> float:
        shapes = [f for s in schema.travelling if (f := self._shape(s)) is not None]
        return max((1 - self.rank / columns for _, columns in shapes), default=0.0)

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        finite(self, x)
        rng, out, at = generator(key), [], 0
        for s in schema.travelling:
            part, at = x[at : at + s.size], at + s.size
            shape = self._shape(s)
            if shape is None:
                out.append(part.astype("<f4").tobytes())
                continue
            matrix = part.reshape(shape).astype(np.float64)
            scale = float(np.abs(matrix).max()) or 1.0
            p, _ = np.linalg.qr(matrix / scale @ rng.standard_normal((shape[1], self.rank)))
            p = p.astype(np.float32)
            q = to_float32(matrix.T @ p.astype(np.float64))
            out += [p.T.astype("<f4").tobytes(), q.T.astype("<f4").tobytes()]
        return b"".join(out)

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        numbers, out, at, first = np.frombuffer(body, "<f4"), np.empty(schema.size, np.float32), 0, 0
        finite(self, numbers)
        for s in schema.travelling:
            part, first = out[first : first + s.size], first + s.size
            shape = self._shape(s)
            if shape is None:
                part[:] = numbers[at : at + s.size]
                at += s.size
                continue
            (rows, columns), r = shape, self.rank
            p = numbers[at : at + rows * r].reshape(r, rows).astype(np.float64)
            q = numbers[at + rows * r : at + (rows + columns) * r].reshape(r, columns).astype(np.float64)
            product = np.zeros(shape)
            for i in range(r):
                product += p[i][:, None] * q[i]
            part[:] = to_float32(product.ravel())
            at += (rows + columns) * r
        return out
