"""When devices are there.

Every kind is a frozen value with four methods over an explicit state, a
:class:`~hocket.fleet.toggles.Toggles`:

- ``init(clients, seed)``: the state at time 0;
- ``until(state, time)``: all on/off changes in (last asked, ``time``] as ``(times int64, clients int64,
  up bool)``, sorted by (time, client); moves the state;
- ``online(state)``: ``bool[n]`` at the last time asked for;
- ``upcoming(state)``: when the next change comes, or None.

Times are integer nanoseconds. Asking often or rarely gives the same changes.
"""

import numpy as np
from msgspec import Struct

from hocket.fleet.diurnal import Diurnal
from hocket.fleet.intervals import Intervals
from hocket.fleet.renewal import Renewal
from hocket.fleet.toggles import NEVER, Bools, Changes, Toggles, advance, begin


class Always(Struct, frozen=True, tag="always", tag_field="kind", forbid_unknown_fields=True):
    """Every device is there all the time.

    >>> state = Always().init(clients=3, seed=0)
    >>> Always().online(state).all(), Always().upcoming(state)
    (np.True_, None)
    """

    def init(self, clients: int, seed: int) -> Toggles:
        """The state at time 0: all up."""
        return begin(0, np.ones(clients, np.bool_), np.zeros(clients, np.int64), np.full(clients, NEVER))

    def until(self, state: Toggles, time: int) -> Changes:
        """No changes."""
        return advance(state, time, lambda who: state.due[who])

    def online(self, state: Toggles) -> Bools:
        """``bool[n]``: all True."""
        return state.up.copy()

    def upcoming(self, state: Toggles) -> int | None:
        """None: nothing ever changes."""
        return None


Availability = Always | Intervals | Renewal | Diurnal
"""Any kind of availability."""
