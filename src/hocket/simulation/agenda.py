"""What is going to happen, in (time, sequence) order: a calendar queue that picks its own bucket width.

Events lie unsorted in buckets of 2**shift nanoseconds; a bucket is sorted when its time comes. A push is a
dictionary look-up and an append, a pop is an index into a short sorted list, so neither walks a heap of
everything that is in flight. Buckets that come out too full or too empty change the width. The order of the
events does not depend on it.

Source of the idea: Brown, "Calendar queues: a fast O(1) priority queue implementation for the simulation event
set problem", CACM 31(10), 1988.
"""

from bisect import insort
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

E = TypeVar("E")
FULL = 512  # events in a bucket above which buckets get narrower
SPARSE = 8  # mean events in a bucket below which they get wider
LOOK = 64  # buckets between two looks at the mean


class Agenda(Generic[E]):
    """A priority queue of (time in ns, sequence, event); sequences are unique, so events are never compared.

    >>> agenda = Agenda([(5, 0, "b"), (3, 1, "a")])
    >>> agenda.push((5, 2, "c"))
    >>> [agenda.pop()[2] for _ in range(len(agenda))]
    ['a', 'b', 'c']
    """

    __slots__ = ("_at", "_bucket", "_buckets", "_current", "_order", "_shift", "_size", "_sorted", "_taken")

    def __init__(self, items: Iterable[tuple[int, int, E]] = ()) -> None:
        self._shift = 20
        self._current: list[tuple[int, int, E]] = []
        self._at = 0
        self._bucket = -1
        self._sorted = self._taken = 0
        self._arrange(items)

    def __len__(self) -> int:
        return self._size - self._at

    def push(self, item: tuple[int, int, E]) -> None:
        """Put an event in; it may be due at once, not in the past."""
        self._size += 1
        bucket = item[0] >> self._shift
        if bucket <= self._bucket:
            insort(self._current, item, self._at)
            return
        there = self._buckets.get(bucket)
        if there is None:
            self._buckets[bucket] = [item]
            heappush(self._order, bucket)
        else:
            there.append(item)

    def pop(self) -> tuple[int, int, E]:
        """Take the next event out.

        Raises:
            IndexError: there is none.
        """
        at = self._at
        if at == len(self._current):
            self._turn()
            at = 0
        self._at = at + 1
        return self._current[at]

    def items(self) -> list[tuple[int, int, E]]:
        """All events in order."""
        return sorted((*self._current[self._at :], *(x for b in self._buckets.values() for x in b)), key=_key)

    def _turn(self) -> None:
        """Make the next bucket the current one."""
        if not self._order:
            raise IndexError("the agenda is empty")
        self._size -= self._at
        bucket = heappop(self._order)
        current = self._buckets.pop(bucket)
        if (
            len(current) > FULL
            and self._shift > 0
            and current[0][0] >> self._shift - 4 != current[-1][0] >> self._shift - 4
        ):
            self._widen(-4, current)
            return
        current.sort()
        self._current, self._at, self._bucket = current, 0, bucket
        self._sorted += len(current)
        self._taken += 1
        if self._taken == LOOK:
            if self._sorted < LOOK * SPARSE and self._size > LOOK * SPARSE:
                self._widen(4, current)
            self._sorted = self._taken = 0

    def _widen(self, by: int, current: list[tuple[int, int, E]]) -> None:
        rest = [x for b in self._buckets.values() for x in b]
        self._shift = max(self._shift + by, 0)
        self._arrange((*current, *rest))
        self._turn()

    def _arrange(self, items: Iterable[tuple[int, int, E]]) -> None:
        self._buckets: dict[int, list[tuple[int, int, E]]] = {}
        self._size = 0
        for item in items:
            self._buckets.setdefault(item[0] >> self._shift, []).append(item)
            self._size += 1
        self._order = list(self._buckets)
        heapify(self._order)
        self._current, self._at, self._bucket = [], 0, -1
        self._sorted = self._taken = 0


def _key(item: tuple[int, int, E]) -> tuple[int, int]:
    return item[0], item[1]
