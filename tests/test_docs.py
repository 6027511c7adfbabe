"""Every Python block of the README and of docs/ runs, every experiment in them can be read, every command exists."""

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
import typer

from hocket.cli.main import app
from hocket.experiment import fleet_table, strategy_table, task_table
from hocket.experiment.reference import page
from hocket.experiment.strict import convert
from hocket.schedule import Change
from hocket.until import Evaluation, Until

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer.main.get_command(app)


def blocks(language: str) -> list[object]:
    return [
        pytest.param(block, id=f"{page.name}-{i}")
        for page in PAGES
        for i, block in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.S | re.M))
    ]


@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_run(
    block: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_policies: None
) -> None:
    if "import pandas" in block:
        pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    exec(compile(block, "page", "exec"), namespace)
    assert len(namespace) > 1


@pytest.mark.parametrize("block", blocks("toml"))
def test_experiments_can_be_read(block: str) -> None:
    """Whole files and parts of them: what has a kind or names a method is one."""
    tree = tomllib.loads(block)
    assert (
        set(tree) <= {"name", "seed", "task", "tasks", "fleet", "strategy", "until", "evaluation", "schedule"}
        or len(tree) == 1
    )
    tasks = [tree["task"], *tree.get("tasks", {}).values()] if "task" in tree else []
    for table in tasks:
        task_table.read(table, "task")
    if "fleet" in tree and "kind" in tree["fleet"]:
        fleet_table.read(tree["fleet"])
    if "use" in (strategy := tree.get("strategy", {})):
        strategy_table.build(strategy)
    if "until" in tree:
        convert(tree["until"], Until, "until")
    if "evaluation" in tree:
        convert(tree["evaluation"], Evaluation, "evaluation")
    convert(tree.get("schedule", []), list[Change], "schedule")


def commands() -> list[object]:
    """Calls of ``hocket`` in blocks without a language, without what follows a comment or a pipe."""
    found = []
    for path in PAGES:
        for block in re.findall(r"^```(?:sh|bash)?\n(.*?)^```", path.read_text(), re.S | re.M):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(path.name, line.removeprefix("$ ")) for line in lines if re.match(r"(\$ )?hocket ", line)]
    return [pytest.param(line, id=f"{name}: {line[:60]}") for name, line in found]


@pytest.mark.parametrize("line", commands())
def test_commands_exist_and_take_their_options(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    assert isinstance(COMMANDS, click.Group)
    command = COMMANDS.get_command(click.Context(COMMANDS), words[0])
    assert command is not None, f"no command {words[0]}"
    if isinstance(command, click.Group):
        words, command = words[1:], command
    known = {option for p in command.params for option in p.opts}
    assert {w.partition("=")[0] for w in words if re.match(r"--?[a-z]", w)} <= known | {"--help"}
    for name in re.findall(r"\bexamples/[\w.]+\.toml", line):
        assert (ROOT / name).exists()


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_named_files_exist(path: Path) -> None:
    text = path.read_text()
    named = re.findall(r"`((?:src|tests|docs|benchmarks|examples)/[\w./-]+)`", text)
    missing = [n for n in named if not (ROOT / n).exists()]
    missing += [n for n in re.findall(r"\]\(([\w./-]+?)(?:#[\w-]+)?\)", text) if not (path.parent / n).exists()]
    assert not missing


def test_the_page_of_experiment_files_is_what_the_tables_say() -> None:
    """``python -m hocket.experiment.reference > docs/experiments.md`` makes it anew."""
    assert (ROOT / "docs" / "experiments.md").read_text() == page()
