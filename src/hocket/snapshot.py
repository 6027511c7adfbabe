"""Generic memory of state objects: structs, plain values, ``array.array`` and NumPy arrays to bytes and back.

The encoding is MessagePack through msgspec, decoded into the annotated types; nothing is ever unpickled.
Equal states give equal bytes, so the digest of a snapshot stands for the state.
"""

from array import array
from hashlib import blake2b
from typing import Any, TypeVar, get_origin

import msgspec
import numpy as np

from hocket.errors import Damaged

T = TypeVar("T")


def _encode(value: Any) -> Any:
    if isinstance(value, array):
        return {"array": value.typecode, "data": value.tobytes()}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        shape = list(value.shape)
        return {"dtype": value.dtype.str, "shape": shape, "data": np.ascontiguousarray(value).tobytes()}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be part of a snapshot; use plain values and arrays")


def _decode(kind: type, value: Any) -> Any:
    kind = get_origin(kind) or kind  # NDArray[...] is a parametrised ndarray
    if kind is array:
        out = array(value["array"])
        out.frombytes(value["data"])
        return out
    if issubclass(kind, np.ndarray):
        return np.frombuffer(value["data"], np.dtype(value["dtype"])).reshape(value["shape"]).copy()
    raise TypeError(f"{kind.__name__} cannot be part of a snapshot")


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode)


def pack(state: object) -> bytes:
    """Bytes of a state object."""
    return _encoder.encode(state)


def unpack(data: bytes, kind: type[T]) -> T:
    """A state object of a type from its bytes.

    Raises:
        Damaged: the bytes are not such a state.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind, dec_hook=_decode)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as e:
        raise Damaged(f"snapshot of {kind.__name__}: {e}; it was written by another version or is torn") from e


def digest(*states: object) -> str:
    """32 hex digits that stand for the states."""
    h = blake2b(digest_size=16)
    for s in states:
        h.update(s if isinstance(s, bytes) else pack(s))
    return h.hexdigest()
