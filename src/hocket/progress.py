"""Live progress of long runs, on standard error.

On a terminal a small table is redrawn at most four times a second; elsewhere a plain line comes every ten
seconds. A run shorter than two seconds prints nothing. Progress only looks: it changes nothing in a run.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hocket.report.units import human_seconds

QUIET_S = 2.0
REDRAW_S = 0.25
LINE_S = 10.0


class _Row:
    """The latest state of one run and when, in wall time, it began and was last heard of."""

    __slots__ = ("accuracy", "began", "first", "fraction", "heard", "now_s", "target", "updates", "zero")

    def __init__(self, began: float, updates: int, fraction: float | None) -> None:
        self.began, self.first, self.zero = began, updates, fraction or 0.0
        self.heard, self.updates, self.fraction = began, updates, fraction
        self.now_s = 0.0
        self.accuracy: float | None = None
        self.target: float | None = None

    def rate(self) -> float | None:
        """Updates per second of wall time since the run began."""
        spent = self.heard - self.began
        return (self.updates - self.first) / spent if spent > 0 else None

    def left_s(self) -> float | None:
        """Wall seconds still to go if the rest of the run takes its time like the part done."""
        if self.fraction is None or self.fraction <= self.zero or self.fraction >= 1:
            return None
        return (self.heard - self.began) * (1 - self.fraction) / (self.fraction - self.zero)


class Progress:
    """Show runs while they go on, each under its label.

    >>> with Progress({"a": "FedAvg"}) as progress:
    ...     progress.update("a", now_s=12.5, updates=3, accuracy=0.4, target=0.9, fraction=0.1)

    Args:
        labels: name of a run -> what to call it; a name without a label is shown as it is.
        stream: where to write, standard error if not given.
        terminal: redraw in place; asked of the stream if not given.
        clock: seconds of wall time.
        quiet: seconds for which nothing is shown.
    """

    def __init__(
        self,
        labels: Mapping[str, str],
        *,
        stream: TextIO | None = None,
        terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        quiet: float = QUIET_S,
    ) -> None:
        self._labels = labels
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._is_terminal() if terminal is None else terminal
        self._clock = clock
        self._quiet = quiet
        self._rows: dict[str, _Row] = {}
        self._live: Live | None = None
        self._latest = ""

    def __enter__(self) -> Self:
        self._began = self._clock()
        self._next = self._began + (self._quiet if self._terminal else LINE_S)
        return self

    def update(
        self,
        name: str,
        *,
        now_s: float,
        updates: int,
        accuracy: float | None = None,
        target: float | None = None,
        fraction: float | None = None,
    ) -> None:
        """Tell how far run ``name`` is; cheap enough to be called after every update.

        Args:
            now_s: virtual time in seconds.
            fraction: how much of the run is done, from 0 to 1, where that is known.
        """
        wall = self._clock()
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = _Row(wall, updates, fraction)
        row.heard, row.now_s, row.updates = wall, now_s, updates
        row.accuracy, row.target, row.fraction = accuracy, target, fraction
        self._latest = name
        if wall >= self._next:
            self._show(wall)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(self._table())
            self._live.stop()
        elif not self._terminal and self._clock() - self._began >= self._quiet:
            for name in self._rows:
                self._line(name)

    def _is_terminal(self) -> bool:
        return self._stream.isatty() and os.environ.get("TERM") != "dumb"

    def _show(self, wall: float) -> None:
        if not self._terminal:
            self._next = wall + LINE_S
            self._line(self._latest)
            return
        self._next = wall + REDRAW_S
        if self._live is None:
            console = Console(file=self._stream, force_terminal=True)
            self._live = Live(console=console, auto_refresh=False)
            self._live.start()
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("run")
        for head in ("virtual time", "updates", "accuracy", "updates/s", "left"):
            table.add_column(head, justify="right", no_wrap=True)
        for name, row in self._rows.items():
            # Text, not str: a label may hold square brackets, which rich would read as markup
            table.add_row(Text(self._labels.get(name, name)), *_cells(row))
        return table

    def _line(self, name: str) -> None:
        row = self._rows[name]
        now, updates, accuracy, rate, left = _cells(row)
        words = [f"{now} virtual", f"{updates} updates", f"{rate} updates/s"]
        if row.accuracy is not None:
            words.insert(2, f"accuracy {accuracy}")
        if left:
            words.append(f"{left} left")
        print(f"{self._labels.get(name, name)}: {', '.join(words)}", file=self._stream, flush=True)


def _cells(row: _Row) -> tuple[str, str, str, str, str]:
    rate, left = row.rate(), row.left_s()
    accuracy = "" if row.accuracy is None else f"{row.accuracy:.3f}"
    if accuracy and row.target is not None:
        accuracy += f" of {row.target:g}"
    return (
        human_seconds(row.now_s),
        f"{row.updates:,}",
        accuracy,
        "–" if rate is None else f"{rate:,.0f}",
        "" if left is None else human_seconds(round(left)),
    )
