"""``hocket compare``: the same figures as the runs have, against the first, whatever the number of processes."""

import json
from pathlib import Path
from statistics import fmean

import pytest


@pytest.fixture
def two(here):
    text = Path("small.toml").read_text()
    Path("wide.toml").write_text(text.replace("in_flight = 10", "in_flight = 16"))
    return here


def read(path: str) -> dict:
    return json.loads(Path(path).read_text())


def test_files_over_seeds(two, hocket):
    code, out, err = hocket("compare", "small.toml", "wide.toml", "--seeds", "0:2", "--out", "o")
    assert (code, err) == (0, "writing to o\n")
    assert [line.split()[0] for line in out.splitlines()] == ["experiment", "small", "wide", "o/report.html"]
    small, wide = read("o/compare.json")["rows"]
    times = {
        n: [read(f"o/{n}/seed-{k}/summary.json")["tasks"]["digits"]["time_to_target_s"] for k in (0, 1)]
        for n in ("small", "wide")
    }
    for row in (small, wide):
        assert row["figures"]["time_s"]["mean"] == fmean(times[row["name"]])
        assert row["figures"]["time_s"]["n"] == row["runs"] == row["reached"] == 2
        assert row["figures"]["time_s"]["half"] > 0
    assert small["ratio"]["time_s"] == 1.0
    assert wide["ratio"]["time_s"] == fmean(times["wide"]) / fmean(times["small"])
    assert "wide seed 1" in Path("o/report.html").read_text()


def test_a_report_of_what_compare_left_has_all_runs(two, hocket):
    assert hocket("compare", "small.toml", "wide.toml", "--seeds", "0:2", "--out", "o")[0] == 0
    code, out, _ = hocket("report", "o", "--out", "page.html")
    assert code == 0 and out.count(" seed ") == 4 and Path("page.html").read_text().count("<small>2 runs</small>") == 2
    assert "<h1>small and wide</h1>" in Path("page.html").read_text()


def test_processes_change_nothing(two, hocket):
    for jobs in ("1", "2"):
        arguments = ("compare", "small.toml", "wide.toml", "--out", f"o{jobs}", "--jobs", jobs)
        assert hocket(*arguments, "--set", "until.updates=40")[0] == 0
    for name in ("compare.json", "wide/summary.json", "wide/model-digits.safetensors"):
        assert Path("o1", name).read_bytes() == Path("o2", name).read_bytes(), name


def test_seeds_on_several_processes_are_the_same_runs(here, hocket):
    for jobs in ("1", "2"):
        assert hocket("simulate", "small.toml", "--seeds", "0:2", "--jobs", jobs, "--out", f"o{jobs}")[0] == 0
    for name in ("seed-0/summary.json", "seed-1/curve.parquet"):
        assert Path("o1", name).read_bytes() == Path("o2", name).read_bytes(), name


def test_directories_are_read_and_a_missed_target_has_no_ratio(two, hocket):
    assert hocket("simulate", "small.toml", "--out", "a")[0] == 0
    assert hocket("simulate", "wide.toml", "--out", "b", "--set", "until.updates=10")[0] == 0
    code, out, _ = hocket("compare", "a", "b", "--out", "o")
    assert code == 0 and "b (0 of 1 reached it)" in out
    first, second = read("o/compare.json")["rows"]
    at = first["figures"]
    assert 0 < at["up"]["mean"] <= read("a/summary.json")["bytes"]["up"]
    assert second["figures"]["time_s"] is None and "time_s" not in second["ratio"]
    assert second["ratio"]["accuracy"] < 1


def test_without_a_target_the_whole_run_counts(two, hocket):
    edits = ("--set", "until={updates=30}")
    assert hocket("compare", "small.toml", "wide.toml", *edits, "--out", "o")[0] == 0
    row = read("o/compare.json")["rows"][0]
    said = read("o/small/summary.json")
    assert row["figures"]["time_s"]["mean"] == said["virtual_time_s"]
    assert row["figures"]["down"]["mean"] == said["bytes"]["down"] and row["reached"] is None


def test_resume_makes_only_what_is_missing(two, hocket):
    arguments = ("compare", "small.toml", "wide.toml", "--set", "until.updates=20", "--out", "o")
    assert hocket(*arguments)[0] == 0
    code, _, err = hocket(*arguments)
    assert code == 2 and err.startswith("error: o/small holds a run already")
    code, _, err = hocket(*arguments, "--resume")
    assert code == 0 and "o/small is finished already\no/wide is finished already\n" in err


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (("small.toml",), "compare: one experiment given; give two or more"),
        (("small.toml", "small.toml"), "compare: two experiments are called 'small'"),
        (("small.toml", "nope.toml"), "nope.toml: no such file"),
        (("small.toml", "empty"), "empty: no finished run in it"),
        (("small.toml", "wide.toml", "--set", "until.acuracy=1"), "until.acuracy: unknown key; did you mean accuracy"),
        (("small.toml", "wide.toml", "--jobs", "0"), "--jobs 0: must be 1 or more"),
        (("small.toml", "wide.toml", "--seeds", "3"), "--seeds '3': give first:end"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(two, hocket, arguments, begins):
    Path("empty").mkdir()
    before = sorted(two.rglob("*"))
    code, out, err = hocket("compare", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {begins}"), err
    assert sorted(two.rglob("*")) == before
