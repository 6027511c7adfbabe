"""What is known of a run that did not come to its end: its checkpoint and its event log so far."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hocket.errors import Damaged
from hocket.record.curve import Curve
from hocket.record.log import KINDS, read_log
from hocket.report.activity import activity
from hocket.simulation import checkpoint


def read(folder: Path, tree: Mapping[str, Any]) -> tuple[dict[str, Any], pa.Table]:
    """A summary as far as it goes, and the evaluations up to the checkpoint; ``tree`` is the resolved experiment.

    Bytes are those of whole transfers in the log, not told apart by kind; ``finished`` is None.

    Raises:
        Damaged: checkpoint or log cannot be read.
    """
    try:
        log = read_log(folder)
    except (pa.ArrowInvalid, OSError) as error:
        raise Damaged(f"{folder / 'events'}: {str(error).splitlines()[0]}; run the experiment again") from None
    curve = checkpoint.saved_curve(folder) or Curve()
    tasks = tuple(tree.get("tasks", ())) or tuple(dict.fromkeys(p.task for p in curve.points)) or ("task",)
    found = activity(log, tasks)
    done = found.accepted()
    table = {}
    for m, name in enumerate(tasks):
        last = curve.last(name)
        table[name] = {
            **({} if last is None else last.metrics),
            "version": _largest(log, "stepped", m),
            "updates": int((done.task == m).sum()),
            "refused": int(((found.leases.task == m) & (found.leases.outcome == 1)).sum()),
            "time_to_target_s": None,
        }
    stale = np.sort(done.staleness)
    return {
        "strategy": tree.get("strategy", {}).get("name", "unknown"),
        "seed": tree.get("seed"),
        "finished": None,
        "virtual_time_s": found.end,
        "updates": len(done),
        "staleness": {
            "mean": float(stale.mean()) if len(stale) else 0.0,
            "p95": int(stale[-(-95 * len(stale) // 100) - 1]) if len(stale) else 0,
            "max": int(stale[-1]) if len(stale) else 0,
        },
        "bytes": {"up": _sum(log, "arrived"), "down": _sum(log, "fetched")},
        "clients_seen": len(np.unique(found.leases.client)),
        "tasks": table,
    }, curve.table()


def _sum(log: pa.Table, kind: str) -> int:
    return int(pc.sum(log.filter(pc.equal(log["kind"], KINDS.index(kind)))["value"]).as_py() or 0)


def _largest(log: pa.Table, kind: str, task: int) -> int:
    mine = pc.and_(pc.equal(log["kind"], KINDS.index(kind)), pc.equal(log["task"], task))
    return int(pc.max(log.filter(mine)["value"]).as_py() or 0)
