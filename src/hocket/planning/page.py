"""A plan as a page: tables and figures in the style of run reports; see :mod:`hocket.report.page`."""

import html
from collections.abc import Callable, Sequence
from math import isfinite

import numpy as np

from hocket.planning.foretell import Foretold
from hocket.planning.plan import Plan, Point
from hocket.report import svg
from hocket.report.chart import Chart, chart
from hocket.report.page import document, figure
from hocket.report.scale import time_unit
from hocket.report.style import series
from hocket.report.svg import Axis
from hocket.report.units import human_bytes, human_seconds


def charts(plan: Plan) -> list[Chart]:
    """Every figure of a plan."""
    drawn = [who(plan)]
    if plan.curve:
        drawn += [cost(plan), share(plan), stale(plan), throughput(plan)]
        drawn += [energy(plan)] if isfinite(plan.curve[0].joules) else []
    drawn += [checked(plan)] if plan.seen else []
    return drawn


def page(plan: Plan) -> str:
    """The text of the page."""
    body = _section("The plan", _plans(plan))
    body += _section("Device classes", _kinds(plan))
    if plan.what_if:
        body += _section("What if", _what_if(plan))
    figures = "".join(figure(c) for c in charts(plan))
    body += f'<section><h2>Figures</h2><div class="columns">{figures}</div></section>'
    return document("Plan", _intro(plan), body)


# --- figures


def who(plan: Plan) -> Chart:
    """Who contributes: the share of devices, of updates, and of work, by kind."""
    kinds = plan.fleet.kinds
    counts = np.bincount(np.broadcast_to(plan.fleet.kind, len(plan.fleet)), minlength=len(kinds)) / len(plan.fleet)
    bars = {"of the devices": counts, "of the updates, best": plan.best.shares}
    said = [f"{k}: {c:.0%} of the devices, {s:.1%} of the updates" for k, c, s in zip(kinds, counts, plan.best.shares, strict=True)]  # fmt: skip # noqa: E501
    return _bars("who", "Who contributes", "; ".join(said) + ".", kinds, bars, "share", percent=True)


def checked(plan: Plan) -> Chart:
    """Staleness foretold beside simulated, by kind, under the plan."""
    kinds, seen = plan.fleet.kinds, plan.seen["best"]
    bars = {"foretold": plan.best.by_kind, "simulated": seen.by_kind}
    text = (
        f"Staleness of the plan, foretold and simulated. Updates per second: {plan.best.throughput:.4g} and "
        f"{seen.throughput:.4g}."
    )
    return _bars("predicted", "Foretold and simulated", text, kinds, bars, "versions behind")


def cost(plan: Plan) -> Chart:
    """Seconds to the target against m."""
    unit, name = time_unit(max(p.seconds for p in plan.curve))
    return _curve(plan, "time", "Time to the target", f"time to the target ({name})", lambda p: p.seconds / unit)


def throughput(plan: Plan) -> Chart:
    """Updates per second against m."""
    return _curve(plan, "throughput", "Throughput", "updates per second", lambda p: p.throughput)


def energy(plan: Plan) -> Chart:
    """Energy to the target against m."""
    return _curve(plan, "energy", "Energy to the target", "energy to the target (kJ)", lambda p: p.joules / 1e3)


def share(plan: Plan) -> Chart:
    """What each kind has of the updates, against m."""
    return _kinds_curve(plan, "routing", "Routing", "share of the updates", lambda p: p.shares)


def stale(plan: Plan) -> Chart:
    """Staleness of each kind, against m."""
    return _kinds_curve(plan, "staleness", "Staleness", "versions behind", lambda p: p.staleness)


def _curve(plan: Plan, name: str, title: str, axis: str, value: Callable[[Point], float]) -> Chart:
    return _lines(plan, name, title, axis, {"best routing": np.array([value(p) for p in plan.curve])})


def _kinds_curve(plan: Plan, name: str, title: str, axis: str, value: Callable[[Point], np.ndarray]) -> Chart:
    rows = np.array([value(p) for p in plan.curve])
    return _lines(plan, name, title, axis, dict(zip(plan.fleet.kinds, rows.T, strict=True)))


def _lines(plan: Plan, name: str, title: str, axis: str, lines: dict[str, np.ndarray]) -> Chart:
    m = np.array([float(p.in_flight) for p in plan.curve])
    best = plan.in_flight
    at = int(np.flatnonzero(m == best)[0])
    shown = {k: y for k, y in lines.items() if np.isfinite(y).all()}
    top = max(float(y.max()) for y in shown.values())
    said = "; ".join(f"{k if len(shown) > 1 else axis} {y[at]:.4g}" for k, y in shown.items())
    text = f"{title} of the best routing for each number of jobs in flight; at the best, {best}: {said}."

    def draw(width: float) -> str:
        f = svg.frame(width, 260, Axis("jobs in flight", 0.0, float(m[-1]), True), Axis(axis, 0.0, top * 1.05))
        marks = svg.axes(f)
        x = f.at_x(float(best))
        marks += svg.tag("path", class_="mark", d=f"M{svg.number(x)} {svg.number(f.top)}V{svg.number(f.bottom)}")
        marks += svg.tag("text", f"best: {best}", class_="halo", x=x + 4, y=f.top + 10)
        for i, y in enumerate(shown.values()):
            marks += svg.line(f, m, y, i)
        return svg.svg(f, marks, text, curves=True)

    return chart(name, title, text, tuple((k, series(i)) for i, k in enumerate(shown)), draw)


