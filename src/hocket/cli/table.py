"""Runs side by side in the terminal."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hocket.record.interval import interval
from hocket.record.log import KINDS
from hocket.record.summary import cautions
from hocket.report import RunView, human_bytes, human_seconds

PLAIN_WIDTH = 130  # where the output is no terminal


def show(views: Sequence[RunView], mean: bool = False) -> None:
    """Print a row per run and task, and with ``mean`` their mean."""
    rows = [_values(view, views[:i]) for i, view in enumerate(views)]
    targeted = any(v.target is not None or r["time_to_target_s"] is not None for v, r in zip(views, rows, strict=True))
    targets = {v.target for v in views}
    goal = f" to {targets.pop():g}" if len(targets) == 1 and None not in targets else " to target"
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("run")
    for head in (
        f"time{goal}" if targeted else "virtual time",
        "updates",
        "up",
        "down",
        "staleness",
        "accuracy",
    ):
        table.add_column(head, justify="right", no_wrap=True)
    for view, row in zip(views, rows, strict=True):
        table.add_row(Text(view.label + " (interrupted)" * view.interrupted), *_cells(row, targeted))
    if mean and len(rows) > 1:
        reached = sum(r["time_to_target_s"] is not None for r in rows)
        some = targeted and reached < len(rows)
        found = {k: interval(r[k] for r in rows) for k in rows[0]}
        average = {k: None if i is None else i.mean for k, i in found.items()}
        half = {k: None if i is None else i.half for k, i in found.items()}
        table.add_row(f"mean ({reached} of {len(rows)} reached it)" if some else "mean", *_cells(average, targeted))
        time, *rest = _cells(half, targeted)
        table.add_row("± (95 %)", time if half[_time(targeted)] is not None else "", *rest)
    put(table)
    for i, view in enumerate(views):
        if all(v.summary is not view.summary for v in views[:i]):
            for caution in cautions(view.summary):
                Console(highlight=False, stderr=True).print(
                    f"note: {view.label}: {caution}", markup=False, soft_wrap=True
                )


def show_speed(views: Sequence[RunView]) -> None:
    """Say how long each finished run took on this machine, and how many clients were trained at a time."""
    said: set[Path] = set()
    for view in views:
        where = view.folder
        if where is None or where in said or not (where / "machine.json").exists():
            continue
        said.add(where)
        found = json.loads((where / "machine.json").read_text())
        line = f"{view.run}: took {human_seconds(found['wall_s'])}, {found['updates_per_s']:,.0f} updates/s"
        if found.get("mean_batch"):
            line += f", {found['mean_batch']:.1f} clients trained at a time"
        Console(highlight=False, stderr=True).print(line, markup=False, soft_wrap=True)


def show_events(rows: pa.Table) -> None:
    """Print rows of an event log, times in virtual seconds; what a row does not know stays blank."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("time s", "event", "task", "client", "lease", "bytes", "version"):
        table.add_column(head, justify="left" if head == "event" else "right", no_wrap=True)
    for row in rows.to_pylist():
        kind = KINDS[row["kind"]]
        table.add_row(
            f"{row['time_ns'] / 1e9:.3f}",
            kind,
            *("" if row[name] < 0 else str(row[name]) for name in ("task", "client", "lease")),
            str(row["value"]) if kind in ("fetched", "arrived") else "",
            str(row["value"]) if kind in ("assigned", "offered") else "",
        )
    put(table)


def put(table: Table) -> None:
    """Print a table, wide enough where the output is no terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, PLAIN_WIDTH)
    console.print(table)


def _values(view: RunView, before: Sequence[RunView]) -> dict[str, float | None]:
    """Numbers of a row; bytes and staleness are the run's, so they stand in the first row of a run only."""
    said: Mapping[str, Any] = view.summary
    task = said["tasks"][view.task]
    new = all(v.summary is not said for v in before)
    return {
        "time_to_target_s": task["time_to_target_s"],
        "virtual_time_s": said["virtual_time_s"],
        "updates": task["updates"],
        "up": said["bytes"]["up"] if new else None,
        "down": said["bytes"]["down"] if new else None,
        "staleness": said["staleness"]["mean"] if new else None,
        "accuracy": task.get("accuracy"),
    }


def _cells(row: Mapping[str, float | None], targeted: bool) -> list[str]:
    time = row[_time(targeted)]
    return [
        ("not reached" if targeted else "") if time is None else human_seconds(time),
        _say(row["updates"], ",.0f"),
        "" if row["up"] is None else human_bytes(row["up"]),
        "" if row["down"] is None else human_bytes(row["down"]),
        _say(row["staleness"], ".2f"),
        _say(row["accuracy"], ".4f"),
    ]


def _say(value: float | None, style: str) -> str:
    return "" if value is None else format(value, style)


def _time(targeted: bool) -> str:
    return "time_to_target_s" if targeted else "virtual_time_s"
