"""``hocket replay``: the digest of a recorded run, how it goes on, and what it says about bad input."""

import json
from pathlib import Path

import pytest

from hocket.experiment import load
from hocket.service.clock import ScriptedClock
from hocket.service.loopback import run_loopback
from hocket.service.result import LoopbackResult

SHORT = ("until.accuracy=0.99", "until.updates=60")


@pytest.fixture
def recorded(here: Path) -> LoopbackResult:
    e = load("small.toml", SHORT)
    return run_loopback(
        e.tasks, e.fleet, e.strategy, e.until, seed=e.seed, evaluation=e.evaluation, journal=Path("journal"),
        clock=ScriptedClock(e.fleet, e.seed), measure=("finite",),
    )  # fmt: skip


def replay(hocket, *more):
    return hocket("replay", "journal", "small.toml", *(f"--set={c}" for c in SHORT), "--measure=finite", *more)


def test_replay_prints_the_digest(recorded, hocket):
    code, out, err = replay(hocket)
    assert (code, out) == (0, recorded.digest + "\n")
    assert err.endswith("60 updates, updates\n")


def test_replay_of_a_finished_run_continues_to_where_it_was(recorded, hocket):
    code, out, _ = replay(hocket, "--continue")
    digest, summary = out.split("\n", 1)
    assert code == 0 and digest == recorded.digest
    again = json.loads(summary)
    published = {"published": recorded.summary["bytes"]["published"]}  # a journal does not tell who shared an edge
    assert {**again, "bytes": again["bytes"] | published} == recorded.summary


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("journal", "small.toml"), "belongs to another run"),
        (("nowhere", "small.toml"), "journal nowhere does not exist"),
        (("small.toml", "small.toml"), "journal small.toml does not exist"),
        (("journal", "nothing.toml"), "nothing.toml: no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(recorded, hocket, arguments, said):
    code, out, err = hocket("replay", *arguments)
    assert (code, out) == (2, "") and said in err and err.count("\n") == 1


def test_a_damaged_journal_has_its_own_code(recorded, hocket):
    path = Path("journal/journal.sqlite")
    path.write_bytes(path.read_bytes()[:-5000])
    code, out, err = replay(hocket)
    assert (code, out) == (5, "") and "journal" in err and err.count("\n") == 1
