"""Time that this process lived through: monotonic, and standing still while the process was stopped.

A process that was paused (SIGSTOP, a suspended machine, a disk that did not answer) has not waited for anybody. Were
the gap counted, every lease would be overdue and every device silent on waking.
"""

from collections.abc import Callable
from time import monotonic_ns

GAP = 5_000_000_000  # ns between two looks that count as a pause


class Uptime:
    """Nanoseconds since ``at``; somebody must look at least once a second.

    >>> times = iter([0, 10, 20, 20 + 2 * GAP, 30 + 2 * GAP])
    >>> clock = Uptime(100, source=lambda: next(times))
    >>> clock.now(), clock.now(), clock.now(), clock.pauses, clock.now()
    (110, 120, 120, 1, 130)
    """

    def __init__(self, at: int = 0, source: Callable[[], int] = monotonic_ns) -> None:
        self._source, self._now, self._last = source, at, source()
        self.pauses = 0

    def now(self) -> int:
        """The time; a gap since the last look does not count."""
        at = self._source()
        passed, self._last = at - self._last, at
        if passed > GAP:
            self.pauses += 1
        else:
            self._now += passed
        return self._now
