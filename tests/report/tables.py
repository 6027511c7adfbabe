"""Event logs and views whose figures are known."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hocket.record.log import KINDS, ROW, as_table
from hocket.report import RunView

SECOND = 10**9
SVG = "{http://www.w3.org/2000/svg}"


def log(rows: Iterable[tuple[float, str, int, int, int, int]]) -> pa.Table:
    """A log from (seconds, kind, task, client, lease, value)."""
    packed = bytearray()
    for time, kind, *rest in rows:
        packed += ROW.pack(round(time * SECOND), KINDS.index(kind), *rest)
    return as_table(packed)


SMALL = log([
    (0, "joined", -1, -1, -1, 4),
    (0, "assigned", 0, 0, 0, 0),
    (0, "assigned", 0, 1, 1, 0),
    (0, "assigned", 0, 2, 2, 0),
    (1, "fetched", 0, 0, 0, 100),
    (1, "started", -1, 0, 0, 0),
    (2, "arrived", -1, 0, 0, 50),  # accepted, staleness 0
    (2, "stepped", 0, -1, -1, 1),
    (2, "assigned", 0, 0, 3, 1),
    (3, "started", -1, 1, 1, 0),
    (4, "arrived", -1, 1, 1, 50),  # accepted, staleness 1
    (4, "stepped", 0, -1, -1, 2),
    (5, "failed", -1, 2, 2, 0),
    (6, "arrived", -1, 0, 3, 50),  # refused
    (6, "refused", -1, 0, 3, 0),
    (6, "assigned", 0, 0, 4, 2),  # open at the end
    (8, "evaluated", 0, -1, -1, 2),
])  # fmt: skip


def view(label: str = "FedAvg", *, reached: float | None = 4823.0, n: int = 3, **changes: object) -> RunView:
    """A run of ``n`` evaluations, a minute, 1 MB up and 2 MB down apart."""
    fields: dict[str, object] = {
        "label": label,
        "curve": {
            "time_s": [60.0 * i for i in range(n)],
            "version": list(range(n)),
            "updates": [10 * i for i in range(n)],
            "accuracy": [0.5 + i / (2 * n) for i in range(n)],
            "loss": [2.0 - i / n for i in range(n)],
            "bytes_up": [10**6 * i for i in range(n)],
            "bytes_down": [2 * 10**6 * i for i in range(n)],
        },
        "summary": {
            "tasks": {"digits": {"accuracy": 0.9125, "loss": 0.3, "version": 7, "time_to_target_s": reached}},
            "virtual_time_s": 5000.0,
            "updates": 1234,
            "staleness": {"mean": 3.9, "p95": 9, "max": 14},
            "bytes": {
                "up": 2_000_000,
                "down": 5_000_000,
                "critical": 4_000_000,
                "wasted": 1_000_000,
                "refused": 500_000,
            },
        },
        "target": 0.9,
        "task": "digits",
    }
    return RunView(**(fields | changes))  # type: ignore[arg-type]


def held(place: Path, table: pa.Table) -> Path:
    """A directory with this event log."""
    (place / "events").mkdir(parents=True)
    pq.write_table(table, place / "events" / "000000.parquet")
    return place


def marks(drawing: str, name: str) -> list[ElementTree.Element]:
    """The marks of a drawing that have a class."""
    return [e for e in ElementTree.fromstring(drawing).iter() if name in e.get("class", "").split()]


def values(drawing: str, mark: ElementTree.Element) -> list[tuple[float, float]]:
    """The points of a curve, read off by the scale that the drawing carries."""
    scale = ElementTree.fromstring(drawing).get("data-scale")
    assert scale
    left, right, x0, x1, bottom, top, y0, y1 = map(float, scale.split())
    if mark.tag == f"{SVG}circle":
        points = [(float(mark.get("cx", "")), float(mark.get("cy", "")))]
    else:
        points = [(float(a), float(b)) for a, b in (p.split() for p in mark.get("d", "")[1:].split("L"))]
    return [
        (x0 + (x - left) / (right - left) * (x1 - x0), y0 + (y - bottom) / (top - bottom) * (y1 - y0))
        for x, y in points
    ]
