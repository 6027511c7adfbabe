"""The state every kind of availability shares: who is up, and when each device toggles next.

A kind of availability is frozen; what moves is a :class:`Toggles`, which holds integers and arrays only,
so that the core can snapshot it. Devices are grouped in blocks of 1,024 with the earliest toggle of each,
so a call looks at the blocks that are due and at nothing else: a million devices cost microseconds.
"""

from collections.abc import Callable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket import keyed
from hocket.errors import InvalidInput

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Changes = tuple[Ints, Ints, Bools]
"""Times (ns), clients and whether each came up (True) or went down; sorted by (time, client)."""

NEVER = int(np.iinfo(np.int64).max)
_LATEST = float(1 << 62)
_BLOCK = 1024


class Toggles(Struct, eq=False):
    """Where every device stands at ``now``.

    Attributes:
        now: the last time asked for, ns.
        base: the key that all draws of this run of availability start from.
        up: ``bool[n]``, on at ``now``.
        count: ``int64[n]``, toggles so far (what it is counted from is up to the kind).
        due: ``int64[n, padded to blocks]``, next toggle, ns; :data:`NEVER` if there is none.
        soonest: ``int64[blocks]``, the earliest ``due`` of each block.
    """

    now: int
    base: int
    up: Bools
    count: Ints
    due: Ints
    soonest: Ints


def begin(base: int, up: Bools, count: Ints, due: Ints) -> Toggles:
    """A state at time 0 (arrays of n; ``due`` above 0)."""
    blocks = -(-len(up) // _BLOCK)
    padded = np.full(blocks * _BLOCK, NEVER, np.int64)
    padded[: len(due)] = due
    return Toggles(0, base, up, count, padded, padded.reshape(blocks, _BLOCK).min(axis=1))


def advance(state: Toggles, time: int, following: Callable[[Ints], Ints]) -> Changes:
    """All toggles in (``state.now``, ``time``]; the state moves to ``time``.

    ``following(clients)`` gives the next toggle of these clients, ns, once their count has gone up.

    Raises:
        InvalidInput: ``time`` lies before the last time asked for.
    """
    if time < state.now:
        raise InvalidInput(
            f"availability: asked for {time} ns after {state.now} ns; time only moves forward, start a new state"
        )
    state.now = time
    blocks = np.flatnonzero(state.soonest <= time)
    if not blocks.size:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.bool_)
    table = state.due.reshape(-1, _BLOCK)
    row, column = np.nonzero(table[blocks] <= time)
    who = blocks[row] * _BLOCK + column
    parts: list[Changes] = []
    while who.size:
        state.up[who] ^= True
        state.count[who] += 1
        parts.append((state.due[who], who, state.up[who]))
        state.due[who] = following(who)
        who = who[state.due[who] <= time]
    state.soonest[blocks] = table[blocks].min(axis=1)
    times, clients, ups = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((clients, times))
    return times[order], clients[order], ups[order]


def upcoming(state: Toggles) -> int | None:
    """When the next device toggles, ns; None if none ever will."""
    first = int(state.soonest.min(initial=NEVER))
    return None if first == NEVER else first


def draw(base: int, clients: Ints, count: Ints | int) -> NDArray[np.float64]:
    """Uniform numbers in (0, 1) keyed by (base, client, count), one for each client."""
    mine = keyed.mix_array(clients.astype(np.uint64) ^ np.uint64(base))
    return keyed.uniform_array(mine ^ np.asarray(count).astype(np.uint64))


def nanoseconds(seconds: NDArray[np.float64]) -> Ints:
    """Seconds to whole nanoseconds, at most 146 years."""
    return np.rint(np.minimum(seconds * 1e9, _LATEST)).astype(np.int64)
