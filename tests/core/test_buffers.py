"""Running statistics: values that are averaged, however stale the update that brings them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.book import Book
from hocket.buffers import positions, rebased
from hocket.learning.learner import Trained
from hocket.merge import MeanByCount, Mixing
from hocket.optimizer import SGD, Adam
from hocket.policies import Contribution
from hocket.schema import Kind, Schema, Segment
from hocket.strategy import Strategy, TaskPart, fill
from hocket.testing.moments import lease

SCHEMA = Schema(
    (
        Segment("w", (2,)),
        Segment("count", (), Kind.FROZEN),
        Segment("var", (1,), Kind.BUFFER),
        Segment("b", (1,)),
        Segment("mean", (2,), Kind.BUFFER),
    )
)
FIRST = np.array([1, 2, 1, 3, 0, 0], np.float32)


class Source:
    def __init__(self):
        self.done = {}

    def take(self, leases):
        return [self.done.pop(x.id) for x in leases]


def book_of(**part) -> tuple[Book, Source]:
    source = Source()
    parts = fill(Strategy("x", task=TaskPart(**part)), ("a",)).tasks
    return Book(parts, {"a": SCHEMA}, {"a": FIRST.copy()}, {"a": 9}, source), source


def test_where_they_are():
    assert positions(SCHEMA).tolist() == [2, 4, 5]
    assert positions(Schema((Segment("w", (2,)),))) is None


@pytest.mark.parametrize("merge", [MeanByCount(), Mixing(1.0)])
@pytest.mark.parametrize("optimizer", [SGD(1.5), Adam(lr=1.0)])
@given(seen=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=12), fresh=st.booleans())
def test_statistics_stay_between_what_was_seen(merge, optimizer, seen, fresh):
    """A step per client, each from the first model or from the newest, ends at the variance that the client saw."""
    book, source = book_of(merge=merge, optimizer=optimizer)
    leases = [lease(i, "a", i % 9, 0) for i in range(len(seen))]
    for each in leases if not fresh else ():
        book.open(each)
    for i, var in enumerate(seen):
        each = lease(i, "a", i % 9, i) if fresh else leases[i]
        if fresh:
            book.open(each)
        delta = np.zeros(6, np.float32)
        delta[2] = np.float32(var) - book.start(each)[2]
        source.done[i] = Trained(delta, 10, {})
        book.accumulate(each, 1.0)
        book.step("a")
        assert book.model("a")[2] == pytest.approx(var, rel=1e-5)


def test_only_buffers_of_the_cover_are_counted_from_now():
    start, x = np.zeros(6, np.float32), np.arange(6, dtype=np.float32)
    start[:3] = [5, 5, 4]
    delta = np.array([1, 1, 1, 0, 0, 0], np.float32)
    c = Contribution(lease(0), 1.0, 10, delta, start, np.array([0, 1, 2], np.int32))
    found = rebased(c, positions(SCHEMA), x)
    assert found.delta.tolist() == [1, 1, 3, 0, 0, 0] and found.start.tolist() == [5, 5, 2, 0, 0, 0]
    assert delta[2] == 1 and start[2] == 4


def test_nothing_is_copied_where_nothing_has_moved():
    c = Contribution(lease(0), 1.0, 10, np.ones(6, np.float32), FIRST)
    assert rebased(c, positions(SCHEMA), FIRST) is c
