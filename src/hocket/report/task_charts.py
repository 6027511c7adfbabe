"""Figures of several tasks in one run: how the requests were dealt among them, and when each was done."""

from collections.abc import Mapping, Sequence

import numpy as np

from hocket.report import svg
from hocket.report.activity import Activity, busy
from hocket.report.chart import Chart, chart, short, some
from hocket.report.scale import time_unit
from hocket.report.style import series
from hocket.report.svg import Axis, Frame
from hocket.report.units import human_seconds
from hocket.report.view import RunView, number, of_task

BINS = 120


def budgets(name: str, run: Activity) -> Chart | None:
    """Leases in flight of each task over time, one on top of the other; None for a single task."""
    if len(run.tasks) < 2 or run.end <= 0 or not len(run.leases):
        return None
    unit, unit_name = time_unit(run.end)
    edges = np.linspace(0.0, run.end, BINS + 1)
    each = [run.leases.of(run.leases.task == m) for m in range(len(run.tasks))]
    mean = np.array([busy(own.assigned, own.ended, edges)[0] for own in each])
    top = np.cumsum(mean, axis=0)
    x = (edges[:-1] + edges[1:]) / 2 / unit
    most = max(float(top[-1].max()), 1.0)
    said = [
        f"{task}: {row.mean():,.1f} on average, from {row[: BINS // 10].mean():,.1f} in the first tenth to "
        f"{row[-BINS // 10 :].mean():,.1f} in the last"
        for task, row in zip(run.tasks, mean, strict=True)
    ]
    text = f"Leases in flight by task, stacked. {some(said)}."

    def draw(width: float) -> str:
        f = svg.frame(
            width,
            280,
            Axis(f"virtual time ({unit_name})", 0.0, run.end / unit),
            Axis("leases in flight", 0.0, most, True),
        )
        marks = svg.axes(f)
        for m in range(len(run.tasks)):
            low = top[m - 1] if m else np.zeros(BINS)
            marks += svg.area(f, x, low, top[m], m, "stacked")
        return svg.svg(f, marks, text)

    legend = tuple((t, series(m)) for m, t in enumerate(run.tasks))
    return chart("budgets", f"Requests by task: {name}", text, legend, draw)


def finishing(runs: Mapping[str, Sequence[RunView]]) -> Chart | None:
    """When each task of each run reached its target; the longest bar of a run is its makespan.

    A task that did not reach it has a faint bar to the end of its run. None without several tasks that have a target.
    """
    several = {name: [v for v in own if v.target is not None] for name, own in runs.items()}
    several = {name: own for name, own in several.items() if len(own) > 1}
    if not several:
        return None
    ends = {name: [_end(v) for v in own] for name, own in several.items()}
    longest = max((t for each in ends.values() for t, _ in each), default=0.0)
    if longest <= 0:
        return None
    unit, unit_name = time_unit(longest)
    order = [t for own in runs.values() for v in own for t in (v.tasks or (v.task or "",))]
    timed = {v.task or "" for own in several.values() for v in own}
    colour = {t: m for m, t in enumerate(dict.fromkeys(order)) if t in timed}
    first = next(iter(ends.values()))
    base = max(t for t, _ in first) if all(done for _, done in first) else 0.0
    said = []
    for name, each in ends.items():
        open_ = sum(not done for _, done in each)
        span = max(t for t, _ in each)
        beside = f" (×{span / base:.2f})" if base and not open_ and each is not first else ""
        said.append(
            f"{name}: {open_} of {len(each)} tasks did not reach their target in {human_seconds(span)}"
            if open_
            else f"{name}: makespan {human_seconds(span)}{beside}"
        )
    text = f"Time at which each task reached its target. {some(said)}."
    row = 18.0

    def draw(width: float) -> str:
        height = 62.0 + sum(26 + row * len(own) for own in several.values())
        across = Axis(f"virtual time ({unit_name})", 0.0, longest / unit)
        f = Frame(width, height, 96, 22, width - 14, height - 40, across, Axis("", 0.0, 1.0))
        marks, at = svg.axes(f, y_ticks=False), f.top
        for name, own in several.items():
            marks += svg.tag("text", short(name, width - 8), class_="strong", x=2, y=at + 13)
            at += 20
            for view, (end, done) in zip(own, ends[name], strict=True):
                m = colour[view.task or ""]
                said = human_seconds(end) if done else f"not within {human_seconds(end)}"
                marks += svg.tag("text", short(view.task or "", 92), x=f.left - 6, y=at + 12, text_anchor="end")
                long = max(f.at_x(end / unit) - f.left, 0.7)
                marks += svg.box(f.left, at + 2, long, row - 5, f"fill {series(m)}" + ("" if done else " faint"), m,
                                 f"{name}: {view.task} {said}")  # fmt: skip
                at += row
            at += 6
        return svg.svg(f, marks, text)

    return chart("makespan", "Time to target by task", text, tuple((t, series(m)) for t, m in colour.items()), draw)


def _end(view: RunView) -> tuple[float, bool]:
    """When the task was done, or until when it was tried; and which of the two."""
    reached = of_task(view, "time_to_target_s")
    return (reached, True) if reached is not None else (number(view.summary, "virtual_time_s") or 0.0, False)
