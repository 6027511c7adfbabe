"""Figures as text: scales, ticks, axes and marks in SVG, each a small function of numbers.

A figure is drawn for a width in CSS pixels; positions are rounded to hundredths of one.
"""

import html
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import ceil, floor, isfinite, log10

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.report.style import series

Floats = NDArray[np.float64]
TEXT = 6.6
"""About the width of a character of 12 pixels."""


class Axis(Struct, frozen=True):
    """A title with its unit, and the range that is shown; a range without length is widened."""

    title: str
    low: float
    high: float
    whole: bool = False

    @property
    def span(self) -> tuple[float, float]:
        """The range that is drawn."""
        if self.high > self.low:
            return self.low, self.high
        return (self.low, self.low + 1.0) if self.low >= 0 else (self.low, 0.0)


class Frame(Struct, frozen=True):
    """Where the marks of a figure go: its size, the box inside the axes, and the two scales."""

    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float
    x: Axis
    y: Axis

    def at_x(self, value: float) -> float:
        """Pixels from the left."""
        low, high = self.x.span
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def at_y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self.y.span
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def frame(width: float, height: float, x: Axis, y: Axis) -> Frame:
    """Leave as much room for the numbers of the vertical axis as they need."""
    labels = tick_labels(ticks(*y.span, 5, y.whole))
    left = max(30.0, 10 + TEXT * max(map(len, labels), default=0))
    return Frame(width, height, left, 26, width - 14, height - 40, x, y)


def number(value: float) -> str:
    """A position with at most two digits, with one from a hundred on.

    >>> number(3.0), number(0.126), number(123.456), number(-0.001)
    ('3', '0.13', '123.5', '0')
    """
    text = f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"
    text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """At most ``most`` + 1 round numbers in a range.

    >>> ticks(0, 10, 5), ticks(0, 3, 5, whole=True), ticks(0, 84, 4)
    ([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [0.0, 1.0, 2.0, 3.0], [0.0, 25.0, 50.0, 75.0])
    """
    if not (isfinite(low) and isfinite(high) and high > low):
        return [low] if isfinite(low) else []
    rough = (high - low) / max(1, most)
    power = 10.0 ** floor(log10(rough))
    steps = [m * power for m in (1, 2, 2.5, 5, 10) if not whole or (m * power).is_integer()] or [1.0]
    step = next((s for s in steps if s >= rough * 0.9999999), steps[-1])
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Numbers of an axis with as many digits as tell them apart; thousands as k, millions as M.

    >>> tick_labels([0, 0.25, 0.5]), tick_labels([0, 50_000, 100_000]), tick_labels([0.0, 5e6])
    (['0', '0.25', '0.50'], ['0', '50k', '100k'], ['0', '5M'])
    """
    largest = max((abs(v) for v in values), default=0.0)
    if 0 < largest < 1e-4 or largest >= 1e15:
        return [f"{v:.3g}" for v in values]
    size, unit = next(((s, u) for s, u in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")) if largest >= 10 * s
                       or (largest >= s and s > 1e3)), (1.0, ""))  # fmt: skip
    scaled = [v / size for v in values]
    steps = [b - a for a, b in pairwise(scaled)]
    digits = max(0, -floor(log10(min(steps)) + 1e-9)) if steps and min(steps) > 0 else 0
    while steps and digits < 12 and any(abs(round(s, digits) - s) > 1e-6 * s for s in steps):
        digits += 1
    return ["0" if v == 0 else f"{v:,.{digits}f}{unit}" for v in scaled]


def thin(x: Floats, y: Floats, most: int) -> tuple[Floats, Floats]:
    """At most about ``most`` points of a line: first, last, and the lowest and highest of every stretch."""
    n = len(x)
    if n <= most:
        return x, y
    edges = np.linspace(0, n, max(2, most // 2) + 1).astype(np.int64)
    keep = {0, n - 1}
    for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        keep |= {a + int(np.argmin(y[a:b])), a + int(np.argmax(y[a:b]))}
    index = sorted(keep)
    return x[index], y[index]


# --- marks


def tag(name: str, _text: str | None = None, **attributes: object) -> str:
    """An element; ``class_`` and the like are written without the underscore, ``data_n`` as ``data-n``."""
    said = "".join(
        f' {k.rstrip("_").replace("_", "-")}="{number(v) if isinstance(v, float) else html.escape(str(v))}"'
        for k, v in attributes.items()
        if v is not None
    )
    return f"<{name}{said}/>" if _text is None else f"<{name}{said}>{html.escape(_text)}</{name}>"


def path(points: Iterable[tuple[float, float]]) -> str:
    """The path through points, in pixels."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