def _bars(
    name: str,
    title: str,
    text: str,
    kinds: Sequence[str],
    bars: dict[str, np.ndarray],
    axis: str,
    percent: bool = False,
) -> Chart:
    top = max(float(np.nanmax(v)) for v in bars.values())

    def draw(width: float) -> str:
        high, n = 15.0, len(bars)
        left = min(10 + svg.TEXT * max(map(len, kinds)), width / 3)
        height = 26 + (high * n + 8) * len(kinds) + 40
        x = Axis(axis + (" (%)" if percent else ""), 0.0, top * (100 if percent else 1))
        f = svg.Frame(width, height, left, 22, width - 60, height - 40, x, Axis("", 0.0, 1.0))
        marks = svg.axes(f, y_ticks=False)
        for k, kind in enumerate(kinds):
            y = f.top + (high * n + 8) * k
            marks += svg.tag("text", kind, x=left - 6, y=y + high * n / 2 + 4, text_anchor="end")
            for i, values in enumerate(bars.values()):
                v = float(values[k]) * (100 if percent else 1)
                if isfinite(v):
                    marks += svg.box(left, y + high * i, f.at_x(v) - left, high - 2, f"fill {series(i)}", i)
                    marks += svg.tag(
                        "text", f"{v:,.0f}" if v >= 100 else f"{v:.3g}", x=f.at_x(v) + 4, y=y + high * i + 10.5
                    )
        return svg.svg(f, marks, text)

    return chart(name, title, text, tuple((k, series(i)) for i, k in enumerate(bars)), draw)


# --- tables


def _intro(plan: Plan) -> str:
    known = plan.calibration
    text = (
        f"{len(plan.fleet):,} devices, {human_bytes(known.down)} down and {human_bytes(known.up)} up per job. The plan "
        f"is what is best for {plan.aim}, foretold by formula. Staleness: how many versions the model moves on between "
        "the start of a job and the arrival of its update; the routing says how likely each device is to get the next "
        "job. Times to the target are a bound's, good for comparing plans only."
    )
    if plan.unsettled:
        text += f" {plan.unsettled[0].upper()}{plan.unsettled[1:]}."
    said = "".join(f"<li>{html.escape(s)}</li>" for s in plan.broken)
    return text + (f"</p><p>What the formulas do not cover here:</p><ul>{said}</ul><p>" if said else "")


def _plans(plan: Plan) -> str:
    rows = []
    for label, key, said, seconds in zip(
        ("uniform routing", "the plan"), ("uniform", "best"), (plan.uniform, plan.best), plan.seconds, strict=True
    ):
        rows.append([label, *_numbers(said), human_seconds(seconds)])
        if key in plan.seen:
            rows.append([f"{label}, simulated", *_numbers(plan.seen[key]), ""])
    if "itself" in plan.seen:
        rows.append(["the experiment itself, simulated", *_numbers(plan.seen["itself"]), ""])
    return _table(["routing", "jobs in flight", "updates/s", "mean staleness", "time to the target"], rows)


def _numbers(p: Foretold) -> list[str]:
    return [str(p.in_flight), f"{p.throughput:.4g}", f"{p.staleness:.2f}"]


def _kinds(plan: Plan) -> str:
    kind = np.broadcast_to(plan.fleet.kind, len(plan.fleet))
    counts = np.bincount(kind, minlength=len(plan.fleet.kinds))
    times = plan.calibration.times
    rows = []
    for k, name in enumerate(plan.fleet.kinds):
        if counts[k]:
            own = [human_seconds(float(t[kind == k].mean())) for t in times]
            p, stale = float(plan.routing[kind == k].mean()), float(plan.best.by_kind[k])
            rows.append([name, f"{counts[k]:,}", *own, f"{p:.3g}", f"{plan.best.shares[k]:.1%}", f"{stale:.2f}"])
    heads = ["devices", "number", "compute", "download", "upload", "p of a device", "share of updates", "staleness"]
    return _table(heads, rows)


def _what_if(plan: Plan) -> str:
    rows = [[w.change, f"{w.in_flight}", f"{w.throughput:.4g}", f"{w.seconds:.2f}"] for w in plan.what_if]
    return _table(["change", "jobs in flight", "updates/s", "time to the target, by that of the plan"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th scope=col>{html.escape(h)}</th>" for h in heads)
    body = "".join(
        f"<tr><th scope=row>{html.escape(row[0])}</th>"
        + "".join(f"<td>{html.escape(v)}</td>" for v in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _section(title: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>"
