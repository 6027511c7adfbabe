"""Figures of several tasks: stacked requests and times to target, from tables whose figures are known."""

import numpy as np
import pytest

from hocket.report import task_charts
from hocket.report.activity import activity
from tests.report.tables import log, marks, view
from tests.report.test_charts import drawn

TWO = log([
    (0, "joined", -1, -1, -1, 2),
    (0, "assigned", 0, 0, 0, 0),
    (0, "assigned", 1, 0, 1, 0),
    (0, "assigned", 1, 1, 2, 0),
    (50, "arrived", -1, 0, 1, 9),
    (100, "arrived", -1, 0, 0, 9),
    (100, "arrived", -1, 1, 2, 9),
])  # fmt: skip


def test_requests_by_task_are_stacked() -> None:
    chart = drawn(task_charts.budgets("run", activity(TWO, ("a", "b"))))
    assert chart.legend == (("a", "s0"), ("b", "s1"))
    assert "a: 1.0 on average" in chart.text and "b: 1.5 on average, from 2.0 in the first tenth to 1.0" in chart.text
    below, above = marks(chart.wide, "stacked")
    lower, upper = (np.array([y for _, y in _points(m)]) for m in (below, above))
    assert lower.max() - lower.min() == pytest.approx((upper.max() - upper.min()) / 2, rel=0.02), "1 of 2 to 3"


def _points(mark) -> list[tuple[float, float]]:
    text = mark.get("d").removeprefix("M").removesuffix("Z")
    return [tuple(map(float, p.split())) for p in text.split("L")]


def test_one_task_has_no_stack() -> None:
    assert task_charts.budgets("run", activity(TWO, ("a",))) is None
    assert task_charts.budgets("run", activity(log([]), ("a", "b"))) is None


def run(name: str, *ends: float | None) -> list:
    tasks = ("a", "b")
    summary = {
        "tasks": {t: {"time_to_target_s": end} for t, end in zip(tasks, ends, strict=True)},
        "virtual_time_s": 500.0,
    }
    return [view(f"{name}: {t}", summary=summary, task=t, tasks=tasks) for t in tasks]


def test_the_makespan_stands_beside_the_first_runs() -> None:
    chart = drawn(task_charts.finishing({"ours": run("ours", 100.0, 200.0), "sync": run("sync", 300.0, 400.0)}))
    assert "ours: makespan 0:03:20; sync: makespan 0:06:40 (×2.00)" in chart.text
    bars = marks(chart.wide, "fill")
    long = [float(m.get("d").split("h")[1].split("v")[0]) for m in bars]
    assert np.array(long) / long[0] == pytest.approx([1, 2, 3, 4], rel=0.01)


def test_a_target_that_was_not_reached_is_faint() -> None:
    chart = drawn(task_charts.finishing({"ours": run("ours", 100.0, None)}))
    assert "ours: 1 of 2 tasks did not reach their target in 0:08:20" in chart.text
    assert len(marks(chart.wide, "faint")) == 1
    assert task_charts.finishing({"one": run("one", 1.0, 2.0)[:1]}) is None, "a single task has no makespan"
