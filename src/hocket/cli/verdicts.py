"""Claims and what came out, in the terminal and as JSON."""

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
from rich.table import Table
from rich.text import Text

from hocket.cli.table import put
from hocket.files import replace
from hocket.report import human_seconds
from hocket.reproduce import Verdict

OUTSIDE, NO_DATA = 1, 3


def show_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Print a row per claim, and below what was missing."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("claim", "what"):
        table.add_column(head, overflow="fold")
    for head in ("figure", "band", "measured", "verdict", "took"):
        table.add_column(head, justify="right", no_wrap=True)
    for v in verdicts:
        value = "-" if v.value is None else f"{v.value:.4g}"
        cells = (v.name, v.what, f"{v.figure:.4g}", f"{v.low:.4g} to {v.high:.4g}", value, v.word)
        table.add_row(*map(Text, cells), human_seconds(v.wall_s))
    put(table)
    for v in verdicts:
        if v.missing is not None:
            print(f"{v.name}: {v.missing}")


def line(v: Verdict) -> str:
    """What came out, in a few words."""
    value = "" if v.value is None else f"{v.value:.4g}, "
    return f"{value}{v.word}, after {human_seconds(v.wall_s)}"


def write_verdicts(path: Path, verdicts: Sequence[Verdict]) -> None:
    """All fields of each verdict, and its word, as JSON; null where a number is not finite or a band has no end."""
    rows = [{**msgspec.to_builtins(v), "verdict": v.word} for v in verdicts]
    for row in rows:
        row |= {k: v if v is None or math.isfinite(v) else None for k in ("value", "low", "high") for v in (row[k],)}
    text = json.dumps({"format": 1, "claims": rows}, indent=2, sort_keys=True, allow_nan=False) + "\n"
    replace(path, partial(Path.write_text, data=text))


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0: all inside their bands. 1: one is outside. 3: data were missing for one."""
    words = {v.word for v in verdicts}
    return OUTSIDE if "outside" in words else NO_DATA if "no data" in words else 0
