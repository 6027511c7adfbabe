"""The figures of a report as files for papers and slides: SVG that stands alone, and PNG through an extra.

A file holds the wide drawing on white, with its legend above, its title and its words for screen readers.
"""

import html
import re
from collections.abc import Sequence
from pathlib import Path

from hocket.errors import InvalidInput, MissingExtra
from hocket.files import replace
from hocket.report import svg
from hocket.report.chart import WIDE, Chart
from hocket.report.style import rules

ZOOM = 2
"""Pixels of a PNG for every CSS pixel."""


def write_figures(folder: Path, charts: Sequence[tuple[str, Chart]], png: bool = False) -> list[Path]:
    """Write each named chart as ``NAME.svg``, with ``png`` as ``NAME.png`` too; the paths.

    Raises:
        InvalidInput: ``folder`` is a file.
        MissingExtra: PNG is asked for without the extra; nothing is written.
    """
    check(folder, png)
    made = []
    for name, chart in charts:
        path = folder / f"{re.sub(r'[^0-9A-Za-z._-]+', '-', name)}.svg"
        text = standalone(chart)
        replace(path, lambda p, text=text: p.write_text(text, encoding="utf-8"))  # type: ignore[misc]
        made.append(path)
        if png:
            pixels = as_png(text)
            replace(path.with_suffix(".png"), lambda p, pixels=pixels: p.write_bytes(pixels))  # type: ignore[misc]
            made.append(path.with_suffix(".png"))
    return made


def check(folder: Path, png: bool) -> None:
    """Make sure that figures can be written.

    Raises:
        InvalidInput: ``folder`` is a file.
        MissingExtra: PNG is asked for without the extra.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"--figures {folder}: is a file; give a folder")
    if png:
        try:
            import resvg_py  # noqa: F401
        except ImportError as error:
            raise MissingExtra("--png: resvg-py is not installed; pip install 'hocket[figures]'") from error


def standalone(chart: Chart) -> str:
    """The wide drawing of a chart as an SVG file."""
    found = re.fullmatch(r'<svg [^>]*?viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>(.*)</svg>', chart.wide, re.DOTALL)
    assert found, "drawings are written by one function"
    width, height = float(found[1]), float(found[2])
    legend, room = _legend(chart.legend, width)
    size = f'viewBox="0 {svg.number(-room)} {found[1]} {svg.number(height + room)}"'
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" role="img" width="{found[1]}" '
        f'height="{svg.number(height + room)}" {size}><title>{html.escape(chart.title)}</title>'
        f"<desc>{html.escape(chart.text)}</desc><style>{rules('light')}</style>"
        f'<rect x="0" y="{svg.number(-room)}" width="100%" height="100%" fill="#ffffff"/>{legend}{found[3]}</svg>\n'
    )


def as_png(drawing: str) -> bytes:
    """The pixels of an SVG file."""
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=drawing, zoom=ZOOM, background="#ffffff"))


def _legend(entries: Sequence[tuple[str, str]], width: float = WIDE) -> tuple[str, float]:
    """Keys and names in rows, and how high they are."""
    if not entries:
        return "", 0.0
    rows: list[list[tuple[float, str, str]]] = [[]]
    at = 4.0
    for name, classes in entries:
        long = 30 + svg.TEXT * 1.1 * len(name)
        if at > 4.0 and at + long > width:
            rows.append([])
            at = 4.0
        rows[-1].append((at, name, classes))
        at += long
    room = 20.0 * len(rows) + 4
    marks = ""
    for r, row in enumerate(rows):
        y = 20.0 * r + 4 - room
        for x, name, classes in row:
            marks += svg.box(x, y + 2, 10, 10, f"fill {classes}")
            marks += svg.tag("text", name, class_="strong", x=x + 15, y=y + 11.5)
    return marks, room
