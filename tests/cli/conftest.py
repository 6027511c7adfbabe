"""A small experiment file, and the command line as a function."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hocket.cli import main

SMALL = """
seed = 3
[task]
kind = "digits"
clients = 20
local.epochs = 1
[fleet]
kind = "synthetic"
[strategy]
use = "fedbuff"
buffer = 5
in_flight = 10
[until]
accuracy = 0.8
updates = 2000
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory that holds ``small.toml``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path


@pytest.fixture
def hocket(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``hocket("simulate", "small.toml")``: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return run
