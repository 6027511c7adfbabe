"""Experiments side by side in the terminal."""

from collections.abc import Callable, Sequence

from rich.table import Table
from rich.text import Text

from hocket.cli.table import put
from hocket.experiment.compare import Row
from hocket.record.interval import Interval
from hocket.report import human_bytes, human_seconds

_STYLES: dict[str, Callable[[float], str]] = {
    "time_s": human_seconds,
    "up": human_bytes,
    "down": human_bytes,
    "accuracy": "{:.4f}".format,
    "staleness": "{:.2f}".format,
}
_RATED = ("time_s", "up", "down")


def show_rows(rows: Sequence[Row]) -> None:
    """Print a row per experiment and task: mean ± half of the 95 % interval, and times the first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("experiment", overflow="fold")
    targeted = any(row.reached is not None for row in rows)
    several = len({row.task for row in rows}) > 1
    end = " to target" if targeted else ""
    for figure, head in zip(_STYLES, (f"time{end}", "up", "down", "accuracy", "staleness"), strict=True):
        table.add_column(head, justify="right", no_wrap=True)
        if figure in _RATED:
            table.add_column("×", justify="right", no_wrap=True)
    for row in rows:
        name = f"{row.name}: {row.task}" if several else row.name
        some = row.reached is not None and row.reached < row.runs
        cells = [name + (f" ({row.reached} of {row.runs} reached it)" if some else "")]
        for figure, style in _STYLES.items():
            cells.append(_cell(row.figures[figure], style))
            if figure in _RATED:
                cells.append(f"{row.ratio[figure]:.2f}" if figure in row.ratio else "")
        table.add_row(*map(Text, cells))
    put(table)


def _cell(value: Interval | None, style: Callable[[float], str]) -> str:
    if value is None:
        return "-"
    return style(value.mean) if value.half is None else f"{style(value.mean)} ± {style(value.half)}"
