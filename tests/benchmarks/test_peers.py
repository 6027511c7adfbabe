"""The table of other systems, their scripts, the page of results and the meter agree; nothing is installed here."""

import ast
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.page import TARGETS, cells, page
from benchmarks.peers.table import ENVIRONMENTS, SYSTEMS
from benchmarks.peers.work import STEPS, Meter, Work

ROOT = Path(__file__).parent.parent.parent
OTHERS = {name: system for name, system in SYSTEMS.items() if system.environment}
FOREIGN = {"pfl": "pfl", "flower": "flwr", "fedlab": "fedlab", "flsim": "flsim", "appfl": "appfl"}


def imported(script: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(script.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_every_environment_is_pinned_and_used() -> None:
    assert {system.environment for system in OTHERS.values()} == set(ENVIRONMENTS) == set(FOREIGN)
    for pins in ENVIRONMENTS.values():
        assert all("==" in pin for pin in pins)
        assert any(pin.startswith("torch==") for pin in pins)


@pytest.mark.parametrize("name", OTHERS)
def test_a_script_drives_its_system_and_needs_nothing_of_this_project_but_the_workload(name: str) -> None:
    modules = imported(SYSTEMS[name].source)
    assert any(m.split(".")[0] == FOREIGN[SYSTEMS[name].environment or ""] for m in modules)
    own = {m for m in modules if m.split(".")[0] in ("hocket", "benchmarks")}
    assert own <= {"benchmarks.models", "benchmarks.peers.work"}
    assert {"asked", "tell", "Meter"} <= set(SYSTEMS[name].source.read_text().replace(",", " ").split())


def test_systems_in_several_processes_have_scripts_that_know_their_rank() -> None:
    several = [system for system in OTHERS.values() if system.launch]
    assert several
    assert all('"RANK"' in system.source.read_text() for system in several)


@pytest.mark.parametrize("shared", ["models.py", "peers/work.py", "peers/__init__.py", "__init__.py"])
def test_what_scripts_share_needs_torch_and_numpy_alone(shared: str) -> None:
    roots = {m.split(".")[0] for m in imported(ROOT / "benchmarks" / shared)}
    assert roots <= {"torch", "numpy", "benchmarks"} | set(sys.stdlib_module_names)


def test_targets_and_steps_are_of_known_cells() -> None:
    for workload, name, model in TARGETS:
        assert workload in SYSTEMS[name].workloads
        assert model in SYSTEMS[name].models
    assert all(set(STEPS[w]) == set("abdc") for s in SYSTEMS.values() for w in s.workloads)


def test_the_meter_leaves_out_the_warm_up_and_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.peers.work.time.perf_counter", lambda: now[0])

    class Slow(Work):
        def accuracy(self, state: object) -> float:
            now[0] += 100.0
            return 0.5

    meter = Meter(Slow("W1", "a", Path(), 4, 3.0), 50)
    ends = []
    for _ in range(20):
        now[0] += 1.0
        ends.append(meter.step(dict))
        if ends[-1]:
            break
    assert meter.accuracy == 0.5
    assert meter.rate == pytest.approx(50.0)
    assert (meter.first, meter.steps) == (2, 5)
    assert ends == [False] * 4 + [True]


def test_accuracy_that_differs_and_a_failure_are_shown() -> None:
    def run(rate: float, accuracy: float) -> dict[str, object]:
        return {"rate": rate, "accuracy": accuracy, "versions": {"torch": "2"}}

    runs = {
        "a W1 bare 0": run(100.0, 0.9),
        "a W1 hocket 0": run(700.0, 0.91),
        "a W1 pfl 0": run(50.0, 0.5),
        "a W1 flower 0": {"error": "no such thing"},
    }
    found = cells(runs, [2.0])
    assert found["a W1 pfl"]["hocket_by_it"] == 14.0
    assert found["a W1 hocket"]["equal"] and not found["a W1 pfl"]["equal"]
    shown = page({"command": "x", "machine": "m", "cells": json.loads(json.dumps(found)), "refused": {"appfl": "no"}})
    assert "0.500 **differs**" in shown
    assert "| Flower simulation | failed |" in shown
    assert "`no such thing`" in shown
    assert "- appfl==1.12.0, torch==2.13.0: `no`" in shown


def test_the_written_page_is_that_of_the_written_figures() -> None:
    folder = ROOT / "docs" / "benchmarks"
    result = json.loads((folder / "peers.json").read_text())
    assert page(result) == (folder / "peers.md").read_text()
    for key, cell in result["cells"].items():
        assert key.split()[2] in SYSTEMS
        assert "error" in cell or np.isfinite(cell["rate"])
