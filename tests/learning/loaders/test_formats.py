"""Every format on tiny files: what is right is read, what is wrong is one sentence."""

import gzip
import io
import lzma

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hocket import npz
from hocket.errors import InvalidInput
from hocket.learning.loaders import cifar, idx, table, text


def as_idx(x: np.ndarray) -> bytes:
    return bytes([0, 0, 8, x.ndim]) + b"".join(n.to_bytes(4, "big") for n in x.shape) + x.tobytes()


def as_npy(x: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, x)
    return out.getvalue()


def as_npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


IMAGES = np.arange(2 * 28 * 28, dtype=np.uint64).astype(np.uint8).reshape(2, 28, 28)
COLOURS = np.arange(2 * 3072, dtype=np.uint64).astype(np.uint8).reshape(2, 32, 32, 3)


@given(arrays(np.uint8, array_shapes(max_dims=4)), st.booleans())
def test_idx_round_trip(x: np.ndarray, packed: bool) -> None:
    raw = as_idx(x)
    np.testing.assert_array_equal(idx.decode(gzip.compress(raw, mtime=0) if packed else raw), x)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "f: begins with nothing; an IDX file begins with 0000"),
        (b"\x89PNG....", "f: begins with 89504e47; an IDX file begins with 0000"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 1]), "f: holds type 0x0d; only unsigned bytes"),
        (as_idx(IMAGES)[:9], "f: ends within its header"),
        (as_idx(IMAGES)[:-1], r"header announces 1568 bytes \[2, 28, 28\], 1567 bytes follow"),
        (as_idx(IMAGES) + b"x", "more bytes follow"),
        (gzip.compress(as_idx(IMAGES), mtime=0)[:60], "f: damaged gzip"),
        (gzip.compress(as_idx(IMAGES), mtime=0)[:-9] + b"123456789", "f: damaged gzip|bytes follow"),
    ],
)
def test_idx_refusals(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        idx.decode(raw, "f")


def test_cifar_forms_agree() -> None:
    planar = COLOURS.transpose(0, 3, 1, 2)
    binary = b"".join(bytes([label]) + image.tobytes() for label, image in zip([3, 9], planar, strict=True))
    images, labels = cifar.decode_binary(binary)
    packed = cifar.decode_xz(lzma.compress(as_npy(COLOURS)))
    arrays = npz.arrays(as_npz(images=COLOURS, labels=np.array([3, 9])), "f")
    for got in (images, packed, cifar.channels_first(arrays["images"])):
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, planar)
    assert labels.tolist() == cifar.check_labels(arrays["labels"]).tolist() == [3, 9]


PACKED = lzma.compress(as_npy(COLOURS))
BOXED = np.array([{"an": "object"}], object)


