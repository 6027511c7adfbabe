"""One self-contained HTML page that compares runs: a table, and accuracy against virtual time and bytes.

The page holds its own copy of plotly.js and fetches nothing, so it opens offline and from an e-mail. Its text
is in ``page.html`` beside this file: this module turns runs into the table and the data of the figures.
"""

import html
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from math import isfinite
from pathlib import Path

from msgspec import Struct
from plotly.offline import get_plotlyjs

from hocket.report.units import human_bytes, human_seconds

POINTS = 2000
"""A curve with more evaluations than about this is thinned evenly on the page; its last point stays."""

_TIME_UNITS = ((2 * 86400.0, 86400.0, "days"), (7200.0, 3600.0, "hours"), (120.0, 60.0, "minutes"))
_BYTE_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))

Column = Sequence[float | int | None]


class RunView(Struct, frozen=True):
    """What the page shows of one run of one task.

    ``curve`` has the columns time_s, version, updates, accuracy, loss, bytes_up and bytes_down, one row per
    evaluation; accuracy and loss may hold None or be missing. ``summary`` is the content of ``summary.json``;
    ``task`` names the task in it, the first one if not given.
    """

    label: str
    curve: Mapping[str, Column]
    summary: Mapping[str, object]
    target: float | None = None
    task: str | None = None


def write_page(path: Path, runs: Sequence[RunView], title: str) -> None:
    """Write the page that compares ``runs``; the first one is what the others are measured against."""
    metric = next((m for m in ("accuracy", "loss") if any(_has(run, m) for run in runs)), None)
    figures = _figures(runs, metric) if metric else []
    parts = {
        "title": html.escape(title),
        "intro": _intro(runs),
        "table": _table(runs),
        "metric": metric.capitalize() if metric else "",
        "hidden": "" if metric else "hidden",
        "figures": json.dumps(figures, allow_nan=False).replace("<", "\\u003c"),
        "plotly": get_plotlyjs(),
    }
    template = files("hocket.report").joinpath("page.html").read_text(encoding="utf-8")
    text = re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


# --- the table


def _table(runs: Sequence[RunView]) -> str:
    names = [f"{run.target:g}" for run in runs if run.target is not None]
    target = f" {names[0]}" if len(set(names)) == 1 else ""
    columns: list[tuple[str, Callable[[RunView], float | None], Callable[[float], str], bool]] = [
        (f"Time to target{target}", lambda run: _of_task(run, "time_to_target_s"), human_seconds, True),
        ("Updates", lambda run: _number(run.summary, "updates"), lambda n: f"{n:,.0f}", True),
        ("Bytes up", lambda run: _number(run.summary, "bytes", "up"), human_bytes, True),
        ("Bytes down", lambda run: _number(run.summary, "bytes", "down"), human_bytes, True),
        ("Final accuracy", _final_accuracy, lambda a: f"{a:.4f}", False),
        (
            "Mean staleness",
            lambda run: _number(run.summary, "staleness", "mean"),
            lambda s: f"{s:.2f}",
            False,
        ),
    ]
    rows = ["<tr><th scope=col>Run</th>" + "".join(f"<th scope=col>{c[0]}</th>" for c in columns) + "</tr>"]
    for row, run in enumerate(runs):
        cells = []
        for column, (head, read, say, compared) in enumerate(columns):
            value = read(run)
            if value is None:
                missing = column == 0 and run.target is not None
                text = '<span class="none">not reached</span>' if missing else '<span class="none">–</span>'
            else:
                text = say(value)
                first = read(runs[0]) if row and compared else None
                text += f" <small>×{value / first:.3g}</small>" if first else ""
            cells.append(f'<td data-head="{head}">{text}</td>')
        rows.append(f"<tr><th scope=row>{html.escape(run.label)}</th>{''.join(cells)}</tr>")
    return f"<table><thead>{rows[0]}</thead><tbody>{''.join(rows[1:])}</tbody></table>"


def _intro(runs: Sequence[RunView]) -> str:
    text = (
        "Times are virtual: what the fleet would have taken. "
        "Bytes are those of the whole run, 1&nbsp;kB&nbsp;=&nbsp;1000&nbsp;B."
    )
    if len(runs) > 1:
        text += f" The sign × compares with the first run, {html.escape(runs[0].label)}."
    return text


def _number(tree: object, *path: str) -> float | None:
    for name in path:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, int | float) and isfinite(tree) else None


def _of_task(run: RunView, name: str) -> float | None:
    tasks = run.summary.get("tasks")
    if not isinstance(tasks, Mapping) or not tasks:
        return _number(run.summary, name)
    return _number(tasks, run.task if run.task is not None else next(iter(tasks)), name)


def _final_accuracy(run: RunView) -> float | None:
    final = _of_task(run, "accuracy")
    return final if final is not None else next(reversed(_present(run.curve.get("accuracy", ()))), None)


# --- the figures


def _present(column: Column) -> list[float]:
    return [value for value in column if value is not None and isfinite(value)]


def _has(run: RunView, metric: str) -> bool:
    return bool(_present(run.curve.get(metric, ())))


def _figures(runs: Sequence[RunView], metric: str) -> list[dict[str, object]]:
    curves = [_points(run, metric) for run in runs]
    longest = max((t for curve in curves for t, _, _ in curve), default=0.0)
    most = max((b for curve in curves for _, b, _ in curve), default=0.0)
    second, time_unit = next(((s, name) for least, s, name in _TIME_UNITS if longest >= least), (1.0, "seconds"))
    byte, byte_unit = next(((size, name) for size, name in _BYTE_UNITS if most >= size), (1.0, "bytes"))
    targets = sorted({run.target for run in runs if run.target is not None}) if metric == "accuracy" else []

    def figure(element: str, axis: str, at: int, unit: float) -> dict[str, object]:
        lines = [
            {
                # plotly reads a little markup in names, so labels are escaped for it as well
                "name": html.escape(run.label, quote=False),
                "x": [point[at] / unit for point in curve],
                "y": [point[2] for point in curve],
                "text": [f"{human_seconds(t)}, {human_bytes(b)}" for t, b, _ in curve],
            }
            for run, curve in zip(runs, curves, strict=True)
        ]
        return {"element": element, "axis": axis, "metric": metric, "targets": targets, "lines": lines}

    return [
        figure("against-time", f"virtual time ({time_unit})", 0, second),
        figure("against-bytes", f"bytes moved, up + down ({byte_unit})", 1, byte),
    ]


def _points(run: RunView, metric: str) -> list[tuple[float, float, float]]:
    """The evaluations of a run as (seconds, bytes up and down, value), thinned."""
    curve = run.curve
    rows = zip(curve["time_s"], curve["bytes_up"], curve["bytes_down"], curve.get(metric, ()), strict=False)
    points = [
        (float(time or 0), float(up or 0) + float(down or 0), float(value))
        for time, up, down, value in rows
        if value is not None and isfinite(value)
    ]
    stride = max(1, len(points) // POINTS)
    kept = points[::stride]
    return kept if not points or kept[-1] == points[-1] else [*kept, points[-1]]
