"""GlueFL's shared mask: coordinates that everybody knows travel as bare values, a few more are named.

    Q(x)_i = x_i for i in M (known to both sides) and for the largest |x_i| outside M, else 0;  floor(share n) in all

Without a mask it is top-k. The mask itself lives where the method keeps it and is handed in; the body carries a digest
of it, so that a wrong one is noticed. Body: 8 bytes of digest (zeros: no mask), the values on M as float32, the
positions of the others among those outside M (:mod:`hocket.codec.positions`), and their values.

He, Yan, et al., "GlueFL: reconciling client sampling and model masking for bandwidth efficient federated learning",
MLSys 2023 (arXiv 2212.01523).
"""

from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.codec import positions
from hocket.codec.body import finite
from hocket.codec.sparse import largest
from hocket.errors import InvalidInput
from hocket.schema import Schema, Vector
from hocket.strategy import policy

Mask = NDArray[np.bool_]


@policy("codec")
class Glue(Struct, frozen=True, tag="glue", tag_field="kind", forbid_unknown_fields=True):
    """A ``share`` of the coordinates, those of ``mask`` (bool[size], at most as many) among them."""

    share: float = 0.2
    id: ClassVar[int] = 10
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False
    merges: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InvalidInput(f"glue.share = {self.share}: must be above 0 and at most 1")

    def kept(self, n: int) -> int:
        """How many of ``n`` coordinates are kept."""
        return min(n, max(1, int(self.share * n + 1e-9)))

    def size(self, schema: Schema) -> tuple[int, bool]:
        """Without a mask; with one it is no more."""
        k = self.kept(schema.size)
        return 8 + 4 * k + positions.bound(schema.size, k), False

    def distortion(self, schema: Schema) -> float:
        """Without a mask. With one, what is forced in may be worth nothing: only 1 - (k - |M|)/n is sure."""
        return 1 - self.kept(schema.size) / schema.size if schema.size else 0.0

    def encode(self, x: Vector, schema: Schema, key: int, mask: Mask | None = None) -> bytes:
        finite(self, x)
        k, known, free = self._split(mask, x.size)
        rest = np.ascontiguousarray(x[free])
        at = largest(rest, k - len(known)) if k > len(known) else np.empty(0, np.int64)
        coded = positions.encode(at, len(free))
        return b"".join((_digest(mask), x[known].astype("<f4").tobytes(), coded, rest[at].astype("<f4").tobytes()))

    def decode(self, body: Any, schema: Schema, mask: Mask | None = None) -> Vector:
        k, known, free = self._split(mask, schema.size)
        view, first = memoryview(body), 8 + 4 * len(known)
        if len(view) < first or len(view) > self.size(schema)[0]:
            raise InvalidInput(
                f"codec glue: a body of {len(view)} bytes; {first} to {self.size(schema)[0]} are possible"
            )
        if bytes(view[:8]) != _digest(mask):
            raise InvalidInput("codec glue: encoded with another shared mask; fetch the newest one")
        at, end = positions.decode(view[first:], len(free), k - len(known))
        if len(view) - first - end != 4 * len(at):
            raise InvalidInput(f"codec glue: {len(view) - first - end} bytes of values; {len(at)} take {4 * len(at)}")
        out = np.zeros(schema.size, np.float32)
        out[known] = np.frombuffer(view[8:first], "<f4")
        out[free[at]] = np.frombuffer(view[first + end :], "<f4")
        finite(self, out)
        return out

    def _split(self, mask: Mask | None, n: int) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
        """How many are kept, coordinates in the mask, and the others."""
        k = self.kept(n)
        if mask is None:
            return k, np.empty(0, np.int64), np.arange(n)
        if mask.shape != (n,) or mask.dtype != np.bool_ or np.count_nonzero(mask) > k:
            raise InvalidInput(f"glue: a mask of {mask.dtype}{list(mask.shape)}, {mask.sum()} set; at most {k} of {n}")
        return k, np.flatnonzero(mask), np.flatnonzero(~mask)


def _digest(mask: Mask | None) -> bytes:
    return bytes(8) if mask is None else blake2b(np.packbits(mask).tobytes(), digest_size=8).digest()
