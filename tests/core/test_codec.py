"""The full-precision codec: round trip, promised size, and every buffer that is not one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.codec import Float32
from hocket.codec.float32 import HEADER
from hocket.errors import InvalidInput
from hocket.lease import Cover
from hocket.schema import Kind, Schema, Segment
from hocket.testing.moments import lease
from hocket.uplink import Plain

SCHEMA = Schema((Segment("w", (2, 2)), Segment("b", (1,)), Segment("fixed", (50,), Kind.FROZEN)))
CODEC = Float32()


def vector(*bits):
    return np.array(bits, np.uint32).view(np.float32)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=5, max_size=5))
def test_any_bits_come_back(bits):
    data = CODEC.encode(vector(*bits), SCHEMA, 0)
    assert len(data) == CODEC.size(SCHEMA)[0] == 16 + 20
    back = CODEC.decode(data, SCHEMA)
    assert back.dtype == np.float32 and back.view(np.uint32).tolist() == bits


def test_the_bytes_on_the_wire():
    """Little-endian, whatever the host, and the header as documented."""
    data = CODEC.encode(np.array([1.0, -2.0, 0.0, 0.5, 3.0], np.float32), SCHEMA, 7)
    assert data[:8] == b"hk\x01\x00\x05\x00\x00\x00" and data[8:16].hex() == SCHEMA.digest
    assert data[16:24] == b"\x00\x00\x80\x3f\x00\x00\x00\xc0"
    assert CODEC.size(SCHEMA) == (36, True) and CODEC.lossless


@given(st.binary(max_size=60))
def test_noise_is_refused(data):
    with pytest.raises(InvalidInput):
        CODEC.decode(data, SCHEMA)


@given(st.integers(0, 15), st.integers(1, 255))
def test_every_bit_of_the_header_counts(at, flip):
    data = bytearray(CODEC.encode(np.ones(5, np.float32), SCHEMA, 0))
    data[at] ^= flip
    with pytest.raises(InvalidInput):
        CODEC.decode(bytes(data), SCHEMA)


DIGEST = bytes.fromhex(SCHEMA.digest)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "float32 codec: 0 bytes; this schema takes exactly 36"),
        (bytes(35), "35 bytes"),
        (bytes(37), "37 bytes"),
        (bytes(36), "header 00000000 is not 686b0100"),
        (HEADER.pack(b"hk", 2, 0, 5, DIGEST) + bytes(20), "header 686b0200"),
        (HEADER.pack(b"hk", 1, 9, 5, DIGEST) + bytes(20), "header 686b0109"),
        (HEADER.pack(b"hk", 1, 0, 6, DIGEST) + bytes(20), f"6 values of schema {SCHEMA.digest}; this task has 5"),
        (HEADER.pack(b"hk", 1, 0, 5, bytes(8)) + bytes(20), "5 values of schema 0000000000000000"),
    ],
)
def test_the_sentence_says_what_is_wrong(data, message):
    with pytest.raises(InvalidInput, match=message):
        CODEC.decode(data, SCHEMA)


@pytest.mark.parametrize(
    "x", [np.zeros(4, np.float32), np.zeros(5), np.zeros((5, 1), np.float32), np.zeros(5, ">f4")], ids=str
)
def test_a_vector_that_does_not_fit_is_refused(x):
    with pytest.raises(InvalidInput, match=r"float32 codec: got .*, not float32\[5\]"):
        CODEC.encode(x, SCHEMA, 0)


def test_strided_vectors_are_encoded_in_their_order():
    x = np.arange(10, dtype=np.float32)[::2]
    assert CODEC.decode(CODEC.encode(x, SCHEMA, 0), SCHEMA).tolist() == [0, 2, 4, 6, 8]


def test_the_plain_uplink_is_the_codec():
    uplink, delta = Plain(), np.arange(5, dtype=np.float32)
    data, memory = uplink.encode("kept", delta, None, SCHEMA, lease(0))
    assert data == CODEC.encode(delta, SCHEMA, 0) and memory == "kept"
    assert uplink.size(SCHEMA, Cover()) == (36, True) and uplink.lossless
    back, aux = uplink.decode(data, SCHEMA, lease(0))
    assert back.tobytes() == delta.tobytes() and aux is None
    assert uplink.settle(memory, 0, accepted=False) == "kept"
