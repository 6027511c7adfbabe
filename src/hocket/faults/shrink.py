"""From a run that fails to the fewest faults that make it fail: whole kinds are left out first, then halves, then one.

Faults are named, and leaving some out does not move the others (:mod:`hocket.faults.dice`), so a list of names is
a run that can be made again. The algorithm is delta debugging (Zeller, Hildebrandt, IEEE TSE 28(2), 2002).
"""

from collections.abc import Callable, Sequence
from typing import Self

from msgspec import Struct

from hocket.errors import InvalidInput

TRIES = 400  # runs that shrinking may take


class Case(Struct, frozen=True):
    """A world by its seed, and the only faults that may happen in it (None: any)."""

    seed: int
    only: frozenset[str] | None = None

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """A case from its text, ``SEED`` or ``SEED;fault;fault``; ``where`` begins the message if it is none.

        Raises:
            InvalidInput: the text is no case.

        >>> Case.parse("7", "faults").text(), Case.parse("7;message lost:0.3.1", "faults").text()
        ('7', '7;message lost:0.3.1')
        """
        seed, *names = (part.strip() for part in text.split(";"))
        if not (seed.isascii() and seed.isdigit() and len(seed) < 19):
            raise InvalidInput(
                f"{where} {text!r}: must be a seed, a whole number 0 or more, alone or with names of faults after it, "
                "separated by semicolons"
            )
        if bad := [n for n in names if n and ":" not in n]:
            raise InvalidInput(f"{where}: no fault {bad[0]!r}; a fault is a kind and numbers, like message lost:0.3.1")
        return cls(int(seed), frozenset(n for n in names if n) if names else None)

    def text(self) -> str:
        """What :meth:`parse` reads."""
        return ";".join([str(self.seed), *sorted(self.only or ())])


def shrink(names: Sequence[str], fails: Callable[[frozenset[str]], bool], tries: int = TRIES) -> list[str]:
    """The fewest of ``names`` found with which ``fails`` still holds, in their order.

    >>> shrink([f"{kind}:{i}" for kind in "abc" for i in range(9)], lambda s: {"a:3", "c:7"} <= s)
    ['a:3', 'c:7']
    """
    left, tried = list(dict.fromkeys(names)), 0

    def without(some: set[str]) -> bool:
        nonlocal left, tried
        tried += 1
        rest = [n for n in left if n not in some]
        if tried <= tries and len(rest) < len(left) and fails(frozenset(rest)):
            left = rest
            return True
        return False

    for kind in sorted({n.rpartition(":")[0] for n in left}):
        without({n for n in left if n.rpartition(":")[0] == kind})
    size = max(len(left) // 2, 1)
    while left and tried < tries:
        at = 0
        while at < len(left):
            if not without(set(left[at : at + size])):
                at += size
        if size == 1:
            break
        size //= 2
    return left
