"""What every codec checks: bodies of the promised length, vectors and scales that are finite."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hocket import wire
from hocket.errors import InvalidInput
from hocket.policies import Codec
from hocket.schema import Schema, Vector


def exactly(codec: Codec, body: Any, schema: Schema) -> None:
    """Refuse a body of another length than promised.

    Raises:
        InvalidInput: so it is.
    """
    want, exact = codec.size(schema)
    if len(body) > want or (exact and len(body) != want):
        raise InvalidInput(
            f"codec {wire.tag(codec)}: a body of {len(body)} bytes; this schema takes "
            f"{'exactly' if exact else 'at most'} {want}"
        )


def finite(codec: Codec, x: NDArray[np.floating[Any]]) -> None:
    """Refuse NaN and infinities in what is to be encoded, or in what came over the wire.

    Raises:
        InvalidInput: there are some.
    """
    if not np.isfinite(x).all():
        bad = int(np.count_nonzero(~np.isfinite(x)))
        raise InvalidInput(
            f"codec {wire.tag(codec)}: {bad} of {x.size} values are NaN or infinite; it takes finite ones"
        )


def to_float32(x: NDArray[np.floating[Any]]) -> Vector:
    """To the nearest float32, never beyond the largest one."""
    most = float(np.finfo(np.float32).max)
    bounded: Vector = np.clip(x, -most, most).astype(np.float32)
    return bounded


def bits_of(codec: Codec, bits: int, least: int = 1, most: int = 16) -> None:
    """Refuse a width that there is not.

    Raises:
        InvalidInput: so it is.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not least <= bits <= most:
        raise InvalidInput(f"{wire.tag(codec)}.bits = {bits!r}: must be a whole number from {least} to {most}")


def spans(schema: Schema) -> list[tuple[int, int]]:
    """(first, behind the last) coordinate of each segment that travels and is not empty."""
    out, at = [], 0
    for s in schema.travelling:
        if s.size:
            out.append((at, at + s.size))
        at += s.size
    return out
