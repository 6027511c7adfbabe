"""Named segments of one flat vector, there and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.errors import InvalidInput
from hocket.schema import Kind, Schema, Segment

MODEL = Schema(
    (
        Segment("w", (2, 3)),
        Segment("mean", (3,), Kind.BUFFER),
        Segment("embedding", (9, 9), Kind.FROZEN),
        Segment("b", (1,)),
    )
)


def test_what_is_frozen_does_not_travel():
    assert [s.name for s in MODEL.travelling] == ["w", "mean", "b"]
    assert (MODEL.size, MODEL.nbytes) == (10, 40)
    assert Segment("x", (0, 5)).size == 0 and Schema(()).size == 0


shapes = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple), max_size=4)


@given(shapes, st.lists(st.sampled_from(Kind), min_size=4, max_size=4), st.integers(0, 3))
def test_flatten_undoes_views(shapes, kinds, lanes):
    schema = Schema(tuple(Segment(f"s{i}", s, kinds[i]) for i, s in enumerate(shapes)))
    flat = np.arange(schema.size, dtype=np.float32)
    views = schema.views(flat)
    assert list(views) == [s.name for s in schema.travelling]
    assert schema.flatten(views).tobytes() == flat.tobytes()
    assert schema.flatten(dict(reversed(views.items()))).tobytes() == flat.tobytes(), "order of names is no matter"
    many = np.arange(lanes * schema.size, dtype=np.float32).reshape(lanes, schema.size)
    for s in schema.travelling:
        assert schema.views(many)[s.name].shape == (lanes, *s.shape)
        for lane in range(lanes):
            assert (schema.views(many)[s.name][lane] == schema.views(many[lane])[s.name]).all()


def test_a_single_number_is_a_segment():
    """As the count of batches that a batch normalisation has seen."""
    schema = Schema((Segment("seen", (), Kind.BUFFER), Segment("w", (2,))))
    assert schema.views(np.arange(3, dtype=np.float32))["seen"].shape == ()
    assert schema.views(np.zeros((4, 3), np.float32))["seen"].shape == (4,)


def test_views_share_memory_and_flatten_does_not():
    flat = np.zeros(MODEL.size, np.float32)
    views = MODEL.views(flat)
    views["w"][1, 2] = 5.0
    views["b"][...] = 7.0
    assert flat[5] == 5.0 and flat[9] == 7.0
    copy = MODEL.flatten(views)
    copy[0] = 9.0
    assert flat[0] == 0.0


def test_flatten_takes_any_numbers_as_float32():
    flat = MODEL.flatten({"w": np.ones((2, 3), np.int64), "mean": np.ones(3), "b": np.array([1.5])})
    assert flat.dtype == np.float32 and flat.tolist() == [1] * 9 + [1.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": None}, "tensors: w missing or unknown; the schema has w, mean, b"),
        ({"v": np.zeros(1)}, "tensors: v missing or unknown"),
        ({"embedding": np.zeros((9, 9))}, "tensors: embedding missing or unknown"),
        ({"w": np.zeros((3, 2))}, r"tensor 'w' has shape \(3, 2\), not \(2, 3\)"),
        ({"b": np.zeros(())}, r"tensor 'b' has shape \(\), not \(1,\)"),
        ({"b": np.zeros(1, complex)}, "tensor 'b' is complex128; give real numbers"),
        ({"b": ["one"]}, "tensor 'b' is <U3; give real numbers"),
        ({"b": [[1.0], [1.0, 2.0]]}, "tensor 'b': list cannot be read as an array"),
    ],
)
def test_tensors_that_do_not_fit(change, message):
    tensors = {"w": np.zeros((2, 3)), "mean": np.zeros(3), "b": np.zeros(1)} | change
    with pytest.raises(InvalidInput, match=message):
        MODEL.flatten({k: v for k, v in tensors.items() if v is not None})


def test_a_vector_is_no_mapping():
    with pytest.raises(InvalidInput, match="tensors: ndarray; give a mapping of names to arrays"):
        MODEL.flatten(np.zeros(MODEL.size))


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ((Segment("a", (1,)), Segment("a", (2,))), "schema: segment 'a' appears twice"),
        ((Segment("a", (2, -1)),), r"schema: segment 'a' has shape \(2, -1\); sizes must be 0 or more"),
    ],
)
def test_schemas_that_cannot_be(segments, message):
    with pytest.raises(InvalidInput, match=message):
        Schema(segments)


def test_a_digest_names_names_shapes_kinds_and_order():
    base = Schema((Segment("a", (2, 3)), Segment("b", (1,))))
    others = [
        Schema((Segment("b", (1,)), Segment("a", (2, 3)))),
        Schema((Segment("a", (3, 2)), Segment("b", (1,)))),
        Schema((Segment("a", (2, 3)), Segment("c", (1,)))),
        Schema((Segment("a", (2, 3)), Segment("b", (1,), Kind.BUFFER))),
        Schema((Segment("a", (2, 3)),)),
        Schema(()),
    ]
    assert len({s.digest for s in (base, *others)}) == 7
    assert base.digest == Schema(base.segments).digest and len(base.digest) == 16


def test_a_name_cannot_pretend_to_be_two_segments():
    two = Schema((Segment("a", (1,)), Segment("b", (1,))))
    assert Schema((Segment("a:trainable:1;b", (1,)),)).digest != two.digest
