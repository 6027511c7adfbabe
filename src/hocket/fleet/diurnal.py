"""Availability that follows the day: many devices at the fleet's peak, few at its trough."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket import keyed
from hocket.errors import InvalidInput
from hocket.fleet.toggles import Bools, Changes, Ints, Toggles, advance, begin, draw, nanoseconds, upcoming

_SPREAD, _PLACE = 0, 1  # counts of the two draws of a device; days follow
_DAYS = 16


class Diurnal(Struct, frozen=True, tag="diurnal", tag_field="kind", forbid_unknown_fields=True):
    """The share of devices online swings from ``low`` to ``high`` and back once in ``period``.

    Every device is on once a period, for a share w = (low + high) / 2 of it, around a peak of its own. A
    part b of the devices has its peak anywhere in the period; the others have theirs within a quarter of
    the period on either side of ``peak``, the fleet's. With w <= 1/2, b = low / w: at the trough only the
    first kind is on, b w = low of all; at the peak a share 2 w of the second kind is on as well, which makes
    high. With w > 1/2 the same holds for the devices that are off, b = (1 - high) / (1 - w). In between the
    share moves linearly; its mean is w.

    Each device's window moves by up to ``jitter`` either way from day to day, which rounds the extremes by
    at most ``jitter / period``. Draws are keyed by (seed, client, day).

    Attributes:
        low, high: shares of the fleet online, 0 <= low <= high <= 1, not both 0 and not both 1.
        period: s.
        peak: when the fleet's peak comes, s after time 0.
        jitter: s.

    Raises:
        InvalidInput: shares out of order, or a jitter that could make windows of two days meet.

    >>> policy = Diurnal(low=0.2, high=0.6, peak=6 * 3600.0)
    >>> state = policy.init(clients=50_000, seed=0)
    >>> share = []
    >>> for hour in (6, 18):
    ...     _ = policy.until(state, hour * 3600 * 10**9)
    ...     share.append(round(float(policy.online(state).mean()), 1))
    >>> share
    [0.6, 0.2]
    """

    low: float
    high: float
    period: float = 86_400.0
    peak: float = 0.0
    jitter: float = 600.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.low <= self.high <= 1.0:
            raise InvalidInput(f"diurnal: low={self.low}, high={self.high}; give shares with 0 <= low <= high <= 1")
        if not 0.0 < self._share < 1.0:
            raise InvalidInput(
                f"diurnal: low and high are both {self.low:g}; "
                + ("a fleet that is always on is Always()" if self.low else "nobody would ever come")
            )
        if not 1.0 <= self.period <= 1e9:
            raise InvalidInput(f"diurnal: period={self.period} s; give 1 to 1e9 s")
        if not 0.0 <= self.peak <= self.period:
            raise InvalidInput(f"diurnal: peak={self.peak} s; give a time from 0 to the period, {self.period} s")
        room = min(self._share, 1.0 - self._share) * self.period / 2.0
        if not 0.0 <= self.jitter < room:
            raise InvalidInput(
                f"diurnal: jitter={self.jitter} s; give 0 or more and less than {room:g} s, "
                "so that the windows of two days cannot meet"
            )

    def init(self, clients: int, seed: int) -> Toggles:
        """The state at time 0."""
        base = keyed.key(seed, "availability", "diurnal")
        who = np.arange(clients)
        edges = np.stack([self._edge(base, who, np.full(clients, e)) for e in range(6)])
        count = (edges <= 0).sum(axis=0)  # the first edges lie before time 0, the last ones after it
        due = np.take_along_axis(edges, count[None, :], axis=0)[0]
        return begin(base, count % 2 == 1, count, due)

    def until(self, state: Toggles, time: int) -> Changes:
        """All changes after the last time asked for, up to and with ``time`` (ns)."""
        return advance(state, time, lambda who: self._edge(state.base, who, state.count[who]))

    def online(self, state: Toggles) -> Bools:
        """``bool[n]``: who is up at the last time asked for."""
        return state.up.copy()

    def upcoming(self, state: Toggles) -> int | None:
        """When the next change comes, ns; None if there is none."""
        return upcoming(state)

    @property
    def _share(self) -> float:
        return (self.low + self.high) / 2.0

    @property
    def _anywhere(self) -> float:
        w = self._share
        return self.low / w if w <= 0.5 else (1.0 - self.high) / (1.0 - w)

    def _edge(self, base: int, who: Ints, count: Ints) -> Ints:
        """Time (ns) of each device's edge number ``count``: 2d comes up, 2d + 1 goes down, day d from -1."""
        day, side = np.divmod(count, 2)
        wide = np.where(draw(base, who, _SPREAD) < self._anywhere, 1.0, 0.5)
        own = (draw(base, who, _PLACE) - 0.5) * wide + self.peak / self.period
        own -= np.floor(own)
        moved: NDArray[np.float64] = (2.0 * draw(base, who, _DAYS + day) - 1.0) * self.jitter
        within = (own + (side - 0.5) * self._share) * self.period + moved
        midnight: Ints = (day - 1) * round(self.period * 1e9)
        return midnight + nanoseconds(within)
