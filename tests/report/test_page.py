"""The page: well-formed, self-contained, safe with hostile names, the same bytes for the same run."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from hocket.errors import Damaged
from hocket.record.log import as_table
from hocket.report import RunView, write_page
from hocket.report.page import EVENTS, contents, distinct
from hocket.report.page import page as page_of
from tests.report.tables import SMALL, held, log, view

VOID = {"meta", "br", "input", "link", "hr", "img"}
OPTIONAL = {"th", "tr", "td"}


class Tree(HTMLParser):
    """Checks nesting, and collects the rows of tables, ids, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.ids: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        self.ids += [v for k, v in attrs if k == "id" and v]
        if tag in OPTIONAL and self.open[-1] == tag:
            self.open.pop()
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        while self.open[-1] != tag:
            assert self.open.pop() in OPTIONAL, tag
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def page(path: Path, *runs: RunView, title: str = "Two runs") -> str:
    write_page(path / "report.html", runs, title)
    text = (path / "report.html").read_text(encoding="utf-8")
    ids = Tree(text).ids
    assert len(ids) == len(set(ids))
    return text


def row(text: str, n: int) -> dict[str, str]:
    head, *rows = (r for r in Tree(text).rows if r)
    return dict(zip(head, rows[n], strict=True))


def test_the_table_compares_with_the_first_run(tmp_path: Path) -> None:
    cheap = view("FedBuff", reached=1205.75)
    cheap = view("FedBuff", reached=1205.75, summary={**cheap.summary, "bytes": {"up": 500_000, "down": 0}})
    text = page(tmp_path, view(), cheap)
    first, second = row(text, 0), row(text, 1)
    assert (first["Run"], first["Time to target 0.9"], first["Final accuracy"]) == ("FedAvg", "1:20:23", "0.9125")
    assert (second["Time to target 0.9"], second["Updates"]) == ("0:20:06 ×0.25", "1,234 ×1")
    assert (second["Bytes up"], second["Bytes down"], second["Mean staleness"]) == ("500 kB ×0.25", "0 B ×0", "3.90")


def test_a_target_that_was_not_reached_or_not_set_is_said(tmp_path: Path) -> None:
    text = page(tmp_path, view(), view("short", reached=None), view("free", reached=None, target=None))
    assert [row(text, n)["Time to target 0.9"] for n in range(3)] == ["1:20:23", "not reached", "–"]


def test_numbers_of_a_run_of_two_tasks_stand_once(tmp_path: Path) -> None:
    tasks = {"a": {"accuracy": 0.1, "updates": 5}, "b": {"accuracy": 0.2, "updates": 7}}
    both = {**view().summary, "tasks": tasks}
    text = page(tmp_path, *(view(f"two: {t}", summary=both, task=t, tasks=("b", "a")) for t in tasks))
    assert [row(text, n)["Final accuracy"] for n in (0, 1)] == ["0.1000", "0.2000"]
    assert [row(text, n)["Bytes up"] for n in (0, 1)] == ["2.00 MB", "–"]
    assert "<h2>Task a</h2>" in text and "<h2>Task b</h2>" in text


def test_nothing_is_fetched_from_anywhere(tmp_path: Path) -> None:
    text = page(tmp_path, view(folder=held(tmp_path / "run", SMALL)))
    assert "default-src 'none'" in text
    bare = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//\w+\.\w+/|@import|url\(|<link|<iframe|\bsrc=|\bhref=", bare)
    assert not {"link", "img", "iframe", "object", "embed", "a"} & set(Tree(text).names)


def test_labels_titles_tasks_and_experiments_are_escaped(tmp_path: Path) -> None:
    evil = '</script><script>alert("x")</script>{{data}}\'"&'
    run = view(evil, experiment=f'name = "{evil}"', folder=held(tmp_path / "run", SMALL), task=evil, tasks=(evil,))
    other = view("b & c: " + evil, task=evil, summary={"strategy": evil, "tasks": {evil: {}}})
    text = page(tmp_path, run, other, title=evil)
    assert "<script>alert" not in text and text.count("</script>") == 2
    assert Tree(text).names.count("script") == 2
    assert row(text, 0)["Run"] == evil
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    assert data["logs"][0]["run"] == evil and data["logs"][0]["tasks"] == [evil]


def test_every_figure_has_a_title_a_drawing_for_each_width_and_words(tmp_path: Path) -> None:
    text = page(tmp_path, view(folder=held(tmp_path / "run", SMALL), clients=4))
    found = re.findall(r'<figure data-name="([^"]+)"( hidden)?>(.*?)</figure>', text, re.S)
    assert [n for n, _, _ in found] == [
        *(f"{m}-{by}" for m in ("accuracy", "loss") for by in ("time", "updates", "bytes")),
        "staleness", "contributions", "in-flight", "bytes", "lanes", "utilisation",
    ]  # fmt: skip
    assert next(n for n, hidden, _ in found if not hidden) == "accuracy-time"
    for name, _, body in found:
        assert "<h3>" in body and body.count("<svg") == 2 == body.count('aria-label="') - ('class="legend"' in body), (
            name
        )
        assert re.search(r"<figcaption>.{20,}</figcaption>", body), name


