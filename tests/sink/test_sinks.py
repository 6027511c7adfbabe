"""Sinks are told every evaluation once, in order, and of the end, however the run ends."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import hocket as hk
from hocket.cli import main
from hocket.errors import InvalidInput, MissingExtra
from hocket.sink import JsonLines, numbers
from hocket.sink.text import open_sink

TOML = """
[task]
kind = "gaussian"
clients = 12
samples = 20
held_out = 100
[fleet]
kind = "synthetic"
[strategy]
use = "fedbuff"
buffer = 3
in_flight = 6
[until]
updates = 60
"""


class Kept:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def begin(self, about):
        self.told.append(about)

    def point(self, point):
        self.told.append(point)

    def end(self, summary):
        self.told.append(summary)


def run(**options: Any) -> hk.Run:
    task = hk.reference_tasks.gaussian(12, samples=20, held_out=100)
    method = hk.strategies.fedbuff(3, 6)
    return hk.simulate(task, hk.Fleet.synthetic(12), method, hk.Until(updates=60), **options)


def test_every_evaluation_is_told_once_and_changes_nothing() -> None:
    kept = Kept()
    done = run(sinks=[kept])
    assert kept.told[0] == {"strategy": "fedbuff", "tasks": "gaussian", "clients": 12, "seed": 0}
    assert kept.told[1:-1] == done.curve.points and kept.told[-1] == done.summary
    assert done.summary == run().summary


def test_a_run_that_fails_ends_its_sinks_without_a_summary() -> None:
    def fail(state: dict[str, Any]) -> None:
        if state["updates"]:
            raise RuntimeError("no more")

    kept = Kept()
    with pytest.raises(RuntimeError, match="no more"):
        run(report=fail, sinks=[kept])
    assert len(kept.told) > 2 and kept.told[-1] is None


def test_json_lines(tmp_path: Path) -> None:
    done = run(sinks=[JsonLines(tmp_path / "s", "one")])
    rows = [json.loads(line) for line in (tmp_path / "s" / "one.jsonl").read_text().splitlines()]
    assert [r["what"] for r in rows] == ["begin", *["point"] * len(done.curve.points), "end"]
    last = done.curve.points[-1]
    assert rows[-2] == {"what": "point", "task": "gaussian", "version": last.version, **numbers(last)}
    assert rows[-1]["summary"] == json.loads(json.dumps(done.summary))


def test_the_option_on_the_command_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("e.toml").write_text(TOML)
    arguments = ("simulate", "e.toml", "--seeds", "0:2", "--out", "o", "--sink", "jsonl:lines")
    assert main([*arguments]) == 0
    assert sorted(p.name for p in Path("lines").iterdir()) == ["e-seed-0.jsonl", "e-seed-1.jsonl"]


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("jsnl:x", "--sink = 'jsnl': no such sink; did you mean jsonl?"),
        ("jsonl", "--sink 'jsonl': give jsonl:DIR"),
        ("jsonl:e.toml", "sink jsonl: e.toml is a file; give a directory"),
        ("wandb:x", "sink wandb: wandb is not installed; pip install 'hocket[wandb]'"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys, text, begins) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    Path("e.toml").write_text(TOML)
    assert main(["simulate", "e.toml", "--sink", text]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and err.startswith(f"error: {begins}"), err
    assert [p.name for p in tmp_path.iterdir()] == ["e.toml"]


class Recorder:
    """Takes any call and writes it down."""

    def __init__(self, calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls.append((name, args, kwargs))
            if name == "get_experiment_by_name":
                return None
            return SimpleNamespace(run_id="7") if name == "info" else Made(self._calls)

        return call


class Made(Recorder):
    info = SimpleNamespace(run_id="7")


FAKES = {
    "tensorboard": (("tensorboard", "torch", "torch.utils", "torch.utils.tensorboard"), "add_scalar", "close"),
    "mlflow": (("mlflow",), "log_metric", "set_terminated"),
    "wandb": (("wandb",), "log", "finish"),
}


@pytest.mark.parametrize("kind", FAKES)
def test_adapters_make_the_calls_of_their_libraries(kind: str, tmp_path: Path, monkeypatch) -> None:
    """Against fakes: these libraries are extras that the tests do not need."""
    names, each, last = FAKES[kind]
    calls: list[Any] = []
    for name in names:
        module: Any = ModuleType(name)
        module.__getattr__ = Recorder(calls).__getattr__
        monkeypatch.setitem(sys.modules, name, module)
    done = run(sinks=[open_sink(f"{kind}:{tmp_path}", "a run")])
    made = [name for name, _, _ in calls]
    figures = len(numbers(done.curve.points[0]))
    assert made.count(each) == len(done.curve.points) * (1 if kind == "wandb" else figures)
    assert made[-1] == last


@pytest.mark.parametrize("kind", FAKES)
def test_a_file_is_no_place_for_any(kind: str, tmp_path: Path, monkeypatch) -> None:
    for name in FAKES[kind][0]:
        module: Any = ModuleType(name)
        module.__getattr__ = Recorder([]).__getattr__
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match=f"sink {kind}: .*file is a file; give a directory"):
        open_sink(f"{kind}:{tmp_path / 'file'}", "a run")


def test_pandas_and_torch() -> None:
    done = run()
    pandas = pytest.importorskip("pandas")
    frame = done.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and list(frame["task"].unique()) == ["gaussian"]
    assert len(frame) == len(done.curve.points)
    torch = pytest.importorskip("torch")
    for name, tensor in done.state_dict().items():
        assert tensor.dtype == torch.float32 and np.array_equal(tensor.numpy(), done.model()[name])


@pytest.mark.parametrize(("module", "method"), [("pandas", "to_pandas"), ("torch", "state_dict")])
def test_a_missing_extra_is_named(monkeypatch, module: str, method: str) -> None:
    done = run()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"hocket\[{module}\]"):
        getattr(done, method)()


def test_the_model_of_a_run_directory_loads(tmp_path: Path) -> None:
    done = run(out=tmp_path / "o")
    found = load_file(tmp_path / "o" / "model-gaussian.safetensors")
    assert all(np.array_equal(found[k], v) for k, v in done.model().items())
