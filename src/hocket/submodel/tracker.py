"""When has something stopped getting better? A score that does not improve for ``patience`` evaluations."""

from msgspec import Struct


class Tracker(Struct):
    """The best score so far, the last one, and how many evaluations brought nothing better."""

    best: float = float("-inf")
    last: float = float("nan")
    count: int = 0

    def see(self, score: float) -> bool:
        """Fold in a score; whether it is the best so far. The same score again was not measured anew and is skipped.

        >>> t = Tracker()
        >>> [t.see(s) for s in (0.5, 0.6, 0.6, 0.55, 0.58)], t.count
        ([True, True, False, False, False], 2)
        """
        if score == self.last:
            return False
        self.last = score
        if score > self.best:
            self.best, self.count = score, 0
            return True
        self.count += 1
        return False
