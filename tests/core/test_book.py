"""The data plane: versions, readers, steps, what is kept, what is offered, and all of it after a snapshot."""

import numpy as np
import pytest

from hocket.book import Book
from hocket.errors import Diverged, InvalidInput
from hocket.guard import Polynomial, Staleness
from hocket.learning.learner import Trained
from hocket.lease import Cover, Edge, Lease, Node
from hocket.merge import MeanByWeight
from hocket.optimizer import SGD, Momentum
from hocket.schema import Schema, Segment
from hocket.snapshot import digest
from hocket.strategy import Strategy, TaskPart, fill
from hocket.testing.moments import lease

N = 4
SCHEMA = Schema((Segment("w", (N,)),))
START = np.array([1, 2, -3, 0.5], np.float32)


class Source:
    """Deltas by lease id, each handed over once."""

    def __init__(self, **deltas):
        self.deltas = {}

    def give(self, given: Lease, delta, samples=10):
        self.deltas[given.id] = Trained(np.full(N, delta, np.float32), samples, {"loss": 1.0})

    def take(self, leases):
        return [self.deltas.pop(x.id) for x in leases]

    def look(self, given):
        return self.deltas[given.id]


def book_of(part=TaskPart(), initial=START, names=("a",)) -> tuple[Book, Source]:  # noqa: B008
    source = Source()
    parts = fill(Strategy("x", task=part), names).tasks
    given = {} if initial is None else {n: initial.copy() for n in names}
    return Book(parts, dict.fromkeys(names, SCHEMA), given, dict.fromkeys(names, 9), source, seed=3), source


def at_work(book, number, version=0, task="a", **fields) -> Lease:
    given = lease(number, task, number % 9, version, **fields)
    book.open(given)
    return given


def stepped(book, source, deltas, first=0, version=0, weight=1.0):
    """Open, accumulate and step once over updates of these values."""
    for i, d in enumerate(deltas):
        given = at_work(book, first + i, version)
        source.give(given, d)
        assert book.accumulate(given, weight) == book.shelves["a"].node.version - version
    return book.step("a")


def test_a_step_merges_applies_and_publishes():
    book, source = book_of(TaskPart(optimizer=SGD(0.5)))
    e = stepped(book, source, [1.0, 3.0])
    assert (e.task, e.node, e.count) == ("a", Node("a", 1), 2)
    np.testing.assert_allclose(book.model("a"), START + 0.5 * 2.0)
    assert e.facts["norm"] == pytest.approx(np.sqrt(N) * 2.0)
    assert e.size == len(book.read(book.path(None, e.node)[0])) == 28 + 4 * N
    assert not source.deltas, "results are taken once"


def test_an_update_weighs_by_its_age_at_the_step():
    book, source = book_of(TaskPart(guard=Staleness(Polynomial()), merge=MeanByWeight()))
    old = at_work(book, 0)
    stepped(book, source, [0.0], first=1)
    stepped(book, source, [0.0], first=2, version=1)
    stepped(book, source, [0.0], first=3, version=2)
    new = at_work(book, 4, 3)
    for given, d in ((old, 4.0), (new, 1.0)):
        source.give(given, d)
        book.accumulate(given, 1.0)
    book.step("a")
    np.testing.assert_allclose(book.model("a"), START + (0.5 * 4.0 + 1.0 * 1.0) / 1.5, rtol=1e-6)


def test_a_version_lives_as_long_as_somebody_works_on_it():
    book, source = book_of()
    values = book.shelves["a"].values
    slow, lost = at_work(book, 0), at_work(book, 1)
    stepped(book, source, [1.0], first=2)
    stepped(book, source, [1.0], first=3, version=1)
    assert sorted(values) == [0, 2], "version 1 has no reader left, 0 has two"
    assert book.start(slow).tolist() == START.tolist()
    book.release(lost)
    assert sorted(values) == [0, 2]
    source.give(slow, 1.0)
    book.accumulate(slow, 1.0)
    assert sorted(values) == [0, 2], "an update in line may still need its start"
    book.discard(slow.id, "a")
    assert sorted(values) == [2] and not book.shelves["a"].readers
    book.discard(slow.id, "a")


def test_an_offered_node_is_held_until_it_is_let_go():
    book, source = book_of()
    node = Node("a", 0)
    assert book.hold(node)
    stepped(book, source, [1.0])
    assert 0 in book.shelves["a"].values and book.hold(node)
    book.let_go(node)
    book.let_go(node)
    assert 0 not in book.shelves["a"].values and not book.hold(node)
    with pytest.raises(InvalidInput, match="is gone; a newer one has been published"):
        book.read(Edge(node, None, 32))


def test_paths_and_sizes():
    book, _ = book_of()
    want = Node("a", 0)
    (edge,) = book.path(None, want)
    assert (edge.target, edge.source, edge.exact) == (want, None, True)
    assert len(book.read(edge)) == edge.size == book.upload_size("a")[0]
    assert book.path(want, want) == ()


def test_published_values_cannot_be_written_to():
    book, source = book_of()
    stepped(book, source, [1.0])
    with pytest.raises(ValueError, match="read-only"):
        book.start(at_work(book, 5, 1))[0] = 9.0


