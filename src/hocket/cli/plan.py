"""``hocket plan``: what an experiment will do, and what would be better, as a table."""

import numpy as np
from rich.console import Console
from rich.table import Table

from hocket.errors import InvalidInput
from hocket.fleet import Fleet
from hocket.fleet.law import Exponential
from hocket.plan import Foretold, calibrate, foretell, observe
from hocket.queueing import Interval, Objective, Rounds, Seconds
from hocket.report.units import human_bytes
from hocket.setup import Setup

OBJECTIVES: dict[str, Objective] = {"time": Seconds(), "rounds": Rounds(), "throughput": Interval()}


def show_plan(setup: Setup, fleet: Fleet, objective: str, most: int | None, updates: int | None) -> None:
    """Print throughput and staleness: foretold and simulated, as the experiment is and at its best.

    Raises:
        InvalidInput: an unknown objective, or an experiment that the formulas do not cover.
    """
    if objective not in OBJECTIVES:
        raise InvalidInput(f"--objective {objective}: must be one of {', '.join(OBJECTIVES)}")
    if updates and updates < 100:
        raise InvalidInput(f"--simulate {updates}: must be 100 or more updates, or 0 for none")
    now = getattr(setup.strategy.pacing, "in_flight", None)
    if isinstance(now, dict):
        now = next(iter(now.values()))
    if not isinstance(now, int):
        raise InvalidInput(
            f"plan: strategy {setup.strategy.name} keeps no fixed number of jobs in flight; the formulas need one"
        )
    limit = most if most is not None else max(2 * now, min(len(fleet), 200))
    if limit < 1:
        raise InvalidInput(f"--most {limit}: must be 1 or more jobs in flight")
    calibration = calibrate(setup, fleet)
    print(
        f"{len(fleet):,} devices in {len(np.unique(calibration.classes)):,} "
        f"classes; {human_bytes(calibration.down)} down, {human_bytes(calibration.up)} up per job"
    )
    if not isinstance(fleet.compute_law, Exponential):
        law = fleet.compute_law.__struct_config__.tag
        print(f"the formulas take training times for exponential; this fleet's are {law}")
    found = foretell(calibration, fleet, now, OBJECTIVES[objective], limit)
    plans = dict(zip(("uniform", f"best for {objective}"), found, strict=True))
    table = Table(box=None)
    for head in ("routing", "jobs", "updates/s", "staleness", *(f"of {k}" for k in fleet.kinds)):
        table.add_column(head, justify="left" if head == "routing" else "right")
    for label, said in plans.items():
        table.add_row(label, *_row(said))
        if updates is None or updates:
            seen = observe(said, setup, fleet, updates or max(20_000, 100 * said.in_flight))
            table.add_row("  simulated", *_row(seen))
            table.add_row("  by foretold", "", *_ratios(seen, said))
    Console().print(table)


def _row(p: Foretold) -> list[str]:
    return [str(p.in_flight), f"{p.throughput:.5g}", f"{p.staleness:.2f}", *(f"{s:.2f}" for s in p.by_kind)]


def _ratios(seen: Foretold, said: Foretold) -> list[str]:
    kinds = zip(seen.by_kind, said.by_kind, strict=True)
    pairs = [(seen.throughput, said.throughput), (seen.staleness, said.staleness), *kinds]
    return [f"{a / b:.3f}" if b else "" for a, b in pairs]
