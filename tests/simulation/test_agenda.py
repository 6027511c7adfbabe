"""The calendar queue is a priority queue, whatever the spread of times."""

from heapq import heappop, heappush

from hypothesis import given
from hypothesis import strategies as st

from hocket.simulation.agenda import Agenda

STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1 << 45)), max_size=300)


@given(st.lists(st.integers(0, 1 << 50), max_size=50), STEPS, st.integers(0, 44))
def test_same_order_as_a_heap(first: list[int], steps: list[tuple[int, int]], small: int) -> None:
    heap = [(t, i, i) for i, t in enumerate(sorted(first))]
    agenda = Agenda(heap)
    sequence, now = len(heap), 0
    for kind, delay in steps:
        if kind < 2 and heap:
            expected = heappop(heap)
            assert agenda.pop() == expected
            now = expected[0]
        else:
            item = (now + (delay >> small), sequence, sequence)
            sequence += 1
            heappush(heap, item)
            agenda.push(item)
        assert len(agenda) == len(heap)
    assert agenda.items() == sorted(heap)
    assert [agenda.pop() for _ in range(len(heap))] == sorted(heap)


def test_width_follows_the_load() -> None:
    """Ten thousand events in a nanosecond-dense and in a year-wide world come out in order."""
    for scale in (1, 10**3, 10**12):
        items = [((i * 7919) % 10007 * scale, i, i) for i in range(10_000)]
        agenda = Agenda(items)
        assert [agenda.pop() for _ in items] == sorted(items)
        assert len(agenda) == 0


def test_many_events_at_one_instant() -> None:
    agenda: Agenda[int] = Agenda([(5, i, i) for i in range(5000)])
    for i in range(5000, 6000):
        agenda.push((5, i, i))
    assert [agenda.pop()[2] for _ in range(6000)] == list(range(6000))
