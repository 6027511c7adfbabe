"""M2: the oracles see bugs that are planted on purpose; the page of all of them is made by benchmarks/faults.py."""

import re
from pathlib import Path

import pytest

from benchmarks.faults import hunt
from hocket.faults.__main__ import one
from hocket.faults.shrink import Case
from tests.faults.bugs import BUGS, planted

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
ROWS = re.findall(r"^\| (.+) \| (\d+|none) \| .* \|$", PAGE.read_text(), re.M)
HANDFUL = (
    "the journal acknowledges without a sync", "bodies are not journaled", "anybody may answer a lease",
    "an answer to a closed lease is accepted", "a repeat of an accepted update is refused",
    "numbers that are not finite pass", "the staleness limit is off by one", "an update counts twice",
    "a step takes the updates of every task", "updates are kept after their step",
    "the book forgets its line after a restart", "timers are looked at on arrival only",
)  # fmt: skip


def test_m2_the_page_lists_every_bug_and_nearly_all_are_caught() -> None:
    assert [name for name, _ in ROWS] == list(BUGS) and len(BUGS) >= 40
    assert sum(seed != "none" for _, seed in ROWS) >= 0.95 * len(ROWS)


@pytest.mark.parametrize("name", HANDFUL)
def test_m2_the_seed_on_the_page_shows_the_bug(name: str) -> None:
    seed = int(dict(ROWS)[name])
    with planted(name):
        assert one(Case(seed)).violated
    assert not one(Case(seed)).violated


@pytest.mark.soak
@pytest.mark.parametrize("name", BUGS)
def test_m2_every_bug_on_the_page_is_still_caught_by_its_seed(name: str) -> None:
    seed = int(dict(ROWS)[name])
    with planted(name):
        assert one(Case(seed)).violated


def test_a_bug_is_gone_when_it_is_no_longer_planted() -> None:
    name = "an update counts twice"
    owner, attribute, _ = BUGS[name]
    before = vars(owner)[attribute]
    with planted(name):
        assert vars(owner)[attribute] is not before
    assert vars(owner)[attribute] is before
    assert hunt(name, 3).seed is not None
