import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from hocket.report import RunView, write_page
from hocket.report.page import POINTS


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
            "bytes": {"up": 2_000_000, "down": 5_000_000},
        },
        "target": 0.9,
    }
    return RunView(**(fields | changes))  # type: ignore[arg-type]


def page(path: Path, *runs: RunView, title: str = "Two runs") -> str:
    """The text of the page without its copy of plotly.js."""
    write_page(path / "report.html", runs, title)
    text = (path / "report.html").read_text(encoding="utf-8")
    before, library, after = text.partition(get_plotlyjs())
    assert library and get_plotlyjs() not in after, "plotly.js must be there exactly once"
    return before + after


class Cells(HTMLParser):
    """The rows of the table as lists of text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def figures(text: str) -> list[dict[str, object]]:
    found = re.search(r"const figures = (.*);$", text, re.MULTILINE)
    assert found
    return json.loads(found[1])  # type: ignore[no-any-return]


def test_the_table_compares_with_the_first_run(tmp_path: Path) -> None:
    cheap = view("FedBuff", reached=1205.75)
    cheap = view("FedBuff", reached=1205.75, summary={**cheap.summary, "bytes": {"up": 500_000, "down": 0}})
    head, first, second = Cells(page(tmp_path, view(), cheap)).rows
    assert head[1] == "Time to target 0.9"
    assert first == ["FedAvg", "1:20:23", "1,234", "2.00 MB", "5.00 MB", "0.9125", "3.90"]
    assert second == [
        "FedBuff", "0:20:06 ×0.25", "1,234 ×1", "500 kB ×0.25", "0 B ×0", "0.9125", "3.90"
    ]  # fmt: skip


def test_a_target_that_was_not_reached_or_not_set_is_said(tmp_path: Path) -> None:
    runs = view(), view("short", reached=None), view("free", reached=None, target=None)
    rows = Cells(page(tmp_path, *runs)).rows
    assert [row[1] for row in rows[1:]] == ["1:20:23", "not reached", "–"]


def test_an_unreached_first_run_gives_no_ratio(tmp_path: Path) -> None:
    assert Cells(page(tmp_path, view(reached=None), view())).rows[2][1] == "1:20:23"


def test_nothing_is_fetched_from_anywhere(tmp_path: Path) -> None:
    text = page(tmp_path, view())
    assert not re.search(r"https?:|//\w+\.\w+/|@import|url\(|<link|<iframe|\bsrc=|\bhref=", text)
    assert "default-src 'none'" in text


def test_labels_and_title_are_escaped_everywhere(tmp_path: Path) -> None:
    evil = '</script><script>alert("x")</script>{{plotly}}'
    text = page(tmp_path, view(evil), view("b & c"), title=evil)
    assert "<script>alert" not in text and text.count("</script>") == 2
    assert Cells(text).rows[1][0] == evil
    names = [line["name"] for line in figures(text)[0]["lines"]]  # type: ignore[attr-defined]
    assert names[0].startswith("&lt;/script&gt;") and names[1] == "b &amp; c"


def test_the_figures_hold_the_curve_in_human_units(tmp_path: Path) -> None:
    by_time, by_bytes = figures(page(tmp_path, view(n=5)))
    assert by_time["axis"] == "virtual time (minutes)" and by_time["targets"] == [0.9]
    assert by_bytes["axis"] == "bytes moved, up + down (MB)"
    (line,) = by_time["lines"]  # type: ignore[misc]
    assert line["x"] == [0, 1, 2, 3, 4] and line["y"] == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert line["text"][4] == "0:04:00, 12.0 MB"
    assert by_bytes["lines"][0]["x"] == [0, 3, 6, 9, 12]  # type: ignore[index]


def test_evaluations_without_a_value_are_left_out(tmp_path: Path) -> None:
    run = view()
    gaps = view(curve={**run.curve, "accuracy": [0.5, None, float("nan")]})
    assert figures(page(tmp_path, gaps))[0]["lines"][0]["y"] == [0.5]  # type: ignore[index]


def test_loss_is_drawn_where_no_run_has_an_accuracy(tmp_path: Path) -> None:
    curve = {name: column for name, column in view().curve.items() if name != "accuracy"}
    figure, _ = figures(page(tmp_path, view(curve=curve, summary={"updates": 1})))
    assert figure["metric"] == "loss" and figure["targets"] == []


@pytest.mark.parametrize("runs", [(), (view(curve={}, summary={}, target=None),)])
def test_a_page_without_evaluations_has_no_figures(tmp_path: Path, runs: tuple[RunView, ...]) -> None:
    text = page(tmp_path, *runs)
    assert figures(text) == [] and "<section hidden>" in text


def test_the_final_accuracy_comes_from_the_named_task_or_the_curve(tmp_path: Path) -> None:
    tasks = {"a": {"accuracy": 0.1}, "b": {"accuracy": 0.2}}
    runs = view(summary={"tasks": tasks}, task="b"), view(summary={})
    assert [row[5] for row in Cells(page(tmp_path, *runs)).rows[1:]] == ["0.2000", "0.8333"]


def test_a_long_curve_is_thinned_and_keeps_its_last_point(tmp_path: Path) -> None:
    (line,) = figures(page(tmp_path, view(n=10 * POINTS)))[0]["lines"]  # type: ignore[misc]
    assert len(line["x"]) <= POINTS + 1 and line["text"][-1].startswith("13 d ")


def test_nothing_half_written_stays_beside_the_page(tmp_path: Path) -> None:
    page(tmp_path / "runs" / "new", view())
    assert [p.name for p in (tmp_path / "runs" / "new").iterdir()] == ["report.html"]