def line(f: Frame, x: Floats, y: Floats, i: int, step: bool = False) -> str:
    """A line through finite points, in the colour of series ``i``; a single point becomes a dot."""
    px = [f.at_x(v) for v in x.tolist()]
    py = [f.at_y(v) for v in y.tolist()]
    if len(px) == 1:
        return tag("circle", class_=f"fill {series(i)} dot", cx=px[0], cy=py[0], r=3.5, data_s=i)
    if step and px:
        px, py = stairs(px, py)
    return tag("path", class_=f"line {series(i)}", d=path(zip(px, py, strict=True)), data_s=i) if px else ""


def area(f: Frame, x: Floats, low: Floats, high: Floats, i: int, strength: str = "soft") -> str:
    """The area between two lines."""
    if not len(x):
        return ""
    px = [f.at_x(v) for v in x.tolist()]
    up = list(zip(px, (f.at_y(v) for v in high.tolist()), strict=True))
    down = list(zip(px, (f.at_y(v) for v in low.tolist()), strict=True))
    return tag("path", class_=f"fill {series(i)} {strength}", d=path(up + down[::-1]) + "Z", data_s=i)


def box(x: float, y: float, width: float, height: float, classes: str, s: int | None = None, tip: str = "") -> str:
    """A filled rectangle, in pixels; ``tip`` is read out when it is pointed at."""
    w, h = number(width), number(height)
    return tag("path", class_=classes, d=f"M{number(x)} {number(y)}h{w}v{h}h-{w}z", data_s=s, data_t=tip or None)


def rule(f: Frame, y: float, text: str) -> str:
    """A dashed line across the figure, with its name above."""
    at = f.at_y(y)
    return tag("path", class_="mark", d=f"M{number(f.left)} {number(at)}H{number(f.right)}") + tag(
        "text", text, class_="halo", x=f.left + 4, y=at - 4
    )


def stairs(px: Sequence[float], py: Sequence[float]) -> tuple[list[float], list[float]]:
    """Corners of a line that holds each value until the next one."""
    xs, ys = [px[0]], [py[0]]
    for x, before, y in zip(px[1:], py[:-1], py[1:], strict=True):
        xs += [x, x]
        ys += [before, y]
    return xs, ys


# --- axes


def axes(f: Frame, x_ticks: bool = True, y_ticks: bool = True) -> str:
    """Grid, numbers and titles."""
    parts = [tag("text", f.y.title, class_="strong", x=2, y=13)]
    if y_ticks:
        values = ticks(*f.y.span, 5, f.y.whole)
        for value, label in zip(values, tick_labels(values), strict=True):
            at = f.at_y(value)
            parts.append(tag("path", class_="grid", d=f"M{number(f.left)} {number(at)}H{number(f.right)}"))
            parts.append(tag("text", label, x=f.left - 5, y=at + 4, text_anchor="end"))
    if x_ticks:
        values = ticks(*f.x.span, max(2, int((f.right - f.left) // 65)), f.x.whole)
        for value, label in zip(values, tick_labels(values), strict=True):
            at, half = f.at_x(value), TEXT * len(label) / 2
            parts.append(tag("path", class_="axis", d=f"M{number(at)} {number(f.bottom)}v4"))
            parts.append(
                tag("text", label, x=min(at, f.width - half), y=f.bottom + 17, text_anchor="middle")
            )  # fmt: skip
    parts.append(tag("path", class_="axis", d=f"M{number(f.left)} {number(f.bottom)}H{number(f.right)}"))
    parts.append(tag("text", f.x.title, class_="strong", x=f.right, y=f.height - 5, text_anchor="end"))
    return "".join(parts)


def svg(f: Frame, marks: str, label: str, curves: bool = False, unit: str = "") -> str:
    """The whole figure; with ``curves`` it says how positions become values; ``unit`` is that of all marks' tips."""
    (x0, x1), (y0, y1) = f.x.span, f.y.span
    scale = [f.left, f.right, x0, x1, f.bottom, f.top, y0, y1] if curves else None
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(f.width)} {number(f.height)}"'
        f' width="{number(f.width)}" height="{number(f.height)}" role="img" aria-label="{html.escape(label)}"'
        + (
            f' tabindex="0" data-scale="{" ".join(f"{v:.12g}" for v in scale)}" data-x="{html.escape(f.x.title)}"'
            if scale
            else ""
        )
        + (f' data-unit="{html.escape(unit)}"' if unit else "")
        + f">{marks}</svg>"
    )
