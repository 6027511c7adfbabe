"""The first rows of an event log, as plain columns that the page searches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hocket.record.log import COLUMNS


def event_rows(name: str, log: pa.Table, tasks: Sequence[str], most: int) -> dict[str, Any]:
    """At most ``most`` rows from the start of a log; times are differences in ns, a client or lease of -1 is none."""
    head = log.slice(0, most)
    columns = {c: head[c].to_numpy().astype(np.int64) for c in COLUMNS}
    return {
        "run": name,
        "tasks": list(tasks),
        "total": log.num_rows,
        "time": np.diff(columns["time_ns"], prepend=0).tolist(),
        **{c: columns[c].tolist() for c in COLUMNS[1:]},
    }
