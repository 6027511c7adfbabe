"""Figures of who was at work when: leases in flight, lanes of single clients, and the fleet in tenths."""

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
from msgspec import Struct

from hocket.report import svg
from hocket.report.activity import OUTCOMES, Activity, Floats, Ints, Leases, busy
from hocket.report.chart import WIDE, Chart, chart, some
from hocket.report.scale import time_unit
from hocket.report.style import HEAT, series
from hocket.report.svg import Axis, Frame
from hocket.report.units import human_seconds

LANES, SPANS = 24, 300
"""Clients shown as lanes on a wide page, and leases in them; a narrow page has half and a third of them."""
BINS = 40


def in_flight(runs: Mapping[str, Activity]) -> Chart | None:
    """Open leases over time: the mean of every stretch as a line, up to the largest as a shade.

    One series per run; a single run of several tasks has one per task.
    """
    lines: dict[str, tuple[Leases, float]] = {}
    for name, run in runs.items():
        if len(runs) == 1 and len(run.tasks) > 1:
            lines |= {t: (run.leases.of(run.leases.task == m), run.end) for m, t in enumerate(run.tasks)}
        else:
            lines[name] = run.leases, run.end
    end = max((e for _, e in lines.values()), default=0.0)
    if end <= 0 or not any(len(leases) for leases, _ in lines.values()):
        return None
    unit, unit_name = time_unit(end)
    bins = max(24, min(160, 480 // len(lines)))
    drawn: dict[int, tuple[Floats, Floats, Floats]] = {}
    said = []
    for i, (name, (leases, last)) in enumerate(lines.items()):
        if not len(leases) or last <= 0:
            continue
        edges = np.linspace(0.0, last, bins + 1)
        mean, most = busy(leases.assigned, leases.ended, edges)
        drawn[i] = (edges[:-1] + edges[1:]) / 2 / unit, mean, most
        said.append(f"{name}: {mean.mean():,.1f} on average, at most {most.max():,.0f}")
    text = f"Leases in flight. {some(said)}."
    if not drawn:
        return None
    y_axis = Axis("leases in flight", 0.0, max(float(m.max()) for _, _, m in drawn.values()) * 1.05, True)

    def draw(width: float) -> str:
        f = svg.frame(width, 260, Axis(f"virtual time ({unit_name})", 0.0, end / unit), y_axis)
        marks = svg.axes(f)
        for i, (x, mean, most) in drawn.items():
            marks += svg.area(f, x, mean, most, i) + svg.line(f, x, mean, i)
        return svg.svg(f, marks, text, curves=True)

    return chart("in-flight", "Leases in flight", text, tuple((n, series(i)) for i, n in enumerate(lines)), draw)


class _Window(Struct, frozen=True):
    """The lanes that are shown: clients from the fastest on, their leases, and the time until which they are shown."""

    clients: Ints
    leases: Leases
    until: float


def lanes(name: str, run: Activity) -> Chart | None:
    """Who worked when: a lane per client, the fastest at the top, faint until training starts."""
    clients, pace = _pace(run.leases)
    if not len(clients) or run.end <= 0:
        return None
    ordered = clients[np.argsort(pace, kind="stable")]
    wide, narrow = _window(run, ordered, LANES, SPANS), _window(run, ordered, LANES // 2, SPANS // 3)
    several = len(run.tasks) > 1
    text = (
        f"Work of {_sample(wide, len(clients), run.end)}, the fastest first (on a narrow page "
        f"{_sample(narrow, len(clients), run.end)}): {len(wide.leases)} leases, "
        f"{int(np.isin(wide.leases.outcome, _LOST).sum())} of them for nothing. "
        "Faint: waiting and downloading; full: training and uploading; grey: came to nothing."
    )

    def draw(width: float) -> str:
        shown = wide if width == WIDE else narrow
        unit, unit_name = time_unit(shown.until)
        high = 14.0
        height = 26 + high * len(shown.clients) + 40
        across = Axis(f"virtual time ({unit_name})", 0.0, shown.until / unit)
        f = Frame(width, height, 62, 22, width - 14, height - 40, across, Axis("client", 0.0, 1.0))
        marks = [svg.axes(f, y_ticks=False)]
        for k, client in enumerate(shown.clients.tolist()):
            at = f.top + high * k
            marks.append(svg.tag("text", str(client), x=f.left - 6, y=at + 11, text_anchor="end"))
            marks.append(svg.box(f.left, at + 2, f.right - f.left, high - 4, "none"))
            early, late = [], []  # work drawn over waiting, where leases queue at a client
            own = shown.leases.of(shown.leases.client == client)
            columns = (own.task, own.assigned, own.started, own.ended, own.outcome)
            for task, assigned, started, ended, outcome in zip(*(c.tolist() for c in columns), strict=True):
                fill = "lost" if outcome in _LOST else f"fill {series(task) if several else 's0'}"
                a, z = f.at_x(assigned / unit), f.at_x(min(ended, shown.until) / unit)
                m = f.at_x(min(started, shown.until) / unit) if started == started else z
                of = f" {run.tasks[task]}" if several and task >= 0 else ""
                own_series = task if several else None
                tip = f"{client}{of}: {human_seconds(assigned)} – {human_seconds(ended)}, {OUTCOMES[outcome]}"
                if m - a > 0.05:
                    faint = fill if fill == "lost" else f"{fill} faint"
                    early.append(svg.box(a, at + 2, m - a, high - 4, faint, own_series, tip))
                if z - m > 0.05 or m - a <= 0.05:
                    late.append(svg.box(m, at + 2, max(z - m, 0.5), high - 4, fill, own_series, tip))
            marks += early + late
        return svg.svg(f, "".join(marks), text)

    legend = tuple((t, series(m)) for m, t in enumerate(run.tasks)) if several else ()
    return chart("lanes", f"Who worked when: {name}", text, legend, draw)


def utilisation(name: str, run: Activity) -> Chart | None:
    """How much of the fleet is at work, for tenths of the clients by how long a lease takes them."""
    clients, pace = _pace(run.leases)
    if len(clients) < 2 or run.end <= 0:
        return None
    unit, unit_name = time_unit(run.end)
    groups = np.array_split(clients[np.argsort(pace, kind="stable")], min(10, len(clients)))
    grid, half = _shares(run, groups, BINS), _shares(run, groups, BINS // 2)
    full = float(grid.max())
    text = (
        f"Open leases per client over time, in {len(groups)} groups from the fastest clients (top) to the slowest: "
        f"{grid.mean():.2f} on average; the fastest {grid[0].mean():.2f}, the slowest {grid[-1].mean():.2f}. "
        f"{len(clients):,} clients that ever worked. Darkest: {full:.2f}."
    )

    def draw(width: float) -> str:
        cells = grid if width == WIDE else half
        high = 20.0
        height = 26 + high * len(groups) + 40
        across = Axis(f"virtual time ({unit_name})", 0.0, run.end / unit)
        f = Frame(width, height, 62, 22, width - 14, height - 40, across, Axis("clients by speed", 0.0, 1.0))
        marks = [svg.axes(f, y_ticks=False)]
        cell = (f.right - f.left) / cells.shape[1]
        for g, row in enumerate(cells.tolist()):
            at = f.top + high * g
            said = {0: "fastest", len(groups) - 1: "slowest"}.get(g, "")
            marks.append(svg.tag("text", said, x=f.left - 6, y=at + 14, text_anchor="end"))
            marks.append(svg.box(f.left, at, f.right - f.left, high - 1, "none"))
            for b, value in enumerate(row):
                level = min(HEAT, ceil(HEAT * value / full - 0.04)) if full else 0
                if level > 0:
                    marks.append(svg.box(f.left + cell * b, at, cell, high - 1, f"h{level}", None, f"{value:.2f}"))
        return svg.svg(f, "".join(marks), text, unit=" open leases per client")

    return chart("utilisation", f"Fleet at work: {name}", text, (), draw)


_LOST = (1, 2, 3)
"""Outcomes of a lease that ended without an accepted update."""


def _window(run: Activity, ordered: Ints, lanes: int, spans: int) -> _Window:
    """Clients at even ranks, and the start of the run up to as many leases as can be told apart."""
    ranks = np.unique(np.linspace(0, len(ordered) - 1, min(lanes, len(ordered))).round().astype(np.int64))
    own = run.leases.of(np.isin(run.leases.client, ordered[ranks]))
    own = own.of(np.argsort(own.assigned, kind="stable"))
    until = run.end if len(own) <= spans else max(float(own.assigned[spans]), run.end / 1e6)
    return _Window(ordered[ranks], own.of(own.assigned < until), until)


def _sample(shown: _Window, clients: int, end: float) -> str:
    some = f"{len(shown.clients)} of {clients:,} clients" if len(shown.clients) < clients else f"all {clients} clients"
    window = f"the first {human_seconds(shown.until)} of {human_seconds(end)}" if shown.until < end else "the whole run"
    return f"{some} over {window}"


def _shares(run: Activity, groups: Sequence[Ints], bins: int) -> Floats:
    """Open leases per client, by group and stretch of time."""
    edges = np.linspace(0.0, run.end, bins + 1)
    where = np.full(int(max(g.max() for g in groups)) + 1, -1)
    for g, members in enumerate(groups):
        where[members] = g
    group = where[run.leases.client]
    each = [run.leases.of(group == g) for g in range(len(groups))]
    rows = [busy(o.assigned, o.ended, edges)[0] / len(m) for o, m in zip(each, groups, strict=True)]
    return np.array(rows)


def _pace(leases: Leases) -> tuple[Ints, Floats]:
    """Clients that were given a lease, and the mean seconds that one took them."""
    clients, where, counts = np.unique(leases.client, return_inverse=True, return_counts=True)
    return clients, np.bincount(where, leases.ended - leases.assigned, len(clients)) / np.maximum(counts, 1)
