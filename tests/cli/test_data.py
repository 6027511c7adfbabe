"""Reference tasks with files, from an experiment file: where the data are looked for, and what a line says."""

from pathlib import Path

import pytest

from hocket.errors import MissingData
from hocket.experiment import load

MNIST = """
[task]
kind = "mnist"
clients = 10
samples = 300
[fleet]
kind = "synthetic"
[strategy]
use = "fedavg"
cohort = 5
[until]
steps = 1
"""
HEART = "task={kind='heart_disease'}"


@pytest.fixture
def file(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HOCKET_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    (here / "mnist.toml").write_text(MNIST)
    return here / "mnist.toml"


@pytest.mark.parametrize(
    ("edits", "line"),
    [
        ((), "task.data is not set; give the folder that holds mnist/train-images-idx3-ubyte.gz as data= or --data"),
        (("--data", "nowhere"), "task.data is nowhere, which is not a folder; give the one that holds mnist/"),
        (("--data", "."), "task.data is ., which has no mnist/train-images-idx3-ubyte.gz; get it from https://"),
        (("--set", "task.data=empty"), "task.data is empty, which is not a folder"),
        (("--set", "task.dta=1"), "task.dta: unknown key; did you mean data?"),
        (("--set", HEART, "--set", "task.clients=9"), "task.clients is 9; the hospitals are 4: cleveland, hungarian"),
        (("--set", "task={kind='parkinsons', clients=3}"), "task.clients is 3; there are 42 subjects"),
        (("--set", "task={kind='parkinsons', target='age'}"), "task.target = 'age': no such choice"),
        (("--set", "task={kind='minst'}"), "task.kind = 'minst': no such choice; did you mean mnist?"),
    ],
)
def test_lines(file: Path, hocket, edits: tuple[str, ...], line: str) -> None:
    code, out, err = hocket("simulate", "mnist.toml", "--out", "run", *edits)
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith(f"error: {line}"), err
    assert not Path("run").exists()


def test_a_damaged_file_and_a_folder_beside_the_file(file: Path, hocket) -> None:
    (file.parent / "own" / "mnist").mkdir(parents=True)
    (file.parent / "own" / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"not it")
    code, _, err = hocket("simulate", "mnist.toml", "--set", "task.data=own")
    assert code == 2 and err.startswith("error: task.data is own, where mnist/train-images-idx3-ubyte.gz has sha256 ")
    with pytest.raises(MissingData, match=r"task\.data is .*nowhere"):
        load(file, data=Path("nowhere"))


def test_a_run_from_a_file(file: Path, data_dir: Path, hocket) -> None:
    pytest.importorskip("hocket.learning.torch_learner", exc_type=ImportError)
    code, _, err = hocket(
        "simulate", "mnist.toml", "--out", "run", "--data", str(data_dir), "--set", "task.samples=200"
    )
    assert code == 0, err
    written = Path("run/experiment.toml").read_text()
    assert 'kind = "mnist"' in written and "samples = 200" in written and str(data_dir) not in written
    experiment = load(file, ["task={kind='heart_disease'}", "strategy.cohort=4"], data=data_dir)
    assert len(experiment.fleet) == experiment.tasks[0].clients == 4


def test_compare_and_reproduce_take_the_folder_too(file: Path, hocket, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("other.toml").write_text(MNIST)
    code, _, err = hocket("compare", "mnist.toml", "other.toml", "--out", "o", "--data", "nowhere")
    assert code == 2 and err.startswith("error: task.data is nowhere, which is not a folder")
    monkeypatch.setenv("HOCKET_DATA", "elsewhere")  # so that what the command sets is forgotten after the test
    code, out, err = hocket("reproduce", "qafel-real-gap", "--quick", "--data", "nowhere")
    assert code == 3 and "is nowhere, which is not a folder" in out
    assert err.startswith("checking qafel-real-gap (1 of 1)\nqafel-real-gap: no data, after ")
