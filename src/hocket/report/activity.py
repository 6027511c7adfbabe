"""What an event log says about a run: who worked when and how often, staleness, and how much was in flight.

Everything is counted with whole columns, so that a million rows take well under a second or two.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from msgspec import Struct
from numpy.typing import NDArray

from hocket.record.log import COLUMNS, KINDS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
ASSIGNED, STARTED, ARRIVED, REFUSED, CANCELLED, FAILED, STEPPED = (
    KINDS.index(k) for k in ("assigned", "started", "arrived", "refused", "cancelled", "failed", "stepped")
)
OUTCOMES = ("accepted", "refused", "cancelled", "failed", "open")


class Leases(Struct, frozen=True):
    """One row per lease in the order of their numbers; times in seconds, ``started`` nan if it never did.

    ``ended`` is the end of the log for a lease that is open; ``outcome`` is an index into :data:`OUTCOMES`;
    ``staleness`` is -1 unless it was accepted.
    """

    task: Ints
    client: Ints
    assigned: Floats
    started: Floats
    ended: Floats
    outcome: Ints
    staleness: Ints

    def of(self, chosen: NDArray[np.bool_] | Ints) -> "Leases":
        """Some of the rows."""
        return Leases(*(getattr(self, f)[chosen] for f in self.__struct_fields__))

    def __len__(self) -> int:
        return len(self.task)


class Activity(Struct, frozen=True):
    """What happened in a run of ``tasks``; ``end`` is the time of the last row in seconds."""

    tasks: tuple[str, ...]
    rows: int
    end: float
    leases: Leases

    def accepted(self) -> Leases:
        """The leases whose update was accepted."""
        return self.leases.of(self.leases.outcome == 0)


def activity(log: pa.Table, tasks: Sequence[str]) -> Activity:
    """Read a whole event log; columns as in :mod:`hocket.record.log`."""
    time, kind, task, client, lease, value = (log[c].to_numpy().astype(np.int64) for c in COLUMNS)
    end = time[-1] / 1e9 if len(time) else 0.0
    given = np.flatnonzero((kind == ASSIGNED) & (lease >= 0))
    names, first = np.unique(lease[given], return_index=True)
    given = given[first]
    at = np.searchsorted(names, lease)
    known = (lease >= 0) & (at < len(names))
    known[known] = names[at[known]] == lease[known]

    def earliest(which: NDArray[np.bool_]) -> Ints:
        """By lease, the first row of those, or -1."""
        rows = np.flatnonzero(which & known)[::-1]
        found = np.full(len(names), -1)
        found[at[rows]] = rows
        return found

    ends = earliest(np.isin(kind, (ARRIVED, REFUSED, CANCELLED, FAILED)))
    started = earliest(kind == STARTED)
    outcome = np.full(len(names), OUTCOMES.index("open"))
    over = ends >= 0
    outcome[over] = _outcomes(kind[ends[over]])
    refused = _refused(kind, lease, known)
    outcome[over] = np.where(np.isin(ends[over], refused), OUTCOMES.index("refused"), outcome[over])
    staleness = np.full(len(names), -1)
    for m in range(len(tasks)):
        mine = np.flatnonzero((outcome == 0) & (task[given] == m))
        steps = np.flatnonzero((kind == STEPPED) & (task == m))
        before = np.searchsorted(steps, ends[mine])
        version = np.concatenate([[0], value[steps]])[before]
        staleness[mine] = np.maximum(0, version - value[given[mine]])
    return Activity(
        tuple(tasks),
        log.num_rows,
        end,
        Leases(
            task=task[given],
            client=client[given],
            assigned=time[given] / 1e9,
            started=np.where(started >= 0, time[started] / 1e9, np.nan) if len(time) else np.empty(0),
            ended=np.where(over, time[ends] / 1e9, end) if len(time) else np.empty(0),
            outcome=outcome,
            staleness=staleness,
        ),
    )


def busy(a: Floats, b: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """Mean and largest number of open intervals [a, b) in each bin between ``edges``, which must increase."""
    times = np.concatenate([a, b])
    order = np.argsort(times, kind="stable")
    times = times[order]
    change = np.concatenate([np.ones(len(a)), -np.ones(len(b))])[order]
    last = np.flatnonzero(np.append(times[1:] != times[:-1], True)) if len(times) else np.empty(0, np.int64)
    times, open_now = times[last], np.cumsum(change)[last]
    if not len(times):
        return np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    area = np.concatenate([[0.0], np.cumsum(open_now[:-1] * np.diff(times))])
    reached = np.interp(edges, times, area)
    mean = np.diff(reached) / np.diff(edges)
    carried = np.searchsorted(times, edges[:-1], side="right") - 1
    until = np.searchsorted(times, edges[1:], side="left")
    most = np.where(carried >= 0, open_now[np.maximum(carried, 0)], 0.0)
    filled = np.flatnonzero(until > carried + 1)
    for i in filled.tolist():
        most[i] = max(most[i], open_now[carried[i] + 1 : until[i]].max())
    return mean, most


def per_client(leases: Leases) -> tuple[Ints, Ints]:
    """Clients that were given a lease, and how many of their updates were accepted."""
    clients, where = np.unique(leases.client, return_inverse=True)
    return clients, np.bincount(where, leases.outcome == 0, len(clients)).astype(np.int64)


def _outcomes(kinds: Ints) -> Ints:
    names = {ARRIVED: "accepted", REFUSED: "refused", CANCELLED: "cancelled", FAILED: "failed"}
    table = np.zeros(len(KINDS), np.int64)
    for kind, name in names.items():
        table[kind] = OUTCOMES.index(name)
    return table[kinds]


def _refused(kind: Ints, lease: Ints, known: NDArray[np.bool_]) -> Ints:
    """Rows of arrivals that were refused: the next row about an arrival of that lease says so."""
    rows = np.flatnonzero(known & ((kind == ARRIVED) | (kind == REFUSED)))
    rows = rows[np.argsort(lease[rows], kind="stable")]
    said = (kind[rows[1:]] == REFUSED) & (kind[rows[:-1]] == ARRIVED) & (lease[rows[1:]] == lease[rows[:-1]])
    found: Ints = rows[:-1][said]
    return found
