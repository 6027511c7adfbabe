"""A page of a million events."""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hocket.record.log import KINDS
from hocket.report import write_page
from tests.report.tables import held, view


@pytest.mark.soak
def test_a_million_events_take_seconds_and_two_megabytes_at_most(tmp_path: Path) -> None:
    leases = 250_000
    order = np.array([KINDS.index(k) for k in ("assigned", "fetched", "started", "arrived")])
    at = np.arange(leases) * 10**6 + np.arange(4)[:, None] * 3 * 10**8
    rows = np.argsort(at.T.ravel(), kind="stable")
    lease = np.repeat(np.arange(leases), 4)[rows]
    kind = np.tile(order, leases)[rows]
    table = pa.table({
        "time_ns": at.T.ravel()[rows],
        "kind": kind.astype(np.int8),
        "task": np.where(kind == KINDS.index("assigned"), 0, -1).astype(np.int16),
        "client": (lease * 7919 % 20_000).astype(np.int32),
        "lease": lease,
        "value": np.zeros(4 * leases, np.int64),
    })  # fmt: skip
    run = view(n=20_000, folder=held(tmp_path / "run", table), clients=20_000)
    began = time.perf_counter()
    write_page(tmp_path / "report.html", [run], "large")
    assert time.perf_counter() - began < 10
    assert (tmp_path / "report.html").stat().st_size < 2_000_000
    assert "of 1,000,000 rows" in (tmp_path / "report.html").read_text(encoding="utf-8")
