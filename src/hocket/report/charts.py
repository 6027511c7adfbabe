"""Figures that compare runs: metrics, staleness, contributions, bytes; each a function from tables to a chart."""

from collections.abc import Mapping, Sequence

import numpy as np

from hocket.report import svg
from hocket.report.activity import Activity, Floats, Ints, per_client
from hocket.report.chart import WIDE, Chart, chart, legend_of, short, some
from hocket.report.scale import byte_unit, time_unit
from hocket.report.style import series
from hocket.report.svg import Axis, Frame
from hocket.report.units import human_bytes, human_seconds
from hocket.report.view import RunView, families, number, present

POINTS = 900
"""Points of all lines of one wide figure together, about; a narrow one has half of them."""
STALE_BINS = 40


def against(views: Sequence[RunView], metric: str, by: str, points: int = POINTS) -> Chart | None:
    """A metric of runs against ``time``, ``updates`` or ``bytes``; None if no run has a value."""
    curves = [_curve(view, metric, by) for view in views]
    shown = [(i, x, y) for i, (x, y) in enumerate(curves) if len(x)]
    if not shown:
        return None
    most_x = max(float(x.max()) for _, x, _ in shown)
    unit, name = time_unit(most_x) if by == "time" else byte_unit(most_x) if by == "bytes" else (1.0, "")
    title = {"time": f"virtual time ({name})", "bytes": f"bytes moved, up + down ({name})", "updates": "updates"}[by]
    targets = sorted({v.target for v in views if v.target is not None}) if metric == "accuracy" else []
    low = min(min(float(y.min()) for _, _, y in shown), *targets, float("inf"))
    high = max(max(float(y.max()) for _, _, y in shown), *targets, float("-inf"))
    pad = 0.05 * (high - low) or abs(high) * 0.05 or 0.5
    floor = max(low - pad, 0.0) if low >= 0 else low - pad
    ceiling = min(high + pad, 1.0) if metric == "accuracy" and high <= 1 else high + pad
    x_axis, y_axis = Axis(title, 0.0, most_x / unit, by == "updates"), Axis(metric, floor, ceiling)
    ends = [f"{views[i].label}: {y[-1]:.4g} after {_amount(x[-1], by)}" for i, x, y in shown]
    names = list(families(views)) or [v.label for v in views]
    hue = [names.index(v.alike) for v in views] if families(views) else range(len(views))
    text = f"{metric.capitalize()} against {title}. At the end: {some(ends)}."

    legend = tuple((name, series(i)) for i, name in enumerate(names))

    def draw(width: float) -> str:
        f = svg.frame(width, 300, x_axis, y_axis)
        each = max(24, int(points * (1.0 if width == WIDE else 0.5) / len(shown)))
        marks = svg.axes(f)
        for i, x, y in shown:
            marks += svg.line(f, *svg.thin(x / unit, y, each), hue[i])
        marks += "".join(svg.rule(f, t, f"target {t:g}") for t in targets)
        return svg.svg(f, marks, text, curves=True)

    return chart(f"{metric}-{by}", f"{metric.capitalize()} against {_BY[by]}", text, legend, draw)


_BY = {"time": "virtual time", "updates": "updates", "bytes": "bytes moved"}


