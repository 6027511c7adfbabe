"""What a run in real time leaves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct

from hocket.lease_table import SECOND
from hocket.schema import Vector
from hocket.server import Server
from hocket.simulation.curve import Curve
from hocket.simulation.ledger import Ledger
from hocket.simulation.log import EventLog
from hocket.until import Until


class LoopbackResult(Struct, frozen=True):
    """``summary`` has the keys of a simulation's; ``models`` are the published ones, float32[size] by task.

    ``snapshot`` is the server's memory at the end, ``digest`` stands for it and the bits of the models.
    """

    summary: dict[str, Any]
    models: Mapping[str, Vector | None]
    log: EventLog
    curve: Curve
    snapshot: bytes
    digest: str


def summarise(
    server: Server, ledger: Ledger, totals: Mapping[str, int], curve: Curve, now: int, until: Until, seed: int
) -> dict[str, Any]:
    """The numbers of a run that ended at ``now`` (ns); ``totals`` are bytes by kind."""
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
        "bytes": dict(totals),
        "clients_seen": int(seen.sum()),
        "tasks": tasks,
    }
