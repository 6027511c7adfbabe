"""The frame of messages between values that must agree bit for bit, and what they lead to (``docs/wire.md``)."""

from collections.abc import Callable
from hashlib import blake2b
from struct import Struct as Layout
from typing import Any
from zlib import crc32

from hocket import wire
from hocket.codec import Coded, Float32
from hocket.errors import InvalidInput
from hocket.lease import Node
from hocket.schema import Schema, Vector

FRAME = Layout("<2sBBBxxxI4s16s16sII")
"""Magic ``hh``, format 2, kind, codec id, three zeros, sequence, digest of the codec's settings, digest before, digest
after, length, CRC-32 of all the rest: 56 bytes."""
FORMAT = 2
DIFFERENCE, SNAPSHOT, VALUES = 0, 1, 2
"""Kinds: an encoded difference, a whole value, new values of some coordinates."""
FULL = Float32()


def digest(value: Vector) -> bytes:
    """16 bytes that name a value's bits."""
    return blake2b(value.astype("<f4", copy=False).tobytes(), digest_size=16).digest()


def frame(kind: int, codec: Coded, target: Node, before: str, body: bytes) -> bytes:
    """Frame and body of a message to ``target``; ``before``: digest of the value it starts from, "" for none."""
    parent = bytes.fromhex(before) if before else bytes(16)
    names = kind, codec.id, target.version, wire.settings(codec), parent, bytes.fromhex(target.digest)
    return _checked(FRAME.pack(b"hh", FORMAT, *names, len(body), 0), body) + body


def _checked(head: bytes, body: Any) -> bytes:
    """A frame with its checksum filled in."""
    return head[:-4] + crc32(body, crc32(head[:-4])).to_bytes(4, "little")


def unframe(
    codec: Coded, data: bytes, version: int, where: str, last: int = VALUES
) -> tuple[int, bytes, bytes, memoryview]:
    """Kind, digest before, digest after and body of a message that leads to a version.

    Raises:
        InvalidInput: the bytes are damaged, lead elsewhere, come from another codec or other settings, or are of a kind
            after ``last``.
    """
    if len(data) < FRAME.size:
        raise InvalidInput(f"{where}: {len(data)} bytes; a frame has {FRAME.size}")
    magic, form, kind, identity, sequence, made, before, after, length, _ = FRAME.unpack_from(data)
    if (magic, form) != (b"hh", FORMAT) or kind > last:
        raise InvalidInput(f"{where}: header {data[:4].hex()} is not 6868{FORMAT:02x}00 to 6868{FORMAT:02x}{last:02x}")
    body = memoryview(data)[FRAME.size :]
    if len(body) != length or _checked(data[: FRAME.size], body) != data[: FRAME.size]:
        raise InvalidInput(f"{where}: {len(body)} bytes of {length}, or damaged; fetch it again")
    if sequence != version:
        raise InvalidInput(f"{where}: it leads to version {sequence}; take a snapshot")
    used = FULL if kind == SNAPSHOT else codec
    if identity != used.id or made != wire.settings(used):
        raise InvalidInput(f"{where}: codec id {identity}, or its settings, are not those of {used}")
    return kind, before, after, body


def snapshot(target: Node, value: Vector | None, schema: Schema) -> bytes:
    """A whole value, in full precision.

    Raises:
        InvalidInput: it is kept no more.
    """
    if value is None:
        raise InvalidInput(f"{target} is gone; a newer one has been published")
    return frame(SNAPSHOT, FULL, target, "", FULL.encode(value, schema, 0))


def successor(
    codec: Coded,
    held: Vector | None,
    data: bytes,
    target: Node,
    schema: Schema,
    where: str,
    *,
    alone: bool = False,
    values: Callable[[Vector, memoryview], Vector] | None = None,
) -> Vector:
    """What a message leads to from what is held, float32[size]: the very bits that were published.

    Args:
        alone: the message starts from nothing, and is no snapshot.
        values: of a value and the body of new values of some coordinates, the value with these; None: there are none.

    Raises:
        InvalidInput: the bytes are damaged, do not start from what is held, or lead to something else.
    """
    last = DIFFERENCE if alone else SNAPSHOT if values is None else VALUES
    kind, before, after, body = unframe(codec, data, target.version, where, last)
    if kind == SNAPSHOT:
        value = FULL.decode(body, schema)
    elif alone:
        value = codec.decode(body, schema)
    elif held is None or digest(held) != before:
        raise InvalidInput(f"{where}: it does not start from the state held; take a snapshot")
    elif kind == VALUES and values is not None:
        value = values(held, body)
    else:
        value = held + codec.decode(body, schema)
    if digest(value) != after:
        raise InvalidInput(f"{where}: the state reached is not the one published; take a snapshot")
    return value