def test_the_first_model_cannot_be_written_to_either():
    book, _ = book_of()
    with pytest.raises(ValueError, match="read-only"):
        book.start(at_work(book, 5))[0] = 9.0


def test_a_model_that_is_not_finite_ends_the_run_with_advice():
    for delta in (np.nan, np.inf):
        book, source = book_of()
        with pytest.raises(Diverged, match="task 'a': the model is not finite after step 1; lower the learning rate"):
            stepped(book, source, [delta])
    book, source = book_of(TaskPart(optimizer=SGD(1e38)))
    with np.errstate(over="ignore"), pytest.raises(Diverged, match="step 1"):
        stepped(book, source, [1e10])


def test_a_kept_copy_is_published_as_a_new_version_in_a_new_epoch():
    book, source = book_of(TaskPart(optimizer=Momentum()))
    stepped(book, source, [1.0])
    kept, memory = book.model("a").copy(), digest(book.shelves["a"].optimizer)
    assert book.keep("a").version == 1
    stepped(book, source, [5.0], first=2, version=1)
    e = book.restore_kept("a")
    assert (e.node, e.epoch) == (Node("a", 3), 1)
    assert book.model("a").tobytes() == kept.tobytes() and digest(book.shelves["a"].optimizer) == memory
    assert book.restore_kept("a").node.version == 4, "it stays"


def test_nothing_kept_nothing_restored():
    for initial in (START, None):
        book, _ = book_of(initial=initial)
        with pytest.raises(
            InvalidInput, match="task 'a': nothing was kept, so there is nothing to restore; Keep first"
        ):
            book.restore_kept("a")


def test_covers_are_the_first_of_a_ranking():
    book, _ = book_of()
    assert book.ranking("a", Cover()) is None
    with pytest.raises(InvalidInput, match="task 'a': no ranking of epoch 0; Rank comes before covers"):
        book.ranking("a", Cover(0, 2))
    assert book.rank("a").epoch == 1
    assert sorted(book.ranking("a", Cover(1, 2)).positions(2)) == [1, 2], "the largest weights first"
    assert book.rank("a", (2, 3)).epoch == 2
    ranking = book.ranking("a", Cover(2, 3))
    assert ranking.cuts == (2, 3, 4) and ranking.positions(2).tolist() == [1, 2] == ranking.band(0).tolist()
    with pytest.raises(InvalidInput, match="no ranking of epoch 1"):
        book.ranking("a", Cover(1, 2))


def test_subjects_of_an_evaluation():
    book, source = book_of()
    given = at_work(book, 0)
    source.give(given, 2.0)
    assert book.model("a").tolist() == book.model("a", "kept").tolist() == START.tolist()
    with pytest.raises(InvalidInput, match="no subject 'returned' of lease 0"):
        book.model("a", "returned", 0)
    book.accumulate(given, 1.0)
    np.testing.assert_allclose(book.model("a", "returned", 0), START + 2.0)
    with pytest.raises(InvalidInput, match="no subject 'best' of lease -1; published, kept, or returned"):
        book.model("a", "best")


def test_without_arrays_the_same_versions_and_sizes():
    full, source = book_of()
    bare, _ = book_of(initial=None)
    events = []
    for book in (full, bare):
        given = at_work(book, 0)
        source.give(given, 1.0)
        book.accumulate(given, 1.0)
        events.append(book.step("a"))
    assert (events[0].node, events[0].count, events[0].size) == (events[1].node, events[1].count, events[1].size)
    assert bare.model("a") is None and bare.path(None, Node("a", 1)) == full.path(None, Node("a", 1))
    assert bare.keep("a").version == 1 and bare.restore_kept("a").node.version == 2
    assert bare.rank("a").epoch == 2


def test_tasks_do_not_touch_one_another():
    book, source = book_of(names=("a", "b"))
    stepped(book, source, [1.0])
    assert book.shelves["b"].node.version == 0 and book.model("b").tolist() == START.tolist()


def test_a_book_restored_between_any_two_moves_goes_on_bit_for_bit():
    part = TaskPart(optimizer=Momentum(0.7, 0.9), guard=Staleness(Polynomial()))

    def play(interrupted):
        book, source = book_of(part)

        def again(book):
            if not interrupted:
                return book
            other, _ = book_of(part)
            other.source = source
            other.restore(book.snapshot())
            assert other.snapshot() == book.snapshot()
            return other

        slow = at_work(book, 100)
        for v in range(4):
            for i in range(3):
                given = at_work(book, 10 * v + i, v)
                source.give(given, 0.1 * i - 0.3 * v)
                book = again(book)
                book.accumulate(given, 0.5 + i)
                book = again(book)
            if v == 2:
                source.give(slow, 1.0)
                book.accumulate(slow, 1.0)
                book.keep("a")
                book.rank("a")
            book.step("a")
            book = again(book)
        book.restore_kept("a")
        return again(book)

    one, other = play(False), play(True)
    assert one.model("a").tobytes() == other.model("a").tobytes()
    assert one.snapshot() == other.snapshot()
    assert one.ranking("a", Cover(2, 2)).order.tolist() == other.ranking("a", Cover(2, 2)).order.tolist()
