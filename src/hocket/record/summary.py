"""The numbers of a finished run: what ``summary.json`` holds, the same on every machine."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hocket.privacy.accountant import ledgers, statement
from hocket.record.curve import Curve
from hocket.record.ledger import Ledger
from hocket.server import Server
from hocket.until import SECOND, Until

STALE, TAIL, FEW = 50.0, 10.0, 5
"""Mean staleness, its largest by its mean, and a largest below which nobody minds."""


def cautions(summary: Mapping[str, Any]) -> list[str]:
    """What a reader of a summary should mind, a sentence each.

    >>> cautions({"staleness": {"mean": 80.0, "p95": 90, "max": 100}})[0][:59]
    'mean staleness is 80.0 (more than 50): bounds of asynchrono'
    >>> cautions({"staleness": {"mean": 9.0, "p95": 20, "max": 40}})
    []
    """
    mean, largest = summary["staleness"]["mean"], summary["staleness"]["max"]
    found = []
    if mean > STALE:
        found.append(
            f"mean staleness is {mean:.1f} (more than {STALE:g}): bounds of asynchronous methods are loose there; take "
            "fewer jobs in flight, a larger buffer or a smaller server rate"
        )
    if largest > max(FEW, TAIL * mean):
        found.append(
            f"the stalest update was {largest} versions old, over {TAIL:g} times the mean, {mean:.1f}: a timeout or a "
            "staleness limit keeps such clients out"
        )
    if (private := summary.get("privacy")) is not None:
        steps = ", ".join(
            f"{t['releases']} with noise {t['noise']:g}, a client in {t['counted']} at most"
            for t in private["tasks"].values()
        )
        found.append(
            f"privacy: epsilon {private['epsilon']:.3g} at delta {private['delta']:g} for every client (noisy steps: "
            f"{steps}); no amplification by sampling is claimed"
        )
    return found


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
        **({} if (private := statement(ledgers(server))) is None else {"privacy": private}),
    }
