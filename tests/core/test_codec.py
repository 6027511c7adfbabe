"""Codecs on random tensors, at their sizes, on the wire; packing and positions."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hocket import codec as codecs
from hocket import wire
from hocket.codec import (
    ECUQ,
    EDEN,
    LFL,
    QSGD,
    Float32,
    Glue,
    MinMax,
    PowerSGD,
    RandK,
    Sign,
    TopK,
    Zstd,
    bits,
    positions,
)
from hocket.errors import InvalidInput
from hocket.keyed import generator
from hocket.lease import Cover
from hocket.schema import Kind, Schema, Segment
from hocket.strategy import registry
from hocket.testing.codec import CodecConformance
from hocket.testing.moments import lease
from hocket.uplink import Plain
from tests.core import composition

SCHEMA = Schema((Segment("w", (2, 2)), Segment("b", (1,)), Segment("fixed", (50,), Kind.FROZEN)))
ONES = np.ones(5, np.float32)
ALL = [v for tag in sorted(registry["codec"]) for v in composition.variants(registry["codec"][tag])]


def flat(n):
    return Schema((Segment("w", (n,)),))


def test_every_codec_has_an_id_of_its_own():
    ids = [cls.id for cls in registry["codec"].values()]
    assert len(set(ids)) == len(ids) and max(ids) < 128
    assert {cls.__name__ for cls in registry["codec"].values()} == set(codecs.__all__) - {"Coded", "stc"}


@pytest.mark.parametrize("codec", ALL, ids=composition.name)
@settings(max_examples=100)  # of 20 tensors each
@given(seed=st.integers(0, 2**32), n=st.integers(0, 300), exponent=st.integers(-40, 30))
def test_random_tensors_come_back_within_the_bound(codec, seed, n, exponent):
    rng = generator(seed)
    schema = Schema((Segment("w", (n // 7, 7)), Segment("b", (n % 7,)), Segment("s", ())))
    bound = codec.distortion(schema)
    for draw in range(20):
        x = (
            (rng.standard_normal(schema.size) ** rng.integers(1, 6) * 10.0**exponent)
            .clip(-3e38, 3e38)
            .astype(np.float32)
        )
        x[rng.random(schema.size) < rng.random()] = 0
        data = wire.encode(codec, x, schema, seed + draw)
        size, exact = wire.size(codec, schema)
        assert len(data) == size if exact else len(data) <= size
        y = wire.decode(codec, data, schema).astype(np.float64)
        energy = float(np.dot(x.astype(np.float64), x))
        free = 1 if getattr(codec, "scale", "") == "least_squares" else 1e30
        worst = {QSGD: 1e30, RandK: 1e30, EDEN: free, PowerSGD: 1, Zstd: 1e30}.get(type(codec), bound)
        values = getattr(codec, "values", None)
        drawn = values is not None and (values.unbiased or isinstance(values, EDEN))
        if not codec.unbiased and not drawn:  # else the bound is one of the mean
            assert np.dot(y - x, y - x) <= worst * energy * 1.001 + schema.size * 1e-88


@pytest.mark.parametrize("codec", [*ALL, QSGD(bits=8), QSGD(levels=32767)], ids=composition.name)
@pytest.mark.parametrize("n", [0, 1, 7, 257])
def test_the_largest_and_smallest_numbers_come_back_finite(codec, n):
    schema = Schema((Segment("w", (n // 7, 7)), Segment("b", (n % 7,)), Segment("none", (0, 3))))
    signs = np.where(generator(n).random(n) < 0.5, -1, 1)
    for value in (np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal):
        for x in (value * signs, value * signs * (np.arange(n) == n // 2)):
            data = wire.encode(codec, x.astype(np.float32), schema, 5)
            assert np.isfinite(wire.decode(codec, data, schema)).all()
    for value in (np.nan, np.inf, -np.inf):
        x = np.ones(n, np.float32)
        x[n // 2 : n // 2 + 1] = value
        if codec.lossless or not n:
            assert wire.decode(codec, wire.encode(codec, x, schema, 5), schema).tobytes() == x.tobytes()
        else:
            with pytest.raises(InvalidInput):
                wire.encode(codec, x, schema, 5)


@pytest.mark.soak
@pytest.mark.parametrize("codec", ALL, ids=composition.name)
def test_a_million_malformed_bodies(codec):
    """Only the one named error, or finite values; 10,000 of them are in the fast suite."""
    suite = CodecConformance()
    suite.codec, suite.cases = lambda: codec, 1_000_000
    suite.test_malformed_bodies()


@pytest.mark.soak
@pytest.mark.parametrize("codec", ALL, ids=composition.name)
def test_a_hundred_thousand_random_tensors(codec):
    check = test_random_tensors_come_back_within_the_bound.hypothesis.inner_test
    rng = generator(11)
    for _ in range(5000):
        check(codec=codec, seed=int(rng.integers(2**32)), n=int(rng.integers(300)), exponent=int(rng.integers(-40, 30)))


def test_ecuq_sends_values_as_they_are_where_a_grid_would_be_lost_in_rounding():
    x = np.array([-1.3e-40] * 5 + [0] * 9, np.float32)
    assert wire.decode(ECUQ(), wire.encode(ECUQ(), x, flat(14), 0), flat(14)).tobytes() == x.tobytes()


def test_ecuq_has_no_fewer_levels_than_its_bound_is_for():
    """The entropy of two levels is far below what is asked for and that of three above it: the tensor goes as it is."""
    x = np.array([-1, 0, 1] * 40, np.float32)
    back = wire.decode(ECUQ(bits=1.5), wire.encode(ECUQ(bits=1.5), x, flat(120), 0), flat(120))
    assert back.tobytes() == x.tobytes()


@given(st.lists(st.integers(0, 2**32 - 1), min_size=5, max_size=5))
def test_any_bits_come_back_in_full_precision(values):
    x = np.array(values, np.uint32).view(np.float32)
    back = wire.decode(Float32(), wire.encode(Float32(), x, SCHEMA, 0), SCHEMA)
    assert back.dtype == np.float32 and back.view(np.uint32).tolist() == values


def test_the_bytes_on_the_wire():
    """Little-endian, whatever the host, and the frame as documented."""
    data = wire.encode(Float32(), np.array([1.0, -2.0, 0.0, 0.5, 3.0], np.float32), SCHEMA, 7)
    assert data[:8] == b"hk\x02\x00\x05\x00\x00\x00" and data[8:16].hex() == SCHEMA.digest
    assert data[16:20] == wire.settings(Float32()) and data[20:24] == b"\x14\x00\x00\x00"
    assert data[28:36] == b"\x00\x00\x80\x3f\x00\x00\x00\xc0"
    assert wire.size(Float32(), SCHEMA) == (28 + 20, True)


def test_bytes_stay_what_they_are():
    """Golden bodies: a change of a layout, or of a random stream, is a new format."""
    x = np.array([0.5, -1.0, 0.25, 2.0, 0.0, -0.125, 1.0, 3.0], np.float32)
    golden = {
        QSGD(bits=4, bucket=4): "68841340cd8c4a4038d877ea",
        LFL(3): "000080bf2549123fc22af1",
        EDEN(2, 8): "0100000000000000af4c083f8365",
        TopK(0.25): "ff880000004000004040",
        RandK(0.25): "6e2fe1039901878a000080c000000000",
        Sign(): "00007c3f22",
        codecs.Ternary(): "000040409a85",
        ECUQ(): "04000000000080bfabaaaa3f0a00000063646064626464640600",
        codecs.Float16(): "0200003000b4002c0038000000a80034003a",
        codecs.BFloat16(): "0200003e80be803d003f000000bd803e403f",
    }
    assert {c: c.encode(x, flat(8), 1).hex() for c in golden} == golden


@given(st.binary(max_size=80))
def test_noise_is_refused(data):
    for codec in ALL:
        with pytest.raises(InvalidInput):
            wire.decode(codec, data, SCHEMA)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "codec float32: 0 bytes; a frame has 28"),
        (bytes(48), "begins with 000000, not 686b02"),
        (wire.encode(QSGD(), ONES, SCHEMA, 0), "codec id 3; this task uses 0"),
        (wire.encode(Float32(), np.ones(4, np.float32), flat(4), 0), "4 values of schema"),
        (wire.encode(Float32(), ONES, SCHEMA, 0)[:-1], "19 bytes of 20, or damaged; send it again"),
        (wire.encode(Float32(), ONES, SCHEMA, 0)[:-1] + b"!", "20 bytes of 20, or damaged; send it again"),
    ],
)
def test_the_sentence_says_what_is_wrong(data, message):
    with pytest.raises(InvalidInput, match=message):
        wire.decode(Float32(), data, SCHEMA)


def test_other_settings_are_noticed():
    with pytest.raises(InvalidInput, match="encoded with other settings"):
        wire.decode(QSGD(bits=5), wire.encode(QSGD(bits=4), ONES, SCHEMA, 0), SCHEMA)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QSGD(bits=17), "qsgd.bits = 17: must be a whole number from 2 to 16"),
        (lambda: QSGD(bits=0), "qsgd.bits = 0"),
        (lambda: QSGD(bucket=0), "qsgd.bucket = 0: must be 1 or more"),
        (lambda: QSGD(levels=0), "qsgd.levels = 0"),
        (lambda: LFL(0), "lfl.bits = 0: must be a whole number from 1 to 16"),
        (lambda: MinMax(17), "min_max.bits = 17"),
        (lambda: EDEN(5), "eden.bits = 5"),
        (lambda: EDEN(block=1000), "eden.block = 1000: must be a power of two"),
        (lambda: TopK(0), "top_k.share = 0"),
        (lambda: RandK(1.5), "rand_k.share = 1.5"),
        (lambda: Glue(0), "glue.share = 0"),
        (lambda: ECUQ(0.1), "ecuq.bits = 0.1"),
        (lambda: PowerSGD(0), "power_sgd.rank = 0"),
        (lambda: Zstd(level=20), "zstd.level = 20"),
    ],
)
def test_settings_that_there_are_not(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()


def test_torch_tensors_give_the_same_bytes():
    torch = pytest.importorskip("torch")
    x = torch.linspace(-1, 1, 50)
    for codec in ALL:
        assert wire.encode(codec, x, flat(50), 3) == wire.encode(codec, x.numpy(), flat(50), 3)
    with pytest.raises(InvalidInput, match="cannot be read as an array"):
        wire.encode(Float32(), x.requires_grad_(), flat(50), 3)


def test_the_plain_uplink_is_the_codec():
    uplink, delta = Plain(), np.arange(5, dtype=np.float32)
    data, memory = uplink.encode("kept", delta, None, SCHEMA, lease(0))
    assert data == wire.encode(Float32(), delta, SCHEMA, 0) and memory == "kept"
    assert uplink.size(SCHEMA, Cover()) == (48, True) and uplink.lossless
    back, aux = uplink.decode(data, SCHEMA, lease(0))
    assert back.tobytes() == delta.tobytes() and aux is None
    assert uplink.settle(memory, 0, accepted=False) == "kept"


# --- packing and positions -------------------------------------------------------------------------------


@given(st.integers(1, 32), st.data())
def test_packed_numbers_come_back(width, data):
    values = data.draw(st.lists(st.integers(0, 2**width - 1), max_size=70))
    codes = np.array(values, bits.dtype(width))
    packed = bits.pack(codes, width)
    assert len(packed) == bits.packed(len(values), width)
    assert bits.unpack(packed, width, len(values)).tolist() == values
    if width <= 8:
        assert int.from_bytes(packed, "little") == sum(v << i * width for i, v in enumerate(values))


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7])
def test_bits_after_the_last_value_are_refused(width):
    packed = bytearray(bits.pack(np.zeros(9, np.uint8), width))
    packed[-1] |= 0x80
    with pytest.raises(InvalidInput, match="bits are set after the last"):
        bits.unpack(bytes(packed), width, 9)


@given(st.integers(1, 500), st.data())
def test_positions_come_back(n, data):
    at = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1)))), np.int64)
    coded = positions.encode(at, n)
    back, end = positions.decode(coded + b"more", n, len(at))
    assert back.tolist() == at.tolist() and end == len(coded) <= positions.bound(n, len(at))


@pytest.mark.parametrize(
    ("share", "bits_each"), [(0.01, 8.108), (0.04, 6.085), (0.1, 4.756), (0.2, 3.694), (0.3, 2.961)]
)
def test_golomb_takes_the_bits_that_theory_says(share, bits_each):
    n = 1_000_000
    at = np.flatnonzero(generator(1).random(n) < share)
    assert 8 * len(positions.encode(at, n)) / len(at) == pytest.approx(bits_each, rel=0.005)


def test_a_bitmap_is_shorter_above_0_382():
    n = 100_000
    for share, kind in ((0.37, 1), (0.40, positions.BITMAP), (0.0001, positions.NUMBERS)):
        at = np.sort(generator(2).choice(n, int(share * n), replace=False))
        assert positions.encode(at, n)[0] == kind


# --- sizes and statistics that papers state --------------------------------------------------------------


def test_sizes_at_113_values():
    """61 bytes at 4 bits and one norm; full precision is 7.4 times that."""
    assert QSGD(bits=4, bucket=None).size(flat(113)) == (61, True)
    x = generator(0).standard_normal(113).astype(np.float32)
    assert len(TopK(0.01).encode(x, flat(113), 0)) == 6
    assert len(TopK(0.1).encode(x, flat(113), 0)) == 55


def test_sizes_of_the_convolutional_networks():
    """The published tables, to the byte: 8, 4 and 2 bits of the CelebA and CIFAR-10 models."""
    celeba = Schema((*(Segment(f"w{i}", s) for i, s in enumerate(_kernels(3, 29088))), Segment("rest", (194,))))
    cifar = Schema((*(Segment(f"w{i}", s) for i, s in enumerate(_kernels(3, 31392))), Segment("rest", (202,))))
    assert [MinMax(b).size(celeba)[0] for b in (8, 4, 2)] == [29_924, 15_380, 8_108]
    assert [MinMax(b).size(cifar)[0] for b in (8, 4, 2)] == [32_260, 16_564, 8_716]


def _kernels(channels, weights):
    """Four convolutions of 32 channels and what is left for the last layer."""
    convolutions = [(32, channels, 3, 3), *[(32, 32, 3, 3)] * 3]
    used = sum(a * b * c * d for a, b, c, d in convolutions)
    return [*convolutions, (1, weights - used)]


@pytest.mark.parametrize(("s", "bucket", "d"), [(7, None, 113), (1, 32, 64), (127, 128, 300)])
def test_qsgd(s, bucket, d):
    """Mean, grid, largest value, and measured error below min(d/s^2, sqrt(d)/s), over 10,000 draws."""
    codec, schema = QSGD(levels=s, bucket=bucket), flat(d)
    x = generator(3).standard_normal(d).astype(np.float32)
    draws = np.stack([codec.decode(codec.encode(x, schema, k), schema) for k in range(10_000)]).astype(np.float64)
    error = draws.std(axis=0) / 100
    assert (np.abs(draws.mean(axis=0) - x) <= 4.5 * error + 1e-3 * np.abs(x)).all()
    width = bucket or d
    for at in range(0, d, width):
        part = slice(at, min(at + width, d))
        norm = float(np.linalg.norm(x[part].astype(np.float64)))
        level = draws[:, part] / norm * s
        assert np.allclose(level, np.rint(level), atol=1e-3 * s) and np.abs(level).max() <= s * (1 + 1e-4)
    measured = float(((draws - x) ** 2).sum(axis=1).mean() / np.dot(x, x))
    assert measured < min(width / s**2, sqrt(width) / s) and measured <= codec.distortion(schema) * 1.01


@pytest.mark.parametrize(("bits_", "error"), [(1, 0.571), (2, 0.133), (3, 0.0358), (4, 0.0096)])
def test_eden_reaches_the_error_of_its_paper(bits_, error):
    x = generator(4).standard_normal(1 << 15).astype(np.float32)
    codec, schema = EDEN(bits_), flat(1 << 15)
    y = codec.decode(codec.encode(x, schema, 9), schema)
    assert float(((y - x) ** 2).sum() / (x**2).sum()) == pytest.approx(error, rel=0.03)


def test_ecuq_meets_its_entropy():
    x = generator(5).standard_normal(100_000).astype(np.float32)
    for bits_ in (1.5, 2.0, 4.0):
        data = ECUQ(bits_).encode(x, flat(100_000), 0)
        assert bits_ - 0.15 < 8 * len(data) / 100_000 < bits_ + 0.2


@given(arrays.arrays(np.float32, st.integers(1, 200), elements=st.floats(-8, 8, width=32)), st.floats(0.01, 1))
def test_top_k_is_a_sort(x, share):
    codec, schema = TopK(share), flat(len(x))
    k = codec.kept(len(x))
    y = codec.decode(codec.encode(x, schema, 0), schema)
    order = np.argsort(-np.abs(x), kind="stable")[:k]
    assert sorted(np.flatnonzero(y)) == sorted(i for i in order if x[i] != 0)
    assert (y[order] == x[order]).all()


def test_a_large_top_k_is_a_sort():
    """The way by a sample, and back from a sample that misleads."""
    x = generator(6).standard_normal(300_000).astype(np.float32)
    for y in (x, np.sort(x), np.where(np.arange(300_000) % 18 == 0, 0, 1).astype(np.float32)):
        at = codecs.sparse.largest(y, 3000)
        assert at.tolist() == np.sort(np.argsort(-np.abs(y), kind="stable")[:3000]).tolist()


def test_glue_with_a_shared_mask():
    codec, n = Glue(0.2), 1000
    x, mask = generator(7).standard_normal(n).astype(np.float32), np.zeros(n, np.bool_)
    mask[generator(8).choice(n, 160, replace=False)] = True
    body = codec.encode(x, flat(n), 0, mask)
    y = codec.decode(body, flat(n), mask)
    assert (y[mask] == x[mask]).all() and np.count_nonzero(y) == 200
    assert len(body) < len(codec.encode(x, flat(n), 0)), "shared positions cost nothing"
    with pytest.raises(InvalidInput, match="another shared mask"):
        codec.decode(body, flat(n), np.roll(mask, 1))
    with pytest.raises(InvalidInput, match="at most 200 of 1000"):
        codec.encode(x, flat(n), 0, np.ones(n, np.bool_))


def test_power_sgd_keeps_what_has_low_rank():
    a, b = generator(9).standard_normal((40, 3)), generator(10).standard_normal((3, 50))
    schema = Schema((Segment("w", (40, 10, 5)), Segment("b", (40,))))
    x = np.concatenate([(a @ b).ravel(), np.arange(40)]).astype(np.float32)
    y = PowerSGD(3).decode(PowerSGD(3).encode(x, schema, 0), schema)
    assert np.allclose(y, x, atol=1e-4) and PowerSGD(3).size(schema)[0] == 4 * (3 * 90 + 40)
