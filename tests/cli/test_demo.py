"""The demo end to end, on a smaller fleet."""

import json
from pathlib import Path

import pytest

from hocket import InvalidInput, demo
from hocket.experiment import load


def small(out: Path, seed: int = 0) -> list:
    methods = {
        "FedAvg": {"use": "fedavg", "cohort": 5},
        "FedBuff": {"use": "fedbuff", "buffer": 5, "in_flight": 10},
    }
    return demo.run(out, seed, clients=20, target=0.7, methods=methods)


def test_the_demo_leaves_two_runs_and_a_page(tmp_path):
    shown = small(tmp_path / "demo")
    assert [v.label for v in shown] == ["FedAvg", "FedBuff"]
    assert all(v.summary["tasks"]["digits"]["time_to_target_s"] > 0 for v in shown)
    page = (tmp_path / "demo" / "report.html").read_text()
    assert demo.TITLE in page and "FedAvg" in page and "FedBuff" in page
    assert demo.verdict(shown).startswith("FedBuff took ")


def test_the_second_demo_replaces_the_first_and_nothing_else(tmp_path):
    small(tmp_path)
    first = {p.name: p.read_bytes() for p in tmp_path.glob("*/summary.json")}
    (tmp_path / "FedAvg" / "notes.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    small(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.glob("*/summary.json")} == first
    small(tmp_path, seed=1)
    assert json.loads((tmp_path / "FedBuff" / "summary.json").read_text())["seed"] == 1
    assert (tmp_path / "FedAvg" / "notes.txt").read_text() == "mine" and (tmp_path / "other").exists()


def test_the_demo_does_not_write_over_a_run_of_yours(tmp_path):
    demo.experiments(clients=50, target=0.3)[1].run(tmp_path)
    with pytest.raises(InvalidInput, match="holds a run that is not the demo's"):
        small(tmp_path)


def test_the_demo_runs_the_examples():
    files = Path(__file__).parents[2] / "examples"
    for mine in demo.experiments():
        assert load(files / f"{mine.name.lower()}.toml").resolved() == mine.resolved()


def test_the_command(tmp_path, hocket):
    code, out, _ = hocket("demo", "--out", str(tmp_path / "d"))
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[:4]] == ["run", "FedAvg", "FedBuff", "FedBuff"]
    assert "not reached" not in out and "did not reach" not in out
    assert out.splitlines()[-1].endswith("report.html")
