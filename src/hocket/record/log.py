"""The event log: one row of six integers per thing that happened, in Parquet segments that survive a kill.

Columns: ``time_ns``, ``kind`` (an index into :data:`KINDS`), ``task`` (index, -1 unknown), ``client``, ``lease``
(-1 none) and ``value`` (bytes for fetched and arrived, version for assigned, stepped and evaluated, number of
clients for joined). An arrival that is not followed by ``refused`` was accepted. Both
drivers write it, so a simulated and a real run compare row by row.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from struct import Struct as Layout
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hocket import actions as do
from hocket import events as on
from hocket.files import replace

KINDS = (
    "joined", "left", "assigned", "offered", "fetched", "started", "arrived", "refused", "cancelled", "failed",
    "stepped", "evaluated", "finished", "task_added", "task_paused", "task_ended",
)  # fmt: skip
COLUMNS = ("time_ns", "kind", "task", "client", "lease", "value")
ROW = Layout("6q")
SEGMENT = 1 << 18  # rows
EVENTS = b"events"


class EventLog:
    """Rows in memory, written to ``folder`` a segment at a time (None: kept in memory).

    ``pack`` turns an event or action of a kind into its packed row, for drivers in a hurry. ``later`` has a segment
    written, at once unless a driver does it in a thread of its own.
    """

    def __init__(
        self,
        tasks: tuple[str, ...],
        folder: Path | None = None,
        segments: int = 0,
        later: Callable[[Callable[[], None]], object] = lambda job: job(),
    ) -> None:
        self.folder, self._later = folder, later
        self.segments = segments
        self.rows = bytearray()
        task = {t: i for i, t in enumerate(tasks)}
        row = ROW.pack
        self.pack: dict[type, Callable[[int, Any], bytes]] = {
            on.Joined: lambda t, e: row(
                t, 0, -1, e.clients[0] if len(e.clients) == 1 else -1, -1, len(e.clients)
            ),
            on.Left: lambda t, e: row(t, 1, -1, e.client, -1, 0),
            do.Assign: lambda t, a: row(
                t, 2, task[a.lease.task], a.lease.client, a.lease.id, a.lease.node.version
            ),
            do.Offer: lambda t, a: row(t, 3, task[a.node.task], a.client, -1, a.node.version),
            on.Fetched: lambda t, e: row(t, 4, task[e.node.task], e.client, e.lease, e.size),
            on.Started: lambda t, e: row(t, 5, -1, e.client, e.lease, 0),
            on.Arrived: lambda t, e: row(t, 6, -1, e.client, e.lease, e.size),
            do.Refuse: lambda t, a: row(t, 7, -1, a.client, a.lease, 0),
            do.Cancel: lambda t, a: row(t, 8, task[a.task], a.client, a.lease, 0),
            on.Failed: lambda t, e: row(t, 9, -1, e.client, e.lease, 0),
            on.Stepped: lambda t, e: row(t, 10, task[e.task], -1, -1, e.node.version),
            on.Restored: lambda t, e: row(t, 10, task[e.task], -1, -1, e.node.version),
            on.Evaluated: lambda t, e: row(t, 11, task[e.task], -1, -1, e.version),
            do.Finish: lambda t, a: row(t, 12, -1, -1, -1, 0),
            on.TaskAdded: lambda t, e: row(t, 13, task[e.task], -1, -1, 0),
            on.TaskPaused: lambda t, e: row(t, 14, task[e.task], -1, -1, 0),
            on.TaskEnded: lambda t, e: row(t, 15, task[e.task], -1, -1, 0),
        }  # fmt: skip

    def add(self, now: int, item: object) -> None:
        """Write down an event or an action; kinds without a row are passed over."""
        pack = self.pack.get(type(item))
        if pack is not None:
            self.rows += pack(now, item)

    def flush(self, least: int = 1, events: int | None = None) -> None:
        """Put what is in memory into a segment of its own, if it is ``least`` rows or more.

        ``events``: how many of them the rows so far are about, for :meth:`forget_events_after`.
        """
        if self.folder is None or len(self.rows) < least * ROW.size:
            return
        self._later(partial(_write, self.folder / f"{self.segments:06d}.parquet", bytes(self.rows), events))
        self.segments += 1
        self.rows.clear()

    def forget_after(self, segments: int) -> None:
        """Remove segments written after a checkpoint that knew of ``segments``."""
        self.segments = segments
        if self.folder is not None and self.folder.exists():
            for path in self.folder.glob("*.parquet"):
                if int(path.stem) >= segments:
                    path.unlink()

    def forget_events_after(self, events: int) -> None:
        """Remove segments about later events than so many."""
        paths = [] if self.folder is None else sorted(self.folder.glob("*.parquet"))
        while paths and int((pq.read_metadata(paths[-1]).metadata or {}).get(EVENTS, events + 1)) > events:
            paths.pop()
        self.forget_after(len(paths))

    def table(self) -> pa.Table:
        """Everything written so far."""
        parts = [as_table(self.rows)]
        if self.folder is not None:
            parts = [pq.read_table(self.folder / f"{i:06d}.parquet") for i in range(self.segments)] + parts
        return pa.concat_tables(parts)


def _write(path: Path, rows: bytes, events: int | None) -> None:
    table = as_table(rows)
    if events is not None:
        table = table.replace_schema_metadata({EVENTS: str(events)})
    replace(
        path,
        lambda p: pq.write_table(table, p, compression="zstd", use_dictionary=["kind", "task", "value"]),
    )


def as_table(rows: bytes | bytearray) -> pa.Table:
    """Columns from packed rows."""
    grid = np.frombuffer(bytes(rows), np.int64).reshape(-1, len(COLUMNS))
    kinds = {"kind": np.int8, "task": np.int16, "client": np.int32}
    return pa.table(
        {name: np.ascontiguousarray(grid[:, i]).astype(kinds.get(name, np.int64)) for i, name in enumerate(COLUMNS)}
    )


def read_log(run: Path) -> pa.Table:
    """The whole event log of a run directory."""
    parts = [pq.read_table(p) for p in sorted((run / "events").glob("*.parquet"))]
    return pa.concat_tables(parts).combine_chunks() if parts else as_table(bytearray())