@pytest.mark.parametrize("runs", [(), (view(curve={}, summary={}, target=None),)])
def test_a_page_without_evaluations_has_no_figures(tmp_path: Path, runs: tuple[RunView, ...]) -> None:
    text = page(tmp_path, *runs)
    assert "<figure" not in text and "<svg" not in text and "Events" not in text


@pytest.mark.parametrize(
    "table", [as_table(bytearray()), log([(0, "joined", -1, -1, -1, 1)]), log([(0, "assigned", 0, 0, 0, 0)])]
)
def test_logs_without_or_with_one_event(tmp_path: Path, table: object) -> None:
    text = page(tmp_path, view(folder=held(tmp_path / "run", table)))
    assert ("all 1 rows" in text) == bool(table.num_rows)  # type: ignore[attr-defined]


def test_only_metrics_that_are_not_finite(tmp_path: Path) -> None:
    curve = {**view().curve, "accuracy": [float("nan")] * 3, "loss": [None, None, float("inf")]}
    assert "Learning" not in page(tmp_path, view(curve=curve))


def test_an_interrupted_run_is_marked(tmp_path: Path) -> None:
    text = page(tmp_path, view(), view("cut <b>", interrupted=True))
    assert row(text, 1)["Run"] == "cut <b> interrupted" and "cut &lt;b&gt;: did not come to the end" in text
    assert "interrupted" not in row(text, 0)["Run"]


def test_repeated_labels_are_told_apart(tmp_path: Path) -> None:
    a, b = view("same", folder=tmp_path / "a"), view("same", folder=tmp_path / "b")
    assert [v.label for v in distinct([a, b, view("other")])] == ["same (a)", "same (b)", "other"]
    again = distinct([view("same"), view("same"), view("same", folder=tmp_path / "a")])
    assert [v.label for v in again] == ["same (#1)", "same (#2)", "same (#3)"]
    tasks = [view(f"same: {t}", task=t, folder=tmp_path / f) for f in "ab" for t in ("x", "y")]
    assert [v.label for v in distinct(tasks)] == ["same (a): x", "same (a): y", "same (b): x", "same (b): y"]


def test_a_long_log_is_shown_in_part_and_it_is_said(tmp_path: Path) -> None:
    rows = [(i / 10, "joined", -1, i, -1, 1) for i in range(2 * EVENTS)]
    text = page(tmp_path, view(folder=held(tmp_path / "run", log(rows))))
    assert f"a sample, the first {EVENTS:,} of {2 * EVENTS:,} rows" in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    assert len(data["logs"][0]["time"]) == EVENTS and sum(data["logs"][0]["time"]) == round((EVENTS - 1) * 1e8)


def test_a_log_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    place = held(tmp_path / "run", SMALL)
    (place / "events" / "000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(Damaged, match=r"run/events: .*; run the experiment again"):
        page(tmp_path, view(folder=place))


def test_the_same_runs_give_the_same_bytes_and_leave_nothing_else(tmp_path: Path) -> None:
    runs = view(folder=held(tmp_path / "run", SMALL), clients=4), view("FedBuff")
    assert page(tmp_path / "new", *runs) == page(tmp_path / "again", *runs)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["report.html"]


def test_many_runs_stay_small(tmp_path: Path) -> None:
    rows = [(float(i), kind, 0, i % 50, i, 0) for i in range(3000) for kind in ("assigned", "started", "arrived")]
    place = held(tmp_path / "run", log(rows))
    one = page(tmp_path, view(n=3000, folder=place))
    assert len(one) < 400_000
    assert len(page(tmp_path, *(view(f"run {i}", n=3000, folder=place) for i in range(30)))) < 2_000_000


def test_runs_over_seeds_are_averaged_and_share_a_colour():
    """Means with intervals above the runs, each run beside the first experiment's of its seed, a line per run."""
    views = []
    for name, times in (("a", (10.0, 14.0)), ("b", (5.0, 9.0))):
        for seed, time in enumerate(times):
            made = view(label=f"{name} seed {seed}", family=name)
            summary = {**made.summary, "seed": seed, "virtual_time_s": time}
            views.append(msgspec.structs.replace(made, summary=summary))
    shown = contents(views)
    text = page_of(views, shown, "t")
    means, runs = text.split("<h2>Each run</h2>")
    assert "<h2>Means over seeds</h2>" in means and means.count("<small>2 runs</small>") == 2
    assert "12.0 s <small>± 25.4 s</small>" in means and "7.00 s <small>± 25.4 s</small> <small>×0.583</small>" in means
    assert "5.00 s <small>×0.5</small>" in runs and "9.00 s <small>×0.643</small>" in runs
    figure = next(c for c in shown.switched[""] if c.name == "accuracy-time")
    assert [name for name, _ in figure.legend] == ["a", "b"]
    assert figure.wide.count('data-s="0"') == figure.wide.count('data-s="1"') == 2
    assert shown.chosen == ("a seed 0", "b seed 0") and "Of the runs a seed 0, b seed 0." in text
    assert "Means over seeds" not in page_of(views[:1], contents(views[:1]), "t")
