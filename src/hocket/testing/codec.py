"""What every codec must do: keep its promises of size, bias and error, and refuse what is not its own."""

from collections.abc import Sequence
from math import isfinite, sqrt

import numpy as np

from hocket import wire
from hocket.errors import InvalidInput
from hocket.keyed import generator, key
from hocket.policies import Codec
from hocket.schema import Kind, Schema, Segment, Vector


def refused(codec: Codec, data: bytes, schema: Schema) -> bool:
    """Whether decoding ends in :class:`InvalidInput`; any other error passes through."""
    try:
        wire.decode(codec, data, schema)
    except InvalidInput:
        return True
    return False


class CodecConformance:
    """Inherit, override :meth:`codec`, and name the class ``Test...``.

    >>> from hocket.codec import Float32
    >>> class TestMine(CodecConformance):
    ...     def codec(self):
    ...         return Float32()
    >>> TestMine().test_malformed()
    """

    schemas: Sequence[Schema] = (
        Schema((Segment("w", (3, 4)), Segment("b", (4,)))),
        Schema((Segment("one", ()),)),
        Schema((Segment("w", (257,)), Segment("mean", (8,), Kind.BUFFER), Segment("fixed", (99,), Kind.FROZEN))),
        Schema((Segment("w", (24, 5, 5)), Segment("b", (5,)), Segment("none", (0, 3)))),
        Schema(()),
    )
    """Shapes to try; the last one has nothing in it."""
    draws = 400
    """Encodings over which bias and error are averaged."""
    cases = 10_000
    """Malformed bodies to try."""

    def codec(self) -> Codec:
        """The codec under test; called once per test."""
        raise NotImplementedError

    def vectors(self, schema: Schema) -> list[Vector]:
        """Noise of several scales, one value alone, a constant, zeros, denormals, and the ends of float32."""
        n, out = schema.size, []
        for scale in (1e-6, 1.0, 1e6):
            noise = generator(key(0, "codec", schema.digest, int(scale * 1e6))).standard_normal(n)
            out.append((scale * noise).astype(np.float32))
        alone = np.zeros(n, np.float32)
        alone[n // 2 : n // 2 + 1] = -3.5
        ends = np.resize(np.array([0.0, -0.0, 1e-45, -1e-38, 3e38, 1.0], np.float32), n)
        small = np.resize(np.array([1e-45, -3e-42, 0.0, 7e-40], np.float32), n)
        return [*out, alone, np.full(n, 0.1, np.float32), np.zeros(n, np.float32), small, ends]

    def test_names(self) -> None:
        """The id is one byte; error bounds are not negative; what is lossless has none."""
        codec = self.codec()
        assert 0 <= codec.id <= 255
        for schema in self.schemas:
            bound = codec.distortion(schema)
            assert bound >= 0 and (bound == 0 or not codec.lossless)

    def test_size_promise(self) -> None:
        """No encoding is longer than ``size``, or any shorter where it says so; with the frame, 28 bytes more."""
        codec = self.codec()
        for schema in self.schemas:
            size, exact = codec.size(schema)
            assert size >= 0 and wire.size(codec, schema) == (wire.FRAME.size + size, exact)
            for i, x in enumerate(self.vectors(schema)):
                body = codec.encode(x, schema, key(i))
                assert isinstance(body, bytes)
                assert len(body) == size if exact else len(body) <= size, f"{len(body)} bytes, promised {size}"

    def test_round_trip(self) -> None:
        """What comes back is finite float32[size]; from a lossless codec, bit for bit what went in."""
        codec = self.codec()
        for schema in self.schemas:
            for i, x in enumerate(self.vectors(schema)):
                before = x.tobytes()
                y = wire.decode(codec, wire.encode(codec, x, schema, key(i)), schema)
                assert x.tobytes() == before, "encode changed its input"
                assert y.dtype == np.float32 and y.shape == (schema.size,) and np.isfinite(y).all()
                assert not codec.lossless or y.tobytes() == before, "says it is lossless"

    def test_zero(self) -> None:
        """Nothing stays nothing."""
        codec = self.codec()
        for schema in self.schemas:
            zero = np.zeros(schema.size, np.float32)
            assert not codec.decode(codec.encode(zero, schema, key(1)), schema).any()

    def test_every_bit_pattern(self) -> None:
        """A lossless codec keeps NaN payloads, infinities and denormals; any other refuses what is not finite."""
        codec, schema = self.codec(), self.schemas[0]
        bits = generator(key(1, "bits")).integers(0, 1 << 32, schema.size, np.uint32)
        bits[:3] = 0x7F800001, 0xFF800000, 0x80000001
        if codec.lossless:
            y = codec.decode(codec.encode(bits.view(np.float32), schema, 0), schema)
            assert y.tobytes() == bits.tobytes()
            return
        for bad in (np.nan, np.inf, -np.inf):
            x = np.ones(schema.size, np.float32)
            x[3] = bad
            try:
                wire.encode(codec, x, schema, 0)
            except InvalidInput:
                continue
            raise AssertionError(f"encoded {bad}")

    def test_same_key_same_bytes(self) -> None:
        """An encoding is a function of vector, schema and key, however it lies; decoding is one of the bytes."""
        codec, schema = self.codec(), self.schemas[0]
        for x in self.vectors(schema):
            data = wire.encode(codec, x, schema, key(7))
            strided = np.repeat(x, 2)[::2]
            assert wire.encode(codec, strided, schema, key(7)) == data
            assert wire.decode(codec, data, schema).tobytes() == wire.decode(codec, bytes(data), schema).tobytes()

    def test_unbiased(self) -> None:
        """Where it is claimed, the mean over keys is within 5 standard errors of the vector, at every coordinate.

        Where a value is seen in a few draws only, or never, within 12 such draws.
        """
        codec = self.codec()
        if not codec.unbiased:
            return
        for schema in self.schemas[:3]:
            for x in self.vectors(schema)[:5]:
                draws = np.stack(
                    [codec.decode(codec.encode(x, schema, key(i, "bias")), schema) for i in range(self.draws)]
                ).astype(np.float64)
                spread, largest = draws.std(axis=0), np.abs(draws).max(axis=0)
                rare = (largest >= 8 * spread) * np.abs(draws).max(initial=0.0) * 12
                slack = 1e-6 * float(np.abs(x).max(initial=0.0))
                off = np.abs(draws.mean(axis=0) - x)
                assert (off <= 5 * spread / sqrt(self.draws) + rare / self.draws + slack).all(), "the mean is off"

    def test_error_bound(self) -> None:
        """The mean of ||decode(encode(x)) - x||^2 / ||x||^2 is below ``distortion``.

        Up to four standard errors, and three times the least number that float32 has per coordinate.
        """
        codec = self.codec()
        for schema in self.schemas:
            bound = codec.distortion(schema)
            for x in self.vectors(schema):
                energy, least = float(np.dot(x.astype(np.float64), x)), schema.size * 2.0**-298
                if not energy or not isfinite(bound):
                    continue
                left = []
                for i in range(self.draws // 10):
                    y = codec.decode(codec.encode(x, schema, key(i, "error")), schema).astype(np.float64)
                    left.append(float(np.dot(y - x, y - x)) / energy)
                spread = float(np.std(left)) / sqrt(len(left))
                most = bound * (1 + 1e-4) + 4 * spread + 1e-9 + 9 * least / energy
                assert np.mean(left) <= most, f"{np.mean(left)}, bound {bound}"

    def test_merges(self) -> None:
        """Where it is claimed: what is not named is zero, what is named is exact."""
        codec = self.codec()
        if not codec.merges:
            return
        for schema in self.schemas:
            x = self.vectors(schema)[1]
            y = codec.decode(codec.encode(x, schema, key(3)), schema)
            named = y != 0
            ratio = y[named] / x[named]
            assert not named.any() or np.allclose(ratio, ratio[0], rtol=1e-6), "a value is not what went in"

    def test_malformed(self) -> None:
        """Too short, too long, any changed byte, another schema, another codec's settings, noise: refused."""
        codec = self.codec()
        schema, other = self.schemas[0], self.schemas[2]
        data = wire.encode(codec, self.vectors(schema)[1], schema, 0)
        for bad in (b"", data[:1], data[: wire.FRAME.size], data[:-1], data + b"\0", data[1:], data + data):
            assert refused(codec, bad, schema), f"{len(bad)} of {len(data)} bytes were taken"
        for at in range(len(data)):
            bad = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
            assert refused(codec, bad, schema), f"byte {at} is not checked"
        assert refused(codec, data, other), "taken for a vector of another schema"
        assert refused(codec, generator(key(2, "noise")).bytes(len(data)), schema), "noise was taken"

    def test_malformed_bodies(self) -> None:
        """A body that is no encoding, though its frame be right, is refused or gives finite float32[size]."""
        codec, rng = self.codec(), generator(key(4, "bodies"))
        for schema in self.schemas:
            good = codec.encode(self.vectors(schema)[1], schema, 5)
            for _ in range(self.cases // len(self.schemas)):
                body = bytearray(good)
                kind = int(rng.integers(5))
                if kind == 0:
                    body = bytearray(rng.bytes(len(good)))
                elif kind == 1:
                    body = bytearray(rng.bytes(int(rng.integers(0, 2 * len(good) + 4))))
                elif kind == 2:
                    del body[int(rng.integers(0, len(body) + 1)) :]
                for _ in range(int(rng.integers(0, 4)) if body else 0):
                    body[int(rng.integers(len(body)))] = int(rng.integers(256))
                try:
                    y = codec.decode(bytes(body), schema)
                except InvalidInput:
                    continue
                assert y.dtype == np.float32 and y.shape == (schema.size,)
                assert codec.lossless or np.isfinite(y).all(), "what is not finite came out"

    def test_wrong_vectors(self) -> None:
        """A vector of another size or type is refused before it is encoded."""
        codec, schema = self.codec(), self.schemas[0]
        x = self.vectors(schema)[1]
        for bad in (x[:-1], np.append(x, x[:1]), x.astype(np.float64), x.reshape(1, -1), x.astype(">f4")):
            try:
                wire.encode(codec, bad, schema, 0)
            except InvalidInput:
                continue
            raise AssertionError(f"encoded {bad.dtype}{list(bad.shape)} as float32[{schema.size}]")
