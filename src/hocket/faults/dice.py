"""Which faults happen: each is named by its kind and by whom it hits, and drawn from the seed and that name alone.

A run can be repeated with only some of its faults, because leaving one out does not shift the draws of the others.
"""

from collections.abc import Mapping

from hocket.keyed import key, uniform


class Dice:
    """Draws for one run.

    Args:
        seed: of the world.
        rates: kind of fault to the chance of each occasion; a kind that is missing never happens.
        only: names of the faults that may happen (None: any).
    """

    def __init__(self, seed: int, rates: Mapping[str, float], only: frozenset[str] | None = None) -> None:
        self._seed, self._rates, self._only = seed, dict(rates), only
        self.happened: list[str] = []
        self.healed = False

    def key(self, purpose: str, *who: int) -> int:
        """A key for a choice that is no fault."""
        return key(self._seed, purpose, *who)

    def strikes(self, kind: str, *who: int) -> bool:
        """Whether a fault happens here; what has happened is kept in ``happened``."""
        rate = self._rates.get(kind)
        if rate is None or self.healed or uniform(self.key(kind, *who)) >= rate:
            return False
        name = f"{kind}:{'.'.join(map(str, who))}"
        if self._only is not None and name not in self._only:
            return False
        self.happened.append(name)
        return True

    def counts(self) -> dict[str, int]:
        """How often each kind happened, by name."""
        out: dict[str, int] = {}
        for name in sorted(self.happened):
            kind = name.rpartition(":")[0]
            out[kind] = out.get(kind, 0) + 1
        return out
