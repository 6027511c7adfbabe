"""One order of a model's coordinates, whose prefixes are nested sub-models.

A cover of length n is the first n of the order. ``cuts`` are the lengths that are in use; the coordinates between two
cuts are a *band*, inside which they stand in ascending order, so that a band can be listed as a bitmap.
"""

from functools import lru_cache

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.schema import Schema, Segment

Positions = NDArray[np.int32]


class Ranking(Struct):
    """``order`` int32[size] (None without arrays); ``cuts`` ascending, the last is the size of the model.

    >>> r = Ranking.of(np.array([3, 0, 2, 1], np.int32), (2,))
    >>> r.order.tolist(), r.cuts
    ([0, 3, 1, 2], (2, 4))
    """

    cuts: tuple[int, ...]
    order: np.ndarray | None = None

    @classmethod
    def of(cls, order: Positions | None, cuts: tuple[int, ...], size: int = 0) -> "Ranking":
        """Sort each band (an order without cuts stays as it is); ``size`` is needed without an order only.

        Raises:
            InvalidInput: a cut outside the model.
        """
        size = size if order is None else len(order)
        ends = tuple(sorted({*cuts, size}))
        if ends[0] < 1 or ends[-1] > size:
            raise InvalidInput(f"cuts {cuts}: a band ends at 1 to {size} coordinates")
        if order is None:
            return cls(ends)
        out = order.astype(np.int32)
        for a, b in zip((0, *ends), ends if cuts else (), strict=False):
            out[a:b].sort()
        out.flags.writeable = False
        return cls(ends, out)

    def positions(self, length: int) -> Positions:
        """The coordinates of a cover, band by band, int32[length]."""
        assert self.order is not None, "a run without arrays has no coordinates"
        return self.order[:length]

    def band(self, number: int) -> Positions:
        """The coordinates of a band, ascending."""
        assert self.order is not None, "a run without arrays has no coordinates"
        return self.order[self.cuts[number - 1] if number else 0 : self.cuts[number]]


@lru_cache(maxsize=4096)
def schema_of(cuts: tuple[int, ...], length: int) -> Schema:
    """The covered values as a schema of their own: a segment per band.

    >>> [s.size for s in schema_of((2, 4, 9), 4).segments]
    [2, 2]
    """
    ends = (*(c for c in cuts if c < length), length)
    sizes = (b - a for a, b in zip((0, *ends), ends, strict=False))
    return Schema(tuple(Segment(f"band{i}", (n,)) for i, n in enumerate(sizes)))


def listing(positions: Positions, size: int) -> bytes:
    """The coordinates of a band as a bitmap of the whole model."""
    marks = np.zeros(size, np.uint8)
    marks[positions] = 1
    return np.packbits(marks, bitorder="little").tobytes()


def listing_size(size: int) -> int:
    """Bytes of a listing."""
    return (size + 7) // 8


def listed(data: bytes, size: int) -> Positions:
    """The coordinates that a listing names, ascending.

    Raises:
        InvalidInput: it is not one of a model of this size.
    """
    if len(data) != listing_size(size):
        raise InvalidInput(f"index list: {len(data)} bytes; a model of {size} takes {listing_size(size)}")
    marks = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if marks[size:].any():
        raise InvalidInput(f"index list: it names coordinates beyond {size}")
    return np.flatnonzero(marks[:size]).astype(np.int32)
