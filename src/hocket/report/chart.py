"""What a figure is: drawings for a wide and a narrow page, and the same in words."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from hocket.report.style import series
from hocket.report.svg import TEXT
from hocket.report.view import RunView

WIDE, NARROW = 660.0, 345.0
"""CSS pixels."""


class Chart(Struct, frozen=True):
    """A figure: its file name, title, what it says in words, its legend (names and classes), and its drawings."""

    name: str
    title: str
    text: str
    legend: tuple[tuple[str, str], ...]
    wide: str
    narrow: str


def chart(name: str, title: str, text: str, legend: tuple[tuple[str, str], ...], draw: Callable[[float], str]) -> Chart:
    """Draw a figure in both widths."""
    return Chart(name, title, text, legend, draw(WIDE), draw(NARROW))


def legend_of(views: Sequence[RunView]) -> tuple[tuple[str, str], ...]:
    """A series per view."""
    return tuple((view.label, series(i)) for i, view in enumerate(views))


def some(said: Sequence[str], most: int = 6) -> str:
    """What was said, or the first of it."""
    more = f"; and {len(said) - most} more" if len(said) > most else ""
    return "; ".join(said[:most]) + more


def short(name: str, width: float) -> str:
    """A name that fits into ``width`` pixels."""
    most = int(width / (TEXT * 1.05))
    return name if len(name) <= most else name[: most - 1] + "…"
