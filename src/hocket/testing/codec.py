"""What every codec must do: keep its promise of size, give back what it was given, refuse what is not its own."""

from collections.abc import Sequence

import numpy as np

from hocket.errors import InvalidInput
from hocket.keyed import generator, key
from hocket.policies import Codec
from hocket.schema import Kind, Schema, Segment, Vector


def refused(codec: Codec, data: bytes, schema: Schema) -> bool:
    """Whether decoding ends in :class:`InvalidInput`; any other error passes through."""
    try:
        codec.decode(data, schema)
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

    header: int = 16
    """Bytes at the front of which every single one is checked."""
    schemas: Sequence[Schema] = (
        Schema((Segment("w", (3, 4)), Segment("b", (4,)))),
        Schema((Segment("one", ()),)),
        Schema((Segment("w", (257,)), Segment("mean", (8,), Kind.BUFFER), Segment("fixed", (99,), Kind.FROZEN))),
        Schema(()),
    )
    """Shapes to try; the last one has nothing in it."""

    def codec(self) -> Codec:
        """The codec under test; called once per test."""
        raise NotImplementedError

    def vectors(self, schema: Schema) -> list[Vector]:
        """Vectors of a schema: noise of several scales, zeros, and the ends of float32."""
        n, out = schema.size, []
        for scale in (1e-6, 1.0, 1e6):
            noise = generator(key(0, "codec", schema.digest, int(scale * 1e6))).standard_normal(n)
            out.append((scale * noise).astype(np.float32))
        ends = np.resize(np.array([0.0, -0.0, 1e-45, -1e-38, 3e38, 1.0], np.float32), n)
        return [*out, np.zeros(n, np.float32), ends]

    def test_size_promise(self) -> None:
        """``size`` is at least 0, and the length of every encoding where it says so."""
        codec = self.codec()
        for schema in self.schemas:
            size, exact = codec.size(schema)
            assert size >= 0
            for i, x in enumerate(self.vectors(schema)):
                data = codec.encode(x, schema, key(i))
                assert isinstance(data, bytes)
                assert not exact or len(data) == size, f"{len(data)} bytes, promised {size}"

    def test_round_trip(self) -> None:
        """What comes back is float32[size]; from a lossless codec, bit for bit what went in."""
        codec = self.codec()
        for schema in self.schemas:
            for i, x in enumerate(self.vectors(schema)):
                before = x.tobytes()
                y = codec.decode(codec.encode(x, schema, key(i)), schema)
                assert x.tobytes() == before, "encode changed its input"
                assert y.dtype == np.float32 and y.shape == (schema.size,)
                assert not codec.lossless or y.tobytes() == before, "says it is lossless"

    def test_every_bit_pattern(self) -> None:
        """A lossless codec keeps NaN payloads, infinities and denormals as well."""
        codec, schema = self.codec(), self.schemas[0]
        if codec.lossless:
            bits = generator(key(1, "bits")).integers(0, 1 << 32, schema.size, np.uint32)
            bits[:3] = 0x7F800001, 0xFF800000, 0x80000001
            y = codec.decode(codec.encode(bits.view(np.float32), schema, 0), schema)
            assert y.tobytes() == bits.tobytes()

    def test_same_key_same_bytes(self) -> None:
        """An encoding is a function of vector, schema and key; decoding is one of the bytes."""
        codec, schema = self.codec(), self.schemas[0]
        for x in self.vectors(schema):
            data = codec.encode(x, schema, key(7))
            assert codec.encode(x.copy(), schema, key(7)) == data
            assert codec.decode(data, schema).tobytes() == codec.decode(bytes(data), schema).tobytes()

    def test_malformed(self) -> None:
        """Too short, too long, a changed header, another schema, noise: :class:`InvalidInput`."""
        codec = self.codec()
        schema, other = self.schemas[0], self.schemas[2]
        data = codec.encode(self.vectors(schema)[1], schema, 0)
        for bad in (b"", data[:1], data[: self.header], data[:-1], data + b"\0", data[1:], data + data):
            assert refused(codec, bad, schema), f"{len(bad)} of {len(data)} bytes were taken"
        for at in range(min(self.header, len(data))):
            bad = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
            assert refused(codec, bad, schema), f"byte {at} of the header is not checked"
        assert refused(codec, data, other), "taken for a vector of another schema"
        assert refused(codec, generator(key(2, "noise")).bytes(len(data)), schema), "noise was taken"

    def test_wrong_vectors(self) -> None:
        """A vector of another size or type is refused before it is encoded."""
        codec, schema = self.codec(), self.schemas[0]
        x = self.vectors(schema)[1]
        for bad in (x[:-1], np.append(x, x[:1]), x.astype(np.float64), x.reshape(1, -1)):
            try:
                codec.encode(bad, schema, 0)  # type: ignore[arg-type]
            except InvalidInput:
                continue
            raise AssertionError(f"encoded {bad.dtype}{list(bad.shape)} as float32[{schema.size}]")
