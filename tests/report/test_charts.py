"""Every figure has the marks that its table calls for, at the right places, and parses."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from hocket.record.log import as_table
from hocket.report import charts, fleet_charts, svg
from hocket.report.activity import Activity, activity
from hocket.report.chart import Chart
from tests.report.tables import SMALL, log, marks, values, view


def drawn(chart: Chart | None) -> Chart:
    assert chart is not None and chart.title and chart.text
    for drawing in (chart.wide, chart.narrow):
        root = ElementTree.fromstring(drawing)
        assert root.get("role") == "img" and root.get("aria-label") == chart.text
    return chart


def small() -> Activity:
    return activity(SMALL, ["digits"])


@pytest.mark.parametrize(
    ("by", "last", "axis"),
    [
        ("time", 4.0, "virtual time (minutes)"),
        ("updates", 40.0, "updates"),
        ("bytes", 12.0, "bytes moved, up + down (MB)"),
    ],
)
def test_a_metric_against_time_updates_and_bytes(by: str, last: float, axis: str) -> None:
    chart = drawn(charts.against([view(n=5), view("short", n=2)], "accuracy", by))
    long, short = marks(chart.wide, "line")
    points = values(chart.wide, long)
    assert len(points) == 5 and len(values(chart.wide, short)) == 2
    assert points[0] == pytest.approx((0.0, 0.5), abs=1e-2) and points[-1] == pytest.approx((last, 0.9), rel=3e-3)
    assert axis in chart.wide and "target 0.9" in chart.wide
    assert chart.legend == (("FedAvg", "s0"), ("short", "s1"))


def test_values_that_are_missing_or_not_finite_are_left_out() -> None:
    gaps = view(curve={**view().curve, "accuracy": [0.5, None, float("nan")]})
    chart = drawn(charts.against([gaps], "accuracy", "time"))
    assert not marks(chart.wide, "line") and len(marks(chart.wide, "dot")) == 1
    assert charts.against([view(curve={**view().curve, "loss": [float("inf")] * 3})], "loss", "time") is None
    assert charts.against([view(curve={})], "accuracy", "time") is None
    assert charts.against([], "accuracy", "time") is None


def test_a_constant_metric_at_one_moment_is_drawn() -> None:
    curve = {name: column[:1] for name, column in view().curve.items()}
    chart = drawn(charts.against([view(curve=curve, target=None)], "loss", "time"))
    (dot,) = marks(chart.wide, "dot")
    assert values(chart.wide, dot)[0] == pytest.approx((0.0, 2.0), abs=1e-2)


def test_a_long_curve_is_thinned_and_keeps_its_extremes() -> None:
    x = np.arange(100_000.0)
    y = np.sin(x)
    y[777], y[50_001] = 9.0, -9.0
    tx, ty = svg.thin(x, y, 200)
    assert len(tx) <= 203 and (tx[0], tx[-1]) == (0.0, 99_999.0) and (ty.max(), ty.min()) == (9.0, -9.0)


def test_staleness_is_a_bar_per_value() -> None:
    chart = drawn(charts.staleness({"one": small()}))
    tips = [m.get("data-t") for m in marks(chart.wide, "fill")]
    assert tips == ["one: 50 % of updates 0 versions behind", "one: 50 % of updates 1 versions behind"]
    assert "mean 0.50, 95th percentile 1, largest 1" in chart.text


def test_contributions_rise_to_all_of_it() -> None:
    chart = drawn(charts.contributions({"one": small()}, {"one": 4}))
    (line,) = marks(chart.wide, "line")
    assert [round(y) for _, y in values(chart.wide, line)] == [0, 50, 100, 100, 100]
    assert "the most active tenth sent 20 %, 2 of 4 clients sent nothing" in chart.text


def test_classes_of_devices_have_a_bar_for_devices_and_one_for_updates() -> None:
    own = view("one", kinds=("fast", "slow"), kind=np.array([0, 1, 1, 1], np.int8))
    chart = drawn(charts.device_classes({"one": small()}, {"one": own}))
    assert [m.get("data-t") for m in marks(chart.wide, "fill")] == [
        "one: fast 25 % of devices", "one: fast 50 % of updates",
        "one: slow 75 % of devices", "one: slow 50 % of updates"
    ]  # fmt: skip
    assert charts.device_classes({"one": small()}, {"one": view("one")}) is None


def test_bytes_stack_to_their_sum() -> None:
    chart = drawn(charts.byte_kinds({"one": view().summary}))
    tips = [m.get("data-t") for m in marks(chart.wide, "fill")]
    assert tips == ["one: critical 4.00 MB", "one: wasted 1.00 MB", "one: accepted 1.50 MB", "one: refused 500 kB"]
    assert [name for name, _ in chart.legend] == ["critical", "wasted", "accepted", "refused"]
    assert charts.byte_kinds({"none": {}}) is None


def test_leases_in_flight() -> None:
    chart = drawn(fleet_charts.in_flight({"one": small()}))
    (line,) = marks(chart.wide, "line")
    points = values(chart.wide, line)
    assert max(y for _, y in points) == pytest.approx(3.0, abs=0.03) and points[-1][1] == pytest.approx(1.0, abs=0.03)
    assert "one: 2.1 on average, at most 3" in chart.text and "virtual time (seconds)" in chart.wide


def test_lanes_have_a_mark_per_piece_of_work() -> None:
    chart = drawn(fleet_charts.lanes("one", small()))
    assert len(marks(chart.wide, "none")) == 3
    assert len(marks(chart.wide, "lost")) == 2  # failed and refused, neither of which started
    work = [m.get("data-t") for m in marks(chart.wide, "fill") if "faint" not in m.get("class", "")]
    assert work == ["0: 0 s – 2.00 s, accepted", "1: 0 s – 4.00 s, accepted"]
    assert "all 3 clients over the whole run" in chart.text and "5 leases, 2 of them for nothing" in chart.text


def test_many_clients_are_sampled_and_it_is_said() -> None:
    rows = [(float(i), kind, 0, i % 500, i, 0) for i in range(2000) for kind in ("assigned", "started", "arrived")]
    run = activity(log(rows), ["a"])
    chart = drawn(fleet_charts.lanes("many", run))
    assert f"{fleet_charts.LANES} of 500 clients" in chart.text
    assert len(marks(chart.wide, "fill")) <= 2 * fleet_charts.SPANS


def test_utilisation_is_shaded_by_group() -> None:
    chart = drawn(fleet_charts.utilisation("one", small()))
    full = [m for m in marks(chart.wide, "h8") if m.get("data-t") == "1.00"]
    assert full and "in 3 groups" in chart.text


def test_several_tasks_have_a_series_each() -> None:
    rows = [(float(i), kind, i % 2, i, i, 0) for i in range(6) for kind in ("assigned", "arrived")]
    run = activity(log([*rows, (9, "assigned", 0, 0, 90, 0)]), ["b", "a"])
    assert drawn(fleet_charts.in_flight({"x": run})).legend == (("b", "s0"), ("a", "s1"))
    first = marks(drawn(fleet_charts.lanes("x", run)).wide, "s1")[0]
    assert first.get("data-t") == "1 a: 1.00 s – 1.00 s, accepted"


@pytest.mark.parametrize(
    "table", [as_table(bytearray()), log([(0, "joined", -1, -1, -1, 9)]), log([(0, "finished", -1, -1, -1, 0)])]
)
def test_logs_in_which_nobody_worked_have_no_figures(table: object) -> None:
    run = activity(table, ["a"])
    assert charts.staleness({"x": run}) is None and charts.contributions({"x": run}, {}) is None
    assert fleet_charts.in_flight({"x": run}) is None
    assert fleet_charts.lanes("x", run) is None and fleet_charts.utilisation("x", run) is None


def test_the_worst_tenth_of_clients() -> None:
    own = view(per_client={"accuracy": [1.0 - i / 20 for i in range(20)]})
    chart = drawn(charts.clients_metric([own], "accuracy"))
    (line,) = marks(chart.wide, "line")
    points = values(chart.wide, line)
    assert points[0] == pytest.approx((0.0, 0.05), abs=0.01) and points[-1] == pytest.approx((100.0, 1.0), abs=0.01)
    assert "worst tenth 0.075, worst 0.05" in chart.text and "worst tenth" in chart.wide
    assert charts.clients_metric([view()], "accuracy") is None


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("high", [1e-7, 0.026, 0.9, 1.0, 3.0, 7.0, 84.0, 12_345.0, 9.9e9, 1e15])
@pytest.mark.parametrize("most", [2, 4, 8])
def test_ticks_are_few_and_told_apart(high: float, most: int, whole: bool) -> None:
    values = svg.ticks(0.0, high, most, whole)
    labels = svg.tick_labels(values)
    assert 1 <= len(values) <= most + 1 and min(values) >= 0.0 and max(values) <= high * (1 + 1e-9)
    assert len(set(labels)) == len(labels) and max(map(len, labels)) <= 9
    assert not whole or all(float(v).is_integer() for v in values)
