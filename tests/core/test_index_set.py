"""A set of small integers against Python's own."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from hocket.index_set import IndexSet
from hocket.snapshot import pack, unpack

N = 12
moves = st.lists(st.tuples(st.booleans(), st.integers(0, N - 1)), max_size=60)


def play(moves):
    ours, theirs = IndexSet.empty(N), set()
    for add, i in moves:
        (ours.add if add else ours.discard)(i)
        (theirs.add if add else theirs.discard)(i)
        assert len(ours) == len(theirs) and (i in ours) == add
    return ours, theirs


@given(moves)
def test_it_is_a_set(moves):
    ours, theirs = play(moves)
    assert set(ours) == theirs and [i in ours for i in range(N)] == [i in theirs for i in range(N)]
    for at, i in enumerate(ours.items):
        assert ours.where[i] == at
    assert [ours.where[i] for i in range(N) if i not in theirs] == [-1] * (N - len(theirs))


@given(moves, moves)
def test_its_order_is_a_function_of_its_moves_and_survives_a_snapshot(before, after):
    one, _ = play(before)
    other = unpack(pack(one), IndexSet)
    for add, i in after:
        for s in (one, other):
            (s.add if add else s.discard)(i)
    assert list(one) == list(other) == list(play(before + after)[0])


def test_empty():
    s = IndexSet.empty(3)
    assert (len(s), list(s), s.items, s.where) == (0, [], array("i"), array("i", [-1, -1, -1]))
    assert list(IndexSet.empty(0)) == []
