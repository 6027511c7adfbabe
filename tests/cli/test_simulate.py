"""``hocket simulate`` and ``hocket report``: what they print and what they leave."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from hocket import InvalidInput, __version__
from hocket.experiment import load

LEFT = {
    "experiment.toml",
    "summary.json",
    "machine.json",
    "curve.parquet",
    "events",
    "model-digits.safetensors",
    "report.html",
}


def test_a_run_leaves_its_directory_and_a_table(here, hocket):
    code, out, err = hocket("simulate", "small.toml")
    begun, took = err.splitlines()
    assert (code, begun) == (0, "writing to runs/small") and took.startswith("small: took ")
    head, row, where = out.splitlines()
    assert head.split() == ["run", "time", "to", "0.8", "updates", "up", "down", "staleness", "accuracy"]
    summary = json.loads(Path("runs/small/summary.json").read_text())
    assert row.split()[0] == "small" and f"{summary['updates']:,}" in row.split()
    assert where == "runs/small/report.html"
    assert {p.name for p in Path("runs/small").iterdir()} == LEFT


def test_the_same_seed_gives_the_same_bytes(here, hocket):
    for name in ("a", "b"):
        assert hocket("simulate", "small.toml", "--out", name)[0] == 0
    for name in ("summary.json", "experiment.toml", "model-digits.safetensors", "curve.parquet"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes(), name


def test_the_resolved_experiment_repeats_the_run(here, hocket):
    assert hocket("simulate", "small.toml", "--out", "a", "--set", "until.accuracy=0.7")[0] == 0
    assert tomllib.loads(Path("a/experiment.toml").read_text())["until"]["accuracy"] == 0.7
    assert hocket("simulate", "a/experiment.toml", "--out", "b")[0] == 0
    for name in ("summary.json", "experiment.toml"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes(), name


def test_seeds_make_a_run_each_and_a_mean(here, hocket):
    code, out, _ = hocket("simulate", "small.toml", "--seeds", "0:3", "--out", "o")
    assert code == 0
    rows = out.splitlines()[1:-1]
    assert [row.split("  ")[0] for row in rows] == ["small seed 0", "small seed 1", "small seed 2", "mean", "± (95 %)"]
    summaries = [json.loads(Path(f"o/seed-{n}/summary.json").read_text()) for n in range(3)]
    assert [s["seed"] for s in summaries] == [0, 1, 2]
    mean = sum(s["tasks"]["digits"]["accuracy"] for s in summaries) / 3
    assert rows[-2].split()[-1] == f"{mean:.4f}"
    assert Path("o/report.html").exists()

    shutil.rmtree("o/seed-1")
    code, _, err = hocket("simulate", "small.toml", "--seeds", "0:3", "--out", "o")
    assert code == 2 and "o/seed-0 holds a run already" in err and not Path("o/seed-1").exists()
    code, again, err = hocket("simulate", "small.toml", "--seeds", "0:3", "--out", "o", "--resume")
    assert (code, again) == (0, out)
    *already, took = err.splitlines()
    assert already == ["o/seed-0 is finished already", "o/seed-2 is finished already"]
    assert took.startswith("small seed 1: took ")


def test_a_target_missed_is_said(here, hocket):
    code, out, _ = hocket("simulate", "small.toml", "--set", "until.updates=10", "--seeds", "0:2")
    assert code == 0
    assert "not reached" in out and "mean (0 of 2 reached it)" in out


def test_a_run_without_target_or_learning_shows_its_time(here, hocket):
    edits = ("task={kind='sized', parameters=1000, clients=20}", "until={updates=100}")
    code, out, _ = hocket("simulate", "small.toml", *(x for e in edits for x in ("--set", e)))
    assert code == 0
    assert "virtual time" in out and "100" in out.split()


def test_two_tasks_have_a_row_each(here, hocket):
    Path("two.toml").write_text(
        Path("small.toml").read_text().replace("[task]", "[tasks.one]")
        + "[tasks.two]\nkind = 'digits'\nmodel = 'mlp'\n"
    )
    code, out, _ = hocket("simulate", "two.toml", "--set", "strategy.in_flight=5")
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()[1:-1]] == ["two: one", "two: two"]


def test_report_writes_the_page_again(here, hocket):
    assert hocket("simulate", "small.toml", "--out", "o")[0] == 0
    page = Path("o/report.html").read_bytes()
    Path("o/report.html").unlink()
    code, out, _ = hocket("report", "o")
    assert code == 0 and out.splitlines()[-1] == "o/report.html"
    assert Path("o/report.html").read_bytes() == page


def test_one_page_for_several_directories(here, hocket):
    for place in ("a", "b"):
        assert hocket("simulate", "small.toml", "--out", place)[0] == 0
    code, out, _ = hocket("report", "a", "b", "--out", "both.html")
    assert code == 0 and out.splitlines()[-1] == "both.html"
    assert Path("both.html").read_text(encoding="utf-8").count("<th scope=row>") == 2
    assert hocket("report", "a", "b", "--out", "a")[0] == 2


def test_a_damaged_run_is_said_to_be(here, hocket):
    assert hocket("simulate", "small.toml", "--out", "o")[0] == 0
    Path("o/curve.parquet").write_bytes(b"PAR1")
    code, _, err = hocket("report", "o")
    assert code == 5 and err.startswith("error: o/curve.parquet: ") and err.count("\n") == 1


def test_resuming_what_is_finished_says_so(here, hocket):
    assert hocket("simulate", "small.toml", "--out", "o")[0] == 0
    code, out, err = hocket("simulate", "small.toml", "--out", "o", "--resume")
    assert (code, err) == (0, "o is finished already\n") and "small" in out
    with pytest.raises(InvalidInput, match="is finished"):
        load("small.toml").run("o", resume=True)


def test_a_finished_run_is_not_extended_and_says_what_to_do(here, hocket):
    assert hocket("simulate", "small.toml", "--set", "until.updates=20", "--out", "o")[0] == 0
    code, _, err = hocket("simulate", "small.toml", "--set", "until.updates=40", "--out", "o", "--resume")
    assert code == 2 and "o is finished; a run that stops later begins anew" in err and err.count("\n") == 1


def test_help_lists_the_commands_that_exist(hocket):
    code, out, _ = hocket()
    assert code == 0
    said = [line.strip("│ ").split()[:1] for line in out.partition("Commands")[2].splitlines()]
    for command in ("demo", "simulate", "plan", "compare", "replay", "report", "reproduce", "story", "serve", "join"):
        assert [command] in said
    assert hocket("--help")[1] == out


def test_version(hocket):
    assert hocket("--version") == (0, f"hocket {__version__}\n", "")


def test_an_estimate_is_one_line_and_leaves_nothing(here, hocket):
    code, out, err = hocket("simulate", "small.toml", "--estimate")
    assert (code, err, out.count("\n")) == (0, "", 1) and "; memory " in out and out.startswith("about ")
    assert [p.name for p in here.iterdir()] == ["small.toml"]
    assert hocket("simulate", "small.toml", "--estimate", "--set", "until.acuracy=1")[0] == 2
