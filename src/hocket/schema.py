"""What a model is made of: named segments of one flat float32 vector.

A segment is *trainable* (moves by gradient, travels), a *buffer* (statistics such as a running mean: travels, is
averaged as :mod:`hocket.buffers` says, has no gradient) or *frozen* (never travels, never changes). Inside hocket a
model is one contiguous ``float32[size]`` vector of the segments that travel, in the order of the schema; names appear
only at the edge.
"""

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from math import prod
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.errors import InvalidInput

Vector = NDArray[np.float32]


class Kind(StrEnum):
    """How a segment behaves under training and transfer."""

    TRAINABLE = "trainable"
    BUFFER = "buffer"
    FROZEN = "frozen"


class Segment(Struct, frozen=True):
    """One named tensor of a model: its shape and its kind."""

    name: str
    shape: tuple[int, ...]
    kind: Kind = Kind.TRAINABLE

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


class Schema(Struct, frozen=True):
    """An ordered tuple of segments with unique names; ``size`` counts the elements that travel.

    >>> s = Schema((Segment("w", (2, 3)), Segment("b", (3,))))
    >>> s.size, s.nbytes
    (9, 36)
    """

    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        names = [s.name for s in self.segments]
        if len(set(names)) != len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise InvalidInput(f"schema: segment {twice!r} appears twice; give every segment its own name")
        for s in self.segments:
            if any(d < 0 for d in s.shape):
                raise InvalidInput(f"schema: segment {s.name!r} has shape {s.shape}; sizes must be 0 or more")

    @property
    def travelling(self) -> tuple[Segment, ...]:
        """The segments that are part of the flat vector (all but the frozen ones)."""
        return tuple(s for s in self.segments if s.kind is not Kind.FROZEN)

    @property
    def size(self) -> int:
        """Elements of the flat vector."""
        return sum(s.size for s in self.travelling)

    @property
    def nbytes(self) -> int:
        """Bytes of the flat vector in float32."""
        return 4 * self.size

    @property
    def digest(self) -> str:
        """16 hex digits that name this schema: equal for equal names, shapes and kinds."""
        return blake2b(msgspec.json.encode(self.segments), digest_size=8).hexdigest()

    def views(self, flat: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
        """Name to array for a flat vector; leading axes of ``flat`` (lanes) are kept, memory is shared."""
        out, at = {}, 0
        for s in self.travelling:
            out[s.name] = flat[..., at : at + s.size].reshape((*flat.shape[:-1], *s.shape))
            at += s.size
        return out

    def flatten(self, tensors: Mapping[str, NDArray[np.generic]]) -> Vector:
        """One float32 vector from named arrays.

        Raises:
            InvalidInput: a name is missing or unknown, a shape differs from the schema's, or something is no array of
                real numbers.
        """
        if not isinstance(tensors, Mapping):
            raise InvalidInput(f"tensors: {type(tensors).__name__}; give a mapping of names to arrays")
        want = {s.name: s for s in self.travelling}
        if wrong := sorted(want.keys() ^ tensors.keys()):
            raise InvalidInput(f"tensors: {', '.join(wrong)} missing or unknown; the schema has {', '.join(want)}")
        arrays = {n: _array(n, tensors[n]) for n in want}
        for name, s in want.items():
            if arrays[name].shape != s.shape:
                raise InvalidInput(f"tensor {name!r} has shape {arrays[name].shape}, not {s.shape}")
        if not want:
            return np.empty(0, np.float32)
        return np.concatenate([a.astype(np.float32, copy=False).ravel() for a in arrays.values()])


def _array(name: str, value: object) -> NDArray[Any]:
    try:
        a = np.asarray(value)
    except (RuntimeError, TypeError, ValueError) as e:  # a tensor that needs a gradient, or is not in main memory
        raise InvalidInput(f"tensor {name!r}: {type(value).__name__} cannot be read as an array: {e}") from e
    if a.dtype.kind not in "biuf":
        raise InvalidInput(f"tensor {name!r} is {a.dtype}; give real numbers")
    return a
