"""Every Python block of the README and of docs/ runs, every experiment in them can be read, files exist."""

import re
import tomllib
from pathlib import Path

import pytest

from hocket.experiment import fleet_table, strategy_table, task_table
from hocket.experiment.reference import page
from hocket.experiment.strict import convert
from hocket.schedule import Change
from hocket.until import Evaluation, Until

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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
    namespace: dict[str, object] = {"__name__": "__main__"}
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
