"""Availability as an alternating renewal process: on for a while, off for a while, memoryless."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket import keyed
from hocket.errors import InvalidInput
from hocket.fleet.toggles import Bools, Changes, Ints, Toggles, advance, begin, draw, nanoseconds, upcoming

_LONGEST = 1e9  # s


class Renewal(Struct, frozen=True, tag="renewal", tag_field="kind", forbid_unknown_fields=True):
    """Spells on and off with exponential lengths, means ``on`` and ``off`` in seconds.

    The start is stationary: a device is up at time 0 with chance ``on / (on + off)``, and the spell it is
    in then has the same law as any other. Every draw is keyed by (seed, client, number of the toggle).

    Raises:
        InvalidInput: a mean that is not above 0 and at most 1e9 s.

    >>> policy = Renewal(on=600.0, off=1800.0)
    >>> float(policy.online(policy.init(clients=100_000, seed=1)).mean().round(2))
    0.25
    """

    on: float
    off: float

    def __post_init__(self) -> None:
        for name, mean in (("on", self.on), ("off", self.off)):
            if not 0.0 < mean <= _LONGEST:
                raise InvalidInput(f"renewal: {name}={mean} s; give a mean above 0 and at most {_LONGEST:g} s")

    def init(self, clients: int, seed: int) -> Toggles:
        """The stationary state at time 0."""
        base = keyed.key(seed, "availability", "renewal")
        who = np.arange(clients)
        up = draw(base, who, 0) < self.on / (self.on + self.off)
        count = np.ones(clients, np.int64)
        return begin(base, up, count, self._spell(base, who, up, count))

    def until(self, state: Toggles, time: int) -> Changes:
        """All changes after the last time asked for, up to and with ``time`` (ns)."""

        def following(who: Ints) -> Ints:
            return state.due[who] + self._spell(state.base, who, state.up[who], state.count[who])

        return advance(state, time, following)

    def online(self, state: Toggles) -> Bools:
        """``bool[n]``: who is up at the last time asked for."""
        return state.up.copy()

    def upcoming(self, state: Toggles) -> int | None:
        """When the next change comes, ns; None if there is none."""
        return upcoming(state)

    def _spell(self, base: int, who: Ints, up: Bools, count: Ints) -> Ints:
        mean: NDArray[np.float64] = np.where(up, self.on, self.off)
        return np.maximum(nanoseconds(-np.log(draw(base, who, count)) * mean), 1)
