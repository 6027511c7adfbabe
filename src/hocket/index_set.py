"""A set of small integers with constant-time add, discard, membership and pick by position.

The order of the members is a pure function of the operations made, so it is part of a snapshot.
"""

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    Ints = array[int]
else:  # array.array takes no parameters at run time before Python 3.12
    Ints = array


class IndexSet(Struct):
    """Members of ``range(capacity)``; ``items[i]`` is the i-th member in an arbitrary, repeatable order."""

    items: Ints
    where: Ints

    @classmethod
    def empty(cls, capacity: int) -> "IndexSet":
        """No members, room for ``range(capacity)``."""
        return cls(array("i"), array("i", b"\xff\xff\xff\xff" * capacity))

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[int]:
        return iter(self.items)

    def __contains__(self, i: int) -> bool:
        return bool(self.where[i] >= 0)

    def add(self, i: int) -> None:
        """Put ``i`` in; nothing happens if it is there."""
        if self.where[i] < 0:
            self.where[i] = len(self.items)
            self.items.append(i)

    def discard(self, i: int) -> None:
        """Take ``i`` out; nothing happens if it is not there."""
        at = self.where[i]
        if at >= 0:
            last = self.items.pop()
            if last != i:
                self.items[at] = last
                self.where[last] = at
            self.where[i] = -1
