"""States to bytes and back, and what is not a state."""

from array import array
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from msgspec import Struct
from numpy.typing import NDArray

from hocket.errors import Damaged
from hocket.index_set import IndexSet
from hocket.lease import Cover, Edge, Lease, Node
from hocket.snapshot import digest, pack, unpack
from hocket.testing.moments import lease


class Inner(Struct):
    values: np.ndarray
    typed: NDArray[np.int64]


class State(Struct):
    counts: array
    inner: Inner
    names: dict[str, list[int]] = {}
    by_number: dict[int, tuple[int, float]] = {}
    pair: tuple[int, ...] = ()
    leases: dict[int, Lease] = {}
    nothing: Inner | None = None
    text: str = ""
    weight: float = 0.0


def state() -> State:
    return State(
        array("i", [3, -1, 2**31 - 1]),
        Inner(np.arange(6, dtype=np.float32).reshape(2, 3), np.array([2**62, -1])),
        {"a": [1, 2]},
        {-5: (1, 0.1), 10**12: (2, float("inf"))},
        (1, 2),
        {4: lease(4, node=Node("a", 7, cover=Cover(2, 9)), deadline=5)},
        None,
        "é",
        -0.0,
    )


def test_a_state_comes_back_as_it_was():
    back = unpack(pack(state()), State)
    assert pack(back) == pack(state()) and digest(back) == digest(state())
    assert back.counts == state().counts and back.counts.typecode == "i"
    assert back.inner.values.dtype == np.float32 and back.inner.values.shape == (2, 3)
    assert back.by_number == state().by_number and back.leases == state().leases
    assert back.inner.values.flags.writeable, "a restored state is changed in place"
    assert np.copysign(1, back.weight) == -1


@given(
    hnp.arrays(
        st.sampled_from(("f4", "f8", "i8", "u1", "bool", "<i2", ">f4")), hnp.array_shapes(min_dims=0, min_side=0)
    )
)
def test_arrays_of_any_shape_and_type(values):
    back = unpack(pack(values), np.ndarray)
    assert (back.dtype, back.shape, back.tobytes()) == (values.dtype, values.shape, values.tobytes())


@given(st.sampled_from("bBhHiIqQfd"), st.lists(st.integers(0, 100)))
def test_array_arrays_of_any_type(code, values):
    assert unpack(pack(array(code, values)), array) == array(code, values)


def test_views_and_orders_of_memory_do_not_matter():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert pack(x.T) == pack(np.ascontiguousarray(x.T)) == pack(np.asfortranarray(x.T))
    assert pack(x[:, ::2]) == pack(x[:, ::2].copy())
    assert pack(np.float32(1.5)) == pack(1.5) and pack(np.int64(3)) == pack(3)


def test_a_digest_tells_states_apart():
    other = state()
    other.inner.values[1, 2] += 1
    assert digest(state()) != digest(other)
    assert digest(state(), other) != digest(other, state())
    assert digest(b"ab") != digest(b"a")
    assert len(digest()) == 32


@pytest.mark.parametrize("value", [object(), {1: object()}, lambda: None, 1j])
def test_what_cannot_be_part_of_a_state(value):
    with pytest.raises(TypeError, match="cannot be part of a snapshot; use plain values and arrays"):
        pack(value)


def test_every_truncation_is_damage():
    data = pack(state())
    for end in range(len(data)):
        with pytest.raises(Damaged, match=r"snapshot of State: .*it was written by another version or is torn"):
            unpack(data[:end], State)
    with pytest.raises(Damaged):
        unpack(data + b"\0", State)


@given(st.binary(max_size=60))
def test_noise_is_damage(data):
    for kind in (State, IndexSet, Edge):
        with pytest.raises(Damaged):
            unpack(data, kind)


junk = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=5), st.binary(max_size=9)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "array": st.one_of(st.sampled_from(("i", "d", "u", "x")), junk),
        "dtype": st.one_of(st.sampled_from(("<f4", "O", "V3", "U2", "f4,i8", "", "zz")), junk),
        "shape": st.one_of(st.lists(st.integers(-2, 4), max_size=3), junk),
        "data": st.one_of(st.binary(max_size=16), junk),
    },
)


@given(st.one_of(fields, junk), st.sampled_from((array, np.ndarray)))
def test_an_array_or_damage_and_nothing_else(value, kind):
    try:
        back: Any = unpack(msgspec.msgpack.encode(value), kind)
    except Damaged:
        return
    assert isinstance(back, kind)


@pytest.mark.parametrize("values", [np.array([object(), None]), np.zeros(2, "f4,i8")])
def test_arrays_without_plain_numbers_are_refused(values):
    with pytest.raises(TypeError, match="cannot be part of a snapshot"):
        pack(values)
