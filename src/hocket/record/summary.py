"""The numbers of a finished run: what ``summary.json`` holds, the same on every machine."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hocket.record.curve import Curve
from hocket.record.ledger import Ledger
from hocket.server import Server
from hocket.until import SECOND, Until


def summarise(
    server: Server, ledger: Ledger, totals: Mapping[str, int], curve: Curve, now: int, until: Until, seed: int
) -> dict[str, Any]:
    """The summary of a run that ended at ``now`` (ns); ``totals`` are bytes by kind."""
    state = server.state
    seen = np.zeros(state.clients, np.bool_)
    tasks: dict[str, Any] = {}
    for name, t in state.tasks.items():
        seen |= np.frombuffer(t.ordinals, np.int32) > 0
        last, at = curve.last(name), curve.target(name, until)
        tasks[name] = {
            **({} if last is None else last.metrics),
            "version": t.version,
            "updates": t.accepted,
            "refused": t.refused,
            "time_to_target_s": None if at is None else at.time_ns / SECOND,
        }
    return {
        "format": 1,
        "strategy": server.strategy.name,
        "seed": seed,
        "finished": state.finished,
        "virtual_time_s": now / SECOND,
        "updates": state.updates,
        "refused": state.refused,
        "lost": state.lost,
        "staleness": ledger.staleness_summary(),
        "bytes": {**totals, "broadcast": state.broadcast},
        "clients_seen": int(seen.sum()),
        "tasks": tasks,
    }
