"""``hocket plan``: what an experiment will do, and what would be better, as tables, a page, and a strategy."""

from pathlib import Path

import numpy as np
import tomli_w
from rich.table import Table

from hocket.cli.table import put
from hocket.errors import InvalidInput
from hocket.experiment.call import plain
from hocket.files import replace
from hocket.fleet import Fleet
from hocket.planning import Foretold, Plan, plan_for
from hocket.queueing import Goal
from hocket.report.units import human_bytes
from hocket.setup import Setup

STRATEGY = "strategy.toml"
PAGE = "plan.html"


def show_plan(
    setup: Setup, fleet: Fleet, goal: Goal, updates: int | None, history: Path | None = None, out: Path | None = None
) -> None:
    """Print throughput and staleness: foretold and simulated, as the experiment is and at its best.

    Raises:
        InvalidInput: an experiment that the formulas do not cover.
    """
    now = getattr(setup.strategy.pacing, "in_flight", None)
    if isinstance(now, dict):
        now = next(iter(now.values()))
    if not isinstance(now, int):
        raise InvalidInput(
            f"plan: strategy {setup.strategy.name} keeps no fixed number of jobs in flight; the formulas need one"
        )
    found = plan_for(setup, fleet, goal, today=now, history=history, simulate=updates, details=out is not None)
    known = found.calibration
    print(
        f"{len(fleet):,} devices in {len(np.unique(known.classes)):,} "
        f"classes; {human_bytes(known.down)} down, {human_bytes(known.up)} up per job"
    )
    for sentence in found.broken:
        print(sentence)
    if found.broken:
        print("where an assumption does not hold, trust the simulated rows")
    put(_table(found))
    if found.unsettled:
        print(found.unsettled)
    tried = goal.range(known.network)
    if isinstance(tried, tuple) and found.in_flight == tried[1]:
        print(f"{tried[1]} jobs in flight are the most that were tried; --most M looks further")
    if out is not None:
        write(found, out)
        print(f"{out / PAGE}; {out / STRATEGY} is the plan as the [strategy] of an experiment")


def write(found: Plan, out: Path) -> None:
    """``plan.html``, ``strategy.toml``, and the figures as SVG, into a folder."""
    from hocket.planning.page import charts, page
    from hocket.report.figures import write_figures

    if out.exists() and not out.is_dir():
        raise InvalidInput(f"--out {out}: is a file; give a folder")
    out.mkdir(parents=True, exist_ok=True)
    replace(out / PAGE, lambda p: p.write_text(page(found), encoding="utf-8"))
    replace(out / STRATEGY, lambda p: p.write_text(strategy_toml(found), encoding="utf-8"))
    write_figures(out / "figures", [(c.name, c) for c in charts(found)])


def strategy_toml(found: Plan) -> str:
    """The plan as ``[strategy]`` of an experiment file."""
    part = found.links.task
    table = {
        "use": "generalized_asyncsgd",
        "in_flight": found.in_flight,
        "routing": found.routing.tolist(),
        "uplink": plain(part.uplink),
        "downlink": plain(part.downlink),
    }
    return tomli_w.dumps({"strategy": table})


def _table(found: Plan) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    heads = ("routing", "jobs in flight", "updates/s", "mean staleness", *(f"of {k}" for k in found.fleet.kinds))
    for head in heads:
        table.add_column(head, justify="left" if head == "routing" else "right")
    for label, key, said in (("uniform", "uniform", found.uniform), (f"best for {found.aim}", "best", found.best)):
        table.add_row(label, *_row(said))
        if key in found.seen:
            seen = found.seen[key]
            table.add_row("  simulated", *_row(seen))
            table.add_row("  simulated / foretold", "", *_ratios(seen, said))
    if "itself" in found.seen:
        seen = found.seen["itself"]
        table.add_row("this experiment itself, simulated", *_row(seen))
        table.add_row("  simulated / foretold for uniform", "", *_ratios(seen, found.uniform))
    return table


def _row(p: Foretold) -> list[str]:
    return [str(p.in_flight), f"{p.throughput:.5g}", f"{p.staleness:.2f}", *(f"{s:.2f}" for s in p.by_kind)]


def _ratios(seen: Foretold, said: Foretold) -> list[str]:
    kinds = zip(seen.by_kind, said.by_kind, strict=True)
    pairs = [(seen.throughput, said.throughput), (seen.staleness, said.staleness), *kinds]
    return [f"{a / b:.3f}" if b else "" for a, b in pairs]
