"""A share of the coordinates: the largest ones (top-k), or ones drawn at random (rand-k).

    TopK:   Q(x)_i = x_i for the k largest |x_i|, else 0                    ||Q(x) - x||^2 <= (1 - k/n) ||x||^2
    RandK:  Q(x)_i = x_i for k coordinates drawn uniformly, else 0          the same, on average
            with ``scale``: n/k x_i, unbiased                               omega = n/k - 1

k = floor(share n), at least 1. What is kept passes through ``values``, a codec of its own. Sparse ternary compression
(STC) is top-k whose values are signs at their mean magnitude. Body: which coordinates (:mod:`hocket.codec.positions`;
of RandK eight bytes from which everybody draws them), then the values.

Stich, Cordonnier, Jaggi, "Sparsified SGD with memory", NeurIPS 2018 (arXiv 1809.07599); Sattler et al., "Robust and
communication-efficient federated learning from non-iid data", 2019 (arXiv 1903.02891).
"""

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from msgspec import Struct

from hocket.codec import positions
from hocket.codec.body import exactly, finite
from hocket.codec.eden import EDEN
from hocket.codec.float32 import Float32
from hocket.codec.half import BFloat16, Float16
from hocket.codec.lfl import LFL
from hocket.codec.positions import Positions
from hocket.codec.qsgd import QSGD
from hocket.codec.ternary import Sign, Ternary
from hocket.errors import InvalidInput
from hocket.keyed import key as derive
from hocket.keyed import mix_array
from hocket.schema import Schema, Segment, Vector
from hocket.strategy import policy

Values = Float32 | Float16 | BFloat16 | QSGD | LFL | EDEN | Ternary | Sign
"""Codecs for what is kept."""


@policy("codec")
class TopK(Struct, frozen=True, tag="top_k", tag_field="kind", forbid_unknown_fields=True):
    """The ``share`` of largest magnitude; of equal ones the first.

    >>> TopK(0.1).kept(113)
    11
    """

    share: float = 0.01
    values: Values = Float32()
    id: ClassVar[int] = 8
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _share(self.share, "top_k")

    @property
    def merges(self) -> bool:
        return self.values.lossless

    def kept(self, n: int) -> int:
        """How many of ``n`` coordinates are kept."""
        return _kept(self.share, n)

    def size(self, schema: Schema) -> tuple[int, bool]:
        n = schema.size
        return positions.bound(n, self.kept(n)) + self.values.size(plain(self.kept(n)))[0], False

    def distortion(self, schema: Schema) -> float:
        n = schema.size
        return 1 - (1 - self.values.distortion(plain(self.kept(n)))) * self.kept(n) / n if n else 0.0

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        finite(self, x)
        at = largest(x, self.kept(x.size))
        return positions.encode(at, x.size) + self.values.encode(x[at], plain(len(at)), key)

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        n, k = schema.size, self.kept(schema.size)
        at, end = positions.decode(body, n, k)
        out = np.zeros(n, np.float32)
        out[at] = self.values.decode(memoryview(body)[end:], plain(k))
        finite(self, out)
        return out


@policy("codec")
class RandK(Struct, frozen=True, tag="rand_k", tag_field="kind", forbid_unknown_fields=True):
    """A ``share`` drawn at random; ``scale`` makes up for the rest, so that the mean is right."""

    share: float = 0.1
    scale: bool = True
    values: Values = Float32()
    id: ClassVar[int] = 9
    lossless: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _share(self.share, "rand_k")

    @property
    def unbiased(self) -> bool:
        return self.scale and self.values.unbiased

    @property
    def merges(self) -> bool:
        return self.values.lossless

    def kept(self, n: int) -> int:
        """How many of ``n`` coordinates are kept."""
        return _kept(self.share, n)

    def size(self, schema: Schema) -> tuple[int, bool]:
        size, exact = self.values.size(plain(self.kept(schema.size)))
        return 8 + size, exact

    def distortion(self, schema: Schema) -> float:
        """Of n/k x, if scaled: variance n/k - 1, and n/k times what ``values`` adds."""
        n, k = schema.size, self.kept(schema.size)
        if not n:
            return 0.0
        inner = self.values.distortion(plain(k))
        if not self.scale:
            return 1 - (1 - inner) * k / n
        variance = n / k * (1 + inner) - 1
        return variance if self.values.unbiased else 2 * variance

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        finite(self, x)
        n, k = x.size, self.kept(x.size)
        seed = derive(key, "rand_k")
        kept = x[drawn(seed, n, k)]
        if self.scale and k:
            most = np.float32(np.finfo(np.float32).max)
            with np.errstate(over="ignore"):
                kept = np.clip(kept * np.float32(n / k), -most, most)
        return seed.to_bytes(8, "little") + self.values.encode(kept, plain(k), derive(key, "values"))

    def decode(self, body: Any, schema: Schema) -> Vector:
        exactly(self, body, schema)
        if len(body) < 8:
            raise InvalidInput(f"codec rand_k: a body of {len(body)} bytes; it begins with 8")
        n, k = schema.size, self.kept(schema.size)
        values = self.values.decode(memoryview(body)[8:], plain(k))
        out = np.zeros(n, np.float32)
        out[drawn(int.from_bytes(body[:8], "little"), n, k)] = values
        finite(self, out)
        return out


def stc(share: float = 0.01) -> TopK:
    """Sparse ternary compression: the largest coordinates, as signs at their mean magnitude."""
    return TopK(share, Sign())


@lru_cache(maxsize=64)
def plain(k: int) -> Schema:
    """A schema of ``k`` values without structure."""
    return Schema((Segment("values", (k,)),))


def largest(x: Vector, k: int) -> Positions:
    """Ascending positions of the k largest magnitudes; of equal ones the first."""
    n = x.size
    if k >= n:
        return np.arange(n)
    size = x.view(np.uint32) & np.uint32(0x7FFFFFFF)  # magnitudes in the order of their bits
    candidates = _candidates(size, k)
    among = size if candidates is None else size[candidates]
    least = np.partition(among, len(among) - k)[len(among) - k]
    above = np.flatnonzero(among > least)
    ties = np.flatnonzero(among == least)[: k - len(above)]
    at = np.sort(np.concatenate([above, ties]))
    return at if candidates is None else candidates[at]


def _candidates(size: "np.ndarray[Any, np.dtype[np.uint32]]", k: int) -> Positions | None:
    """A few positions that hold the k largest, by the look of a sample; None if that is not to be had."""
    sample = size[:: max(1, size.size >> 14)]
    rank = int(sample.size * k / size.size * 1.25) + 64
    if rank >= sample.size // 2:
        return None
    at = np.flatnonzero(size > np.partition(sample, sample.size - rank)[sample.size - rank])
    return at if len(at) >= k else None


def drawn(seed: int, n: int, k: int) -> Positions:
    """Ascending positions of k of n coordinates, each set as likely as any other; a function of the seed."""
    order = mix_array(np.arange(n, dtype=np.uint64) ^ np.uint64(seed))
    return np.sort(np.argpartition(order, k - 1)[:k]) if 0 < k < n else np.arange(n)


def _kept(share: float, n: int) -> int:
    return min(n, max(1, int(share * n + 1e-9)))


def _share(share: float, name: str) -> None:
    if not 0 < share <= 1:
        raise InvalidInput(f"{name}.share = {share}: must be above 0 and at most 1")
