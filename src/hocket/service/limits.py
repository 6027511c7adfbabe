"""How much one address, or one device, may ask of the server: token buckets, forgotten when they are full again."""

from collections.abc import Callable, Hashable

from msgspec import Struct


class Bucket(Struct):
    """``level`` tokens as of time ``at``, s."""

    level: float
    at: float


class Quota:
    """``rate`` requests per second and name, ``burst`` at once.

    >>> times = iter([0.0, 0.0, 0.0, 1.0])
    >>> quota = Quota(rate=1.0, burst=2.0, clock=lambda: next(times))
    >>> [quota.take("a") for _ in range(4)]
    [0.0, 0.0, 1.0, 0.0]
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: dict[Hashable, Bucket] = {}
        self._looked = 0

    def take(self, name: Hashable) -> float:
        """Take one from a name's bucket; seconds to come again after if there is none (nothing is taken)."""
        if wait := self.wait(name):
            return wait
        self._buckets[name].level -= 1.0
        return 0.0

    def wait(self, name: Hashable) -> float:
        """Seconds until there is one to take."""
        now = self._clock()
        self._looked += 1
        if self._looked % 4096 == 0:
            self._forget(now)
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self._burst, now)
        bucket.level = min(self._burst, bucket.level + (now - bucket.at) * self._rate)
        bucket.at = now
        return max(0.0, 1.0 - bucket.level) / self._rate

    def _forget(self, now: float) -> None:
        full = self._burst / self._rate
        self._buckets = {n: b for n, b in self._buckets.items() if now - b.at < full}
