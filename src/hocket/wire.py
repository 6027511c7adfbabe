"""The frame around every encoded vector: what it is, of which schema, whole and undamaged.

Little-endian, 28 bytes (``docs/wire.md``), then the codec's body:

| bytes | field |
|---|---|
| 2 | magic ``hk`` |
| 1 | format, 2 |
| 1 | codec id |
| 4 | number of values |
| 8 | schema digest |
| 4 | digest of the codec's settings |
| 4 | length of the body |
| 4 | CRC-32 of all the rest |

A codec's own bytes (its *body*) carry neither name nor checksum; whoever sends them frames them, once.
"""

from functools import lru_cache
from hashlib import blake2b
from struct import Struct as Layout
from typing import Any
from zlib import crc32

import msgspec
import numpy as np

from hocket.errors import InvalidInput
from hocket.policies import Codec
from hocket.schema import Schema, Vector

FORMAT = 2
FRAME = Layout("<2sBBI8s4sII")
_CHECKSUM = Layout("<I")


def encode(codec: Codec, x: Any, schema: Schema, key: int) -> bytes:
    """Frame and body of float32[size]; ``x`` may be anything NumPy sees as such an array.

    Raises:
        InvalidInput: ``x`` does not fit the schema, or holds what the codec cannot encode (NaN, infinities).
    """
    body = codec.encode(vector(x, schema), schema, key)
    name = codec.id, schema.size, bytes.fromhex(schema.digest), settings(codec)
    head = FRAME.pack(b"hk", FORMAT, *name, len(body), 0)[: -_CHECKSUM.size]
    return b"".join((head, _CHECKSUM.pack(crc32(body, crc32(head))), body))


def decode(codec: Codec, data: bytes, schema: Schema) -> Vector:
    """float32[size] from a frame and body.

    Raises:
        InvalidInput: the bytes are damaged, or come from another codec, other settings or another schema.
    """
    return codec.decode(_open(codec, data, schema), schema)


def length(data: bytes) -> int:
    """Bytes of the message at the beginning of ``data``, as its frame says; what follows it is somebody else's."""
    return FRAME.size + FRAME.unpack_from(data)[6] if len(data) >= FRAME.size else len(data)


def size(codec: Codec, schema: Schema) -> tuple[int, bool]:
    """Bytes of frame and body, and whether every encoding has exactly that many (else: no more than that)."""
    body, exact = codec.size(schema)
    return FRAME.size + body, exact


def _open(codec: Codec, data: bytes, schema: Schema) -> memoryview:
    """The body of a message whose frame is right."""
    who = f"codec {tag(codec)}"
    if len(data) < FRAME.size:
        raise InvalidInput(f"{who}: {len(data)} bytes; a frame has {FRAME.size}")
    magic, form, identity, count, digest, made, length, checksum = FRAME.unpack_from(data)
    if (magic, form) != (b"hk", FORMAT):
        raise InvalidInput(f"{who}: it begins with {data[:3].hex()}, not 686b{FORMAT:02x}; this is no message of ours")
    if identity != codec.id:
        raise InvalidInput(f"{who}: codec id {identity}; this task uses {codec.id}")
    if made != settings(codec):
        raise InvalidInput(f"{who}: encoded with other settings; this task uses {codec}")
    if count != schema.size or digest.hex() != schema.digest:
        raise InvalidInput(
            f"{who}: {count} values of schema {digest.hex()}; this task has {schema.size} of {schema.digest}"
        )
    most, exact = codec.size(schema)
    if length > most or (exact and length != most):
        raise InvalidInput(f"{who}: a body of {length} bytes; this schema takes {'' if exact else 'at most '}{most}")
    body = memoryview(data)[FRAME.size :]
    head = memoryview(data)[: FRAME.size - _CHECKSUM.size]
    if len(body) != length or crc32(body, crc32(head)) != checksum:
        raise InvalidInput(f"{who}: {len(body)} bytes of {length}, or damaged; send it again")
    return body


def settings(codec: Any) -> bytes:
    """Four bytes that name a codec's settings."""
    return _settings(codec)


@lru_cache(maxsize=256)
def _settings(codec: Any) -> bytes:
    return blake2b(msgspec.json.encode(codec), digest_size=4).digest()


def tag(codec: object) -> str:
    """The name that experiment files use."""
    return str(getattr(getattr(codec, "__struct_config__", None), "tag", None) or type(codec).__name__)


def vector(x: Any, schema: Schema) -> Vector:
    """``x`` as contiguous float32[size], without a copy where it is that already.

    Raises:
        InvalidInput: another size or type.
    """
    try:
        a = np.asarray(x)
    except (RuntimeError, TypeError, ValueError) as e:  # a tensor that needs a gradient, or is not in main memory
        raise InvalidInput(f"vector: {type(x).__name__} cannot be read as an array: {e}") from e
    if a.shape != (schema.size,) or a.dtype != np.float32:
        raise InvalidInput(f"vector: got {a.dtype}{list(a.shape)}, not float32[{schema.size}]")
    return np.ascontiguousarray(a)
