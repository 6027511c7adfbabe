"""An experiment file whose task a function in a Python file makes."""

import json
import tomllib
from pathlib import Path

import pytest

from hocket.errors import InvalidInput
from hocket.experiment import load
from hocket.service.join import _table
from hocket.service.serve import Options, Service

FILE = """
[task]
kind = "python"
make = "mine.py:make"
clients = 6
arguments = { width = 5 }
local = { lr = 0.4 }

[fleet]
kind = "synthetic"

[strategy]
use = "fedbuff"
buffer = 2
in_flight = 3

[until]
updates = 20
"""
CODE = """
import numpy as np
import hocket as hk
from beside import CLASSES
from hocket.learning import MLP, ClientData, Examples, NumpyLearner


def make(clients, seed, width=3, fail=False):
    if fail:
        raise RuntimeError("no such sensor")
    rng, n = np.random.default_rng(seed), 10 * clients
    rows = Examples(rng.normal(size=(n + 20, 4)).astype(np.float32), rng.integers(0, CLASSES, n + 20))
    held = np.arange(n, n + 10), np.arange(n + 10, n + 20)
    data = ClientData.divided(rows, np.arange(n).reshape(clients, 10), *held)
    return hk.Task.of(NumpyLearner(MLP(4, (width,), CLASSES), data), hk.LocalSGD(lr=0.1, batch_size=5))


def eight(clients):
    return make(8, 0)


nothing = list
number = 3
"""


@pytest.fixture
def mine(here: Path) -> Path:
    (here / "beside.py").write_text("CLASSES = 3\n")
    (here / "mine.py").write_text(CODE)
    (here / "mine.toml").write_text(FILE)
    return here


def test_it_runs_and_its_directory_runs_again(mine, hocket):
    assert hocket("simulate", "mine.toml", "--out", "o")[0] == 0
    resolved = tomllib.loads(Path("o/experiment.toml").read_text())["tasks"]["task"]
    assert (
        resolved["make"] == "mine.py:make" and resolved["arguments"] == {"width": 5} and len(resolved["sha256"]) == 64
    )
    assert resolved["local"]["lr"] == 0.4 and resolved["clients"] == 6
    Path("o/beside.py").write_text("CLASSES = 3\n")
    assert hocket("simulate", "o/experiment.toml", "--out", "p")[0] == 0
    assert json.loads(Path("o/summary.json").read_text()) == json.loads(Path("p/summary.json").read_text())


def test_tasks_keep_the_names_of_their_tables(mine):
    text = FILE.replace("[task]", "[tasks.a]") + FILE.partition("[fleet]")[0].replace("[task]", "[tasks.b]")
    Path("two.toml").write_text(text)
    made = load("two.toml")
    assert [t.name for t in made.tasks] == ["a", "b"] and list(made.files) == ["mine.py"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"make": "mine:make"}, "task.make = 'mine:make': give a file and a function in it"),
        ({"make": "none.py:make"}, "task.make = 'none.py:make': none.py cannot be read (No such file or directory)"),
        ({"make": "mine.py:mke"}, "task.make = 'mine.py:mke': mine.py has no function 'mke'"),
        ({"make": "mine.py:number"}, "task.make = 'mine.py:number': mine.py has no function 'number'"),
        ({"make": "bad.py:make"}, "task.make: bad.py, line 2: SyntaxError: invalid syntax"),
        ({"make": "mine.py:nothing", "arguments": "{}"}, "task.make = 'mine.py:nothing': it returned a list, not a"),
        ({"make": "mine.py:eight", "arguments": "{}"}, "task.clients = 6: mine.py:eight made a task of 8; write"),
        ({"arguments": "{fail=true}"}, "task.make: mine.py, line 10: RuntimeError: no such sensor"),
        ({"arguments": "{wdth=3}"}, "task.make: mine.py: TypeError: make() got an unexpected keyword argument 'wdth'"),
        ({"sha256": "abc"}, "task.sha256 = 'abc': mine.py has "),
        ({"mke": "x"}, "task.mke: unknown key; did you mean make? allowed: make, arguments, clients"),
    ],
)
def test_what_cannot_be_made_is_one_line(mine, hocket, changes, said):
    Path("bad.py").write_text("x = 1\ny = = 2\n")
    code, out, err = hocket(
        "simulate",
        "mine.toml",
        "--out",
        "o",
        *(x for k, v in changes.items() for x in ("--set", f"task.{k}={_quoted(v)}")),
    )
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith(f"error: {said}"), err
    assert not Path("o").exists()


def _quoted(text: str) -> str:
    return text if text.startswith("{") else f"'{text}'"


POLICY = """
from hocket.merge import MeanByCount
from hocket.strategy import policy


@policy("merge")
class Mine(MeanByCount, frozen=True, tag="mean_of_mine", tag_field="kind", forbid_unknown_fields=True):
    pass
"""


def test_policies_of_the_file_can_be_named(mine, hocket, own_policies):
    Path("own.py").write_text(CODE + POLICY)
    changes = ["task.make='own.py:make'", "strategy.merge={kind='mean_of_mine'}"]
    code, _, err = hocket("simulate", "mine.toml", "--out", "o", *(x for c in changes for x in ("--set", c)))
    assert code == 0, err
    assert tomllib.loads(Path("o/experiment.toml").read_text())["strategy"]["tasks"]["task"]["merge"] == {
        "kind": "mean_of_mine", "order": "journal"
    }  # fmt: skip


def test_a_run_does_not_go_on_with_another_file(mine, hocket):
    assert hocket("simulate", "mine.toml", "--out", "o")[0] == 0
    Path("mine.py").write_text(CODE + "\n# another\n")
    code, _, err = hocket("simulate", "mine.toml", "--out", "o", "--resume")
    assert code == 2 and "holds a run of another experiment" in err


def test_devices_run_no_code_that_a_server_names(mine):
    with pytest.raises(InvalidInput, match=r"^task 'task' is made by a Python file, and devices run no code"):
        Service(load("mine.toml"), Path("o"), Options())
    with pytest.raises(InvalidInput, match="names a file here"):
        _table(load("mine.toml").toml())


def test_the_example_of_ones_own_is_one():
    root = Path(__file__).parents[2] / "examples"
    (task,) = load(root / "own.toml", ["task.clients=20"]).tasks
    assert task.name == "digits" and task.clients == 20 and "norm.running_var" in {s.name for s in task.schema.segments}