@pytest.mark.parametrize(
    ("decode", "raw", "message"),
    [
        (cifar.decode_binary, b"", "f: 0 bytes are not a number of images of 3073 bytes"),
        (cifar.decode_binary, bytes(3074), "f: 3074 bytes are not"),
        (cifar.decode_binary, bytes(3073) + bytes([10]) + bytes(3072), "label 10 of row 1 is not a class from 0 to 9"),
        (cifar.decode_xz, b"", "f: cut off"),
        (cifar.decode_xz, b"not xz at all", "f: damaged xz"),
        (cifar.decode_xz, PACKED[:-20], "f: cut off"),
        (cifar.decode_xz, lzma.compress(b"not npy"), "f: not a plain array"),
        (cifar.decode_xz, lzma.compress(as_npy(COLOURS)[:-5]), "f: not a plain array"),
        (cifar.decode_xz, lzma.compress(as_npy(BOXED)), "f: not a plain array"),
        (cifar.decode_xz, lzma.compress(as_npy(COLOURS.astype(int))), r"images are int64\[2, 32, 32, 3\]; give uint8"),
        (npz.arrays, b"PK", "f: damaged npz"),
        (npz.arrays, as_npz(x=COLOURS)[:-30], "f: damaged npz"),
        (npz.arrays, as_npz(x=BOXED), "f: not a plain array"),
    ],
)
def test_cifar_refusals(decode, raw: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decode(raw, "f")


@pytest.mark.parametrize("labels", [np.array([0.5]), np.array([[1]]), np.array([0, -1])])
def test_cifar_labels_are_classes(labels: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="f: label"):
        cifar.check_labels(labels, "f")


CSV = b"site,age,sick\nA,63,1\nB,,0\n,51,1\n"


def as_parquet(columns: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(columns, out)
    return out.getvalue()


@pytest.mark.parametrize(
    "raw",
    [
        CSV,
        gzip.compress(CSV, mtime=0),
        as_parquet(
            pa.table(
                {
                    "site": pa.array(["A", "B", None]).dictionary_encode(),
                    "age": pa.array([63, None, 51]),
                    "sick": [True, False, True],
                }
            )
        ),
    ],
)
def test_tables_agree(raw: bytes) -> None:
    columns = table.decode(raw)
    assert columns["site"].tolist() == ["A", "B", ""]
    np.testing.assert_array_equal(columns["age"], [63, np.nan, 51])
    assert columns["sick"].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "f: cannot be read as a table"),
        (b"a,b\n", "f: has no rows"),
        (b"a,b\n1,2\n3\n", "f: cannot be read as a table .*Expected 2 columns, got 1"),
        (gzip.compress(CSV, mtime=0)[:-12], "f: cannot be read as a table"),
        (as_parquet(pa.table({"a": [1]}))[:-6], "f: cannot be read as a table"),
    ],
)
def test_table_refusals(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        table.decode(raw, "f")


def test_only_training_rows_decide_how_holes_are_filled() -> None:
    columns = {"x": np.array([1.0, np.nan, 3.0, 1e9]), "kind": np.array(["a", "b", "", "c"])}
    encoder = table.Encoder.fit(columns, ["x"], ["kind"], rows=np.array([0, 1, 2]))
    assert encoder.numeric[0][1:3] == (2.0, 2.0) and encoder.categorical == (("kind", ("a", "b")),)
    got = encoder.encode(columns)
    assert got.dtype == np.float32 and got[1].tolist() == [0, 0, 1] and got[3, 1:].tolist() == [0, 0]
    empty = table.Encoder.fit({"x": np.array([np.nan, np.nan])}, ["x"], [], rows=np.array([0, 1]))
    assert empty.encode({"x": np.array([np.nan, 2.0])}).tolist() == [[0.0], [2.0]]


def test_columns_are_named_in_refusals() -> None:
    columns = table.decode(CSV)
    with pytest.raises(InvalidInput, match="has no column 'agee'; it has site, age, sick"):
        table.Encoder.fit(columns, ["agee"], [], rows=np.array([0]))
    with pytest.raises(InvalidInput, match="column 'site' holds text; name it as categorical"):
        table.Encoder.fit(columns, ["site"], [], rows=np.array([0]))


PLAY = "A:\nAy.\n\nB:\nNo!\nNever.\n\n\nA:\nWhy?\n\nC:\n\nD:\n"


def test_speeches_by_role() -> None:
    assert text.by_role(PLAY) == {"A": "Ay.\nWhy?", "B": "No!\nNever."}
    with pytest.raises(InvalidInput, match="no speech found"):
        text.by_role("prose, and nothing else")


@given(st.lists(st.text("abc", max_size=30), min_size=1, max_size=5), st.integers(1, 7))
def test_windows_stay_within_a_role(said: list[str], length: int) -> None:
    roles = {str(i): s for i, s in enumerate(said)}
    x, y, role = text.windows_by_role(roles, "abc", length)
    assert x.shape == y.shape == (len(role), length) and x.dtype == y.dtype == np.int64
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    for i, s in enumerate(said):
        mine = x[role == i]
        assert len(mine) == max(len(s) - 1, 0) // length
        assert "".join("abc"[c] for c in mine.ravel()) == s[: mine.size]


def test_text_refusals() -> None:
    with pytest.raises(InvalidInput, match="character 'z' is not in the vocabulary"):
        text.encode("z", text.vocabulary("abc"))
    with pytest.raises(InvalidInput, match="windows: length is 0"):
        text.windows(np.arange(3), 0)