def staleness(runs: Mapping[str, Activity]) -> Chart | None:
    """How many versions behind the accepted updates were, as shares."""
    found = {i: a.accepted().staleness for i, a in enumerate(runs.values())}
    found = {i: s for i, s in found.items() if len(s)}
    if not found:
        return None
    largest = max(int(s.max()) for s in found.values())
    width_of = -(-(largest + 1) // STALE_BINS)
    bins = largest // width_of + 1
    shares = {i: 100.0 * np.bincount(s // width_of, minlength=bins) / len(s) for i, s in found.items()}
    names = list(runs)
    said = [f"{names[i]}: mean {s.mean():.2f}, 95th percentile {_rank(s, 0.95)}, largest {s.max()}"
            for i, s in found.items()]  # fmt: skip
    binned = f" Bars are {width_of} versions wide." if width_of > 1 else ""
    text = f"Staleness of accepted updates: versions between start and arrival. {some(said)}.{binned}"
    x_axis = Axis("staleness (versions)", -0.5, bins * width_of - 0.5, True)
    y_axis = Axis("share of accepted updates (%)", 0.0, max(float(s.max()) for s in shares.values()))

    def draw(width: float) -> str:
        f = svg.frame(width, 260, x_axis, y_axis)
        marks = svg.axes(f)
        slot = (f.right - f.left) / bins
        thick = min(48.0, max(0.6, slot * 0.82 / len(shares)))
        for k, (i, share) in enumerate(shares.items()):
            for b, value in enumerate(share.tolist()):
                if value > 0:
                    at = f.left + slot * (b + 0.5) + (k - len(shares) / 2) * thick
                    low, high = b * width_of, min(largest, b * width_of + width_of - 1)
                    where = f"{low}" if low == high else f"{low} to {high}"
                    tip = f"{names[i]}: {value:.3g} % of updates {where} versions behind"
                    top = min(f.at_y(value), f.bottom - 0.7)
                    marks += svg.box(at, top, thick, f.bottom - top, f"fill {series(i)}", i, tip)
        return svg.svg(f, marks, text)

    return chart("staleness", "Staleness", text, tuple((n, series(i)) for i, n in enumerate(names)), draw)


def contributions(runs: Mapping[str, Activity], clients: Mapping[str, int | None]) -> Chart | None:
    """The share of updates that the most active clients sent; on the diagonal all sent as many."""
    lines: dict[int, tuple[Floats, Floats]] = {}
    said = []
    for i, (name, run) in enumerate(runs.items()):
        seen, counts = per_client(run.leases)
        total = int(counts.sum())
        if not total:
            continue
        n = max(clients.get(name) or 0, len(seen))
        ordered = np.concatenate([np.sort(counts)[::-1], np.zeros(n - len(seen), np.int64)])
        summed = np.concatenate([[0], np.cumsum(ordered)]) * 100.0 / total
        lines[i] = np.linspace(0.0, 100.0, n + 1), summed
        tenth = float(np.interp(10.0, *lines[i]))
        idle = n - int((counts > 0).sum())
        said.append(f"{name}: the most active tenth sent {tenth:.0f} %, {idle:,} of {n:,} clients sent nothing")
    if not lines:
        return None
    text = f"Accepted updates by client, the most active first. {some(said)}."
    x_axis, y_axis = Axis("share of clients (%)", 0.0, 100.0), Axis("share of accepted updates (%)", 0.0, 100.0)

    def draw(width: float) -> str:
        f = svg.frame(width, 260, x_axis, y_axis)
        marks = svg.axes(f) + svg.tag("path", class_="mark", d=svg.path([(f.left, f.bottom), (f.right, f.top)]))
        for i, (x, y) in lines.items():
            marks += svg.line(f, *svg.thin(x, y, max(24, 400 // len(lines))), i)
        return svg.svg(f, marks, text, curves=True)

    names = tuple((n, series(i)) for i, n in enumerate(runs))
    return chart("contributions", "Who contributed", text, names, draw)


def device_classes(runs: Mapping[str, Activity], views: Mapping[str, RunView]) -> Chart | None:
    """For each class of device its share of the fleet, and its share of the accepted updates; None with one class."""
    found: dict[str, list[tuple[str, float, float]]] = {}
    for name, run in runs.items():
        kind, kinds = views[name].kind, views[name].kinds
        clients, counts = per_client(run.leases)
        if kind is None or len(kinds) < 2 or not counts.sum() or clients.max() >= len(kind):
            continue
        there = np.bincount(kind, minlength=len(kinds)) * 100.0 / len(kind)
        sent = np.bincount(kind[clients], counts, len(kinds)) * 100.0 / counts.sum()
        found[name] = list(zip(kinds, there.tolist(), sent.tolist(), strict=True))
    if not found:
        return None
    said = [
        f"{name}: " + ", ".join(f"{k} {sent:.0f} % of updates ({there:.0f} % of devices)" for k, there, sent in rows)
        for name, rows in found.items()
    ]
    text = f"Accepted updates by class of device. {some(said)}."
    most = max(max(there, sent) for rows in found.values() for _, there, sent in rows)
    high = 24.0

    def draw(width: float) -> str:
        height = 62.0 + sum(28 + high * len(rows) for rows in found.values())
        f = Frame(width, height, 66, 22, width - 14, height - 40, Axis("share (%)", 0.0, most), _NONE)
        marks, top = svg.axes(f, y_ticks=False), f.top
        for name, rows in found.items():
            marks += svg.tag("text", short(name, width - 8), class_="strong", x=2, y=top + 14)
            for j, (k, there, sent) in enumerate(rows):
                at = top + 20 + high * j
                marks += svg.tag("text", short(k, 64), x=f.left - 6, y=at + 13, text_anchor="end")
                for c, value, of, y in ((7, there, "devices", at), (0, sent, "updates", at + 9)):
                    tip = f"{name}: {k} {value:.3g} % of {of}"
                    marks += svg.box(f.left, y, max(f.at_x(value) - f.left, 0.7), 8, f"fill s{c}", c, tip)
            top += 28 + high * len(rows)
        return svg.svg(f, marks, text)

    legend = (("share of updates", "s0"), ("share of devices", "s7"))
    return chart("classes", "Contributions by device class", text, legend, draw)


KINDS = {
    "down": ("critical", "prefetched", "overcommitted", "wasted", "not told apart"),
    "up": ("accepted", "refused"),
    "published": ("published",),
}
_COLOURS = {
    "critical": 0,
    "prefetched": 2,
    "overcommitted": 5,
    "wasted": 1,
    "accepted": 4,
    "refused": 3,
    "published": 7,
    "not told apart": 6,
}


def byte_kinds(summaries: Mapping[str, Mapping[str, object]]) -> Chart | None:
    """Bytes of runs by what they were good for, as stacked bars."""
    tables = {name: _bytes(summary) for name, summary in summaries.items()}
    most = max((sum(t[k] for k in kinds) for t in tables.values() for kinds in KINDS.values()), default=0.0)
    if not most:
        return None
    unit, unit_name = byte_unit(most)
    said = [
        f"{name}: {human_bytes(sum(t[k] for k in KINDS['down']))} down ("
        + ", ".join(f"{k} {human_bytes(t[k])}" for k in KINDS["down"] if t[k])
        + f"), {human_bytes(sum(t[k] for k in KINDS['up']))} up ({human_bytes(t['refused'])} refused), "
        f"{human_bytes(t['published'])} published"
        for name, t in tables.items()
    ]
    text = f"Bytes by kind. {some(said)}."
    used = [k for kinds in KINDS.values() for k in kinds if any(t[k] for t in tables.values())]
    row, group = 20.0, 3 * 20.0 + 30.0

    def draw(width: float) -> str:
        height = 26.0 + group * len(tables) + 40.0
        f = Frame(width, height, 66, 22, width - 14, height - 40, Axis(f"bytes ({unit_name})", 0.0, most / unit), _NONE)
        marks = svg.axes(f, y_ticks=False)
        for r, (name, table) in enumerate(tables.items()):
            top = f.top + group * r
            marks += svg.tag("text", short(name, width - 8), class_="strong", x=2, y=top + 14)
            for j, (direction, kinds) in enumerate(KINDS.items()):
                at, left = top + 20 + row * j, f.left
                marks += svg.tag("text", direction, x=f.left - 6, y=at + 13, text_anchor="end")
                for kind in kinds:
                    long = table[kind] / most * (f.right - f.left)
                    if long > 0:
                        c = _COLOURS[kind]
                        tip = f"{name}: {kind} {human_bytes(table[kind])}"
                        marks += svg.box(left, at, max(long, 0.7), row - 5, f"fill s{c}", c, tip)
                    left += long
        return svg.svg(f, marks, text)

    return chart("bytes", "Bytes by kind", text, tuple((k, f"s{_COLOURS[k]}") for k in used), draw)


def clients_metric(views: Sequence[RunView], metric: str) -> Chart | None:
    """A metric on each client's own data, the worst first; the worst tenth is marked."""
    found = {i: np.sort(present(v.per_client.get(metric, ()))) for i, v in enumerate(views)}
    found = {i: values for i, values in found.items() if len(values)}
    if not found:
        return None
    said = [
        f"{views[i].label}: mean {y.mean():.4g}, worst tenth {y[: max(1, len(y) // 10)].mean():.4g}, worst {y[0]:.4g}"
        for i, y in found.items()
    ]
    text = f"{metric.capitalize()} of the final model on each client's own data. {some(said)}."
    low, high = min(float(y[0]) for y in found.values()), max(float(y[-1]) for y in found.values())
    y_axis = Axis(f"{metric} on own data", min(low, 0.0), high)

    def draw(width: float) -> str:
        f = svg.frame(width, 260, Axis("share of clients, worst first (%)", 0.0, 100.0), y_axis)
        at = svg.number(f.at_x(10.0))
        marks = svg.axes(f) + svg.tag("path", class_="mark", d=f"M{at} {svg.number(f.top)}V{svg.number(f.bottom)}")
        marks += svg.tag("text", "worst tenth", x=f.at_x(10.0) + 4, y=f.top + 11)
        for i, y in found.items():
            x = np.linspace(0.0, 100.0, len(y)) if len(y) > 1 else np.zeros(1)
            marks += svg.line(f, *svg.thin(x, y, max(24, 400 // len(found))), i)
        return svg.svg(f, marks, text, curves=True)

    return chart(f"clients-{metric}", f"{metric.capitalize()} by client", text, legend_of(views), draw)


_NONE = Axis("", 0.0, 1.0)


def _curve(view: RunView, metric: str, by: str) -> tuple[Floats, Floats]:
    """The evaluations that have a finite value, in the order in which they were made."""
    c = view.curve
    across: list[float]
    if by == "bytes":
        pairs = zip(c.get("bytes_up", ()), c.get("bytes_down", ()), strict=False)
        across = [float(up or 0) + float(down or 0) for up, down in pairs]
    else:
        across = [float(v or 0) for v in c.get("time_s" if by == "time" else "updates", ())]
    values = [float("nan") if v is None else float(v) for v in c.get(metric, ())]
    n = min(len(across), len(values))
    x, y = np.array(across[:n], np.float64), np.array(values[:n], np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    return x[good], y[good]


def _bytes(summary: Mapping[str, object]) -> dict[str, float]:
    table = {k: max(0.0, number(summary, "bytes", k) or 0.0) for kinds in KINDS.values() for k in kinds}
    table["accepted"] = max(0.0, (number(summary, "bytes", "up") or 0.0) - table["refused"])
    known = sum(table[k] for k in KINDS["down"])
    table["not told apart"] = max(0.0, (number(summary, "bytes", "down") or 0.0) - known)
    return table


def _amount(value: float, by: str) -> str:
    return human_seconds(value) if by == "time" else human_bytes(value) if by == "bytes" else f"{value:,.0f} updates"


def _rank(values: Ints, share: float) -> int:
    return int(np.sort(values)[max(0, int(np.ceil(share * len(values))) - 1)])
