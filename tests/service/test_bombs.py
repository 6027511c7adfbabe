"""T23: what unpacks to more than its schema has is given up before it is unpacked, whoever packed it."""

import asyncio
import bz2
import gzip
import lzma
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
import pytest

from hocket import wire
from hocket.codec import QSGD, Float32, TopK, Zstd
from hocket.errors import InvalidInput
from hocket.keyed import generator
from hocket.schema import Schema, Segment
from hocket.service import protocol
from tests.service.served import experiment, hands, served
from tests.service.test_hostile import raw, signed

SCHEMA = Schema((Segment("w", (200_000,)),))
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda data: bytes(pa.Codec("zstd").compress(data, asbytes=True)), "gzip": gzip.compress,
    "deflate": zlib.compress, "bzip2": bz2.compress, "xz": lambda data: lzma.compress(data, preset=0),
}  # fmt: skip


def framed(codec: Zstd, body: bytes) -> bytes:
    """A body in a frame that is right in everything."""
    name = codec.id, SCHEMA.size, bytes.fromhex(SCHEMA.digest), wire.settings(codec)
    head = wire.FRAME.pack(b"hk", wire.FORMAT, *name, len(body), 0)[:-4]
    return head + crc32(body, crc32(head)).to_bytes(4, "little") + body


def promised(length: int, small: bytes) -> bytes:
    """The body of the codec: something packed, that promises a length."""
    return b"\1" + length.to_bytes(4, "little") + small


def bombs(codec: Zstd, size: int) -> dict[str, bytes]:
    """Bodies that unpack to ``size`` zeros, or pretend to be what they are not."""
    most = codec.codec.size(SCHEMA)[0]
    packed = {name: pack(bytes(size)) for name, pack in PACKERS.items()}
    out = {name: promised(most, data) for name, data in packed.items()}
    small = packed["zstd"]
    zstd = PACKERS["zstd"]
    honest = zstd(bytes(most))
    return {
        **out, "nested": promised(most, zstd(small)), "truncated": promised(most, honest[: len(honest) // 2]),
        "trailing": promised(most, honest + b"x" * 1000), "twice": promised(most, honest + honest),
        "a huge promise": promised((1 << 32) - 1, small), "one more": promised(most + 1, zstd(bytes(most + 1))),
        "unmarked": b"\2" + small, "said to be plain": b"\0" + small,
    }  # fmt: skip


def measured(codec: Zstd, data: bytes) -> tuple[float, int, bool]:
    """Seconds of processor time, peak memory, and whether it was read."""
    read = False
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    try:
        at = time.process_time()
        try:
            wire.decode(codec, data, SCHEMA)
            read = True
        except InvalidInput:
            pass
        took, peak = time.process_time() - at, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return took, peak + pa.total_allocated_bytes() - before, read


def check(size: int) -> None:
    noise = generator(23).standard_normal(SCHEMA.size).astype(np.float32)
    for codec in (Zstd(QSGD(bits=8)), Zstd(Float32()), Zstd(TopK(0.5))):
        honest = wire.encode(codec, noise, SCHEMA, 1)
        usual = min(measured(codec, honest)[0] for _ in range(5))
        assert measured(codec, honest)[2]
        most = codec.codec.size(SCHEMA)[0]
        for name, body in bombs(codec, size).items():
            if len(body) > codec.size(SCHEMA)[0]:
                continue  # refused by its length
            took, peak, read = min(measured(codec, framed(codec, body)) for _ in range(3))
            assert not read, f"{codec}: {name} was read"
            assert peak <= 2 * most + (1 << 16), f"{codec}: {name} took {peak} bytes of memory"
            assert took <= 2 * usual + 2e-3, f"{codec}: {name} took {took:.4f} s, an honest one {usual:.4f} s"


def test_t23_a_bomb_takes_no_more_than_an_honest_update() -> None:
    check(32 << 20)


@pytest.mark.soak
def test_t23_a_bomb_of_a_gibibyte() -> None:
    check(1 << 30)


def test_t23_a_packed_body_is_refused_as_it_is(tmp_path: Path) -> None:
    """HTTP could unpack bodies before anybody looks at their size; here it does not."""
    e = experiment(clients=2, buffer=50, in_flight=2)

    async def main() -> None:
        async with served(e, tmp_path / "run", rate=1e6, failures=1e6) as (service, serving):
            async with hands(serving, tmp_path, service.setup, 1) as (hand,):
                lease = await hand.work()
                path = f"/v1/updates/{lease.id}"
                before, events = serving.host.server.snapshot(), serving.host.server.state.events
                for encoding, name in (("gzip", "gzip"), ("deflate", "deflate"), ("zstd", "zstd"), ("br", "xz")):
                    data = PACKERS[name](bytes(16 << 20))[:6000]
                    headers = signed(hand, "PATCH", path, data) | {
                        "Content-Encoding": encoding, "Hocket-Offset": "0", "Hocket-Length": str(len(data)),
                    }  # fmt: skip
                    if len(data) <= serving.host.book.upload_size("gaussian")[0] + protocol.HEAD:
                        assert (await raw(hand, "PATCH", path, headers, data))[0] == 415
                    headers = signed(hand, "POST", "/v1/exchange", data[:4000]) | {"Content-Encoding": encoding}
                    assert (await raw(hand, "POST", "/v1/exchange", headers, data[:4000]))[0] == 415
                assert (serving.host.server.snapshot(), serving.host.server.state.events) == (before, events)
                assert await hand.submit(lease) == "", "nothing of it is kept"

    asyncio.run(main())
