"""``hocket report``: pages of finished and interrupted runs, figures as files, and what it refuses."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hocket.experiment import folder, load
from hocket.setup import Setup
from hocket.simulation import checkpoint
from hocket.simulation.run import prepare


@pytest.fixture
def run(here, hocket):
    assert hocket("simulate", "small.toml", "--out", "o")[0] == 0
    return Path("o")


def interrupted(place: Path, events: int = 2000) -> None:
    """A run of small.toml that was stopped between two events."""
    e = load("small.toml", ["name=cut"])
    setup = Setup.of(e.tasks, e.strategy, e.until, seed=e.seed, evaluation=e.evaluation)
    sim = prepare(setup, e.fleet, log=True, folder=place / "events")
    checkpoint.begin(place, False)
    (place / "experiment.toml").write_text(e.toml())
    sim.engine.run(events)
    checkpoint.save(place, sim.engine, sim.curve, sim.name)


def test_an_interrupted_run_is_shown_as_one(run, hocket):
    interrupted(Path("cut"), 300)
    code, out, err = hocket("report", "o", "cut", "--out", "page.html")
    assert (code, err) == (0, "")
    assert any(line.startswith("cut (interrupted)") for line in out.splitlines())
    page = Path("page.html").read_text(encoding="utf-8")
    assert 'cut <span class="badge">interrupted</span>' in page and "cut: did not come to the end" in page
    (view,) = folder.views(Path("cut"), unfinished=True)
    assert view.interrupted and view.summary["finished"] is None and 0 < view.summary["updates"] < 2000
    assert len(view.curve["accuracy"]) == view.summary["tasks"]["digits"]["version"] + 1
    assert view.summary["bytes"]["up"] >= view.curve["bytes_up"][-1] > 0
    assert hocket("compare", "o", "cut")[0] == 2  # compares what came to its end


def test_an_interrupted_run_without_a_checkpoint_or_with_a_torn_one(run, hocket):
    interrupted(Path("cut"), 300)
    (Path("cut") / checkpoint.FILE).write_bytes(b"torn")
    code, _, err = hocket("report", "cut")
    assert code == 5 and err.startswith("error: cut/checkpoint.safetensors: ") and err.count("\n") == 1
    (Path("cut") / checkpoint.FILE).unlink()
    assert hocket("report", "cut")[0] == 0


def test_runs_of_one_name_are_told_apart(run, hocket):
    shutil.copytree("o", "again")
    assert hocket("report", "o", "again", "--out", "page.html")[0] == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.count("<th scope=row>small (o)") == 1 and page.count("<th scope=row>small (again)") == 1


def test_figures_go_to_a_folder(run, hocket):
    assert hocket("report", "o", "--figures", "f")[0] == 0
    names = {p.name for p in Path("f").iterdir()}
    assert {"accuracy-time.svg", "loss-bytes.svg", "bytes.svg", "classes.svg", "lanes.svg"} <= names
    assert all(n.endswith(".svg") for n in names)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "nowhere: no such directory; give a run directory"),
        (("small.toml",), "small.toml: is a file; give a run directory"),
        (("empty",), "empty: no run in it (no summary.json, checkpoint or events); give a run directory"),
        (("o", "--png"), "--png: there is no folder for the figures; give one with --figures FOLDER"),
        (("o", "--figures", "small.toml"), "--figures small.toml: is a file; give a folder"),
        (("o", "--out", "empty"), "--out empty: is a directory; give a file"),
    ],
)
def test_what_cannot_be_shown_is_one_line(run, hocket, arguments, said):
    Path("empty").mkdir()
    code, out, err = hocket("report", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {said}"), err


@pytest.mark.parametrize("name", ["summary.json", "curve.parquet", "events/000000.parquet", "experiment.toml"])
def test_a_damaged_file_is_named(run, hocket, name):
    (run / name).write_bytes(b"PAR1 [[")
    code, out, err = hocket("report", "o")
    assert (code, out, err.count("\n")) == (5, "", 1)
    assert err.startswith(f"error: o/{name.partition('/')[0]}"), err


def test_a_summary_or_curve_of_another_shape_is_damage(run, hocket):
    pq.write_table(pa.table({"x": [1]}), run / "curve.parquet")
    assert hocket("report", "o")[0] == 5
    (run / "summary.json").write_text("{}")
    code, _, err = hocket("report", "o")
    assert code == 5 and err.startswith("error: o/summary.json: is not the summary of a run")


def test_metrics_by_client_are_drawn_where_a_run_has_them(run, hocket):
    assert hocket("report", "o")[0] == 0
    assert "Accuracy by client" not in (run / "report.html").read_text(encoding="utf-8")
    columns = {"task": ["digits"] * 20, "client": list(range(20)), "accuracy": [i / 20 for i in range(20)]}
    pq.write_table(pa.table(columns), run / "clients.parquet")
    assert hocket("report", "o")[0] == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Accuracy by client" in page and "worst tenth 0.025" in page


def test_a_run_without_learning_has_the_other_figures(here, hocket):
    edits = ("task={kind='sized', parameters=1000, clients=20}", "until={updates=100}")
    assert hocket("simulate", "small.toml", *(x for e in edits for x in ("--set", e)))[0] == 0
    page = Path("runs/small/report.html").read_text(encoding="utf-8")
    assert "Learning" not in page and "Who contributed" in page and "Bytes by kind" in page
