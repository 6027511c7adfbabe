"""``hocket simulate FILE --faults SEED``: the user's experiment in a world that misbehaves."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hocket.book import Book

Hocket = Callable[..., tuple[int, str, str]]
FEW = ("--set", "until={updates=60}")


def test_it_says_what_happened_and_writes_nothing(here: Path, hocket: Hocket) -> None:
    before = sorted(p.name for p in here.iterdir())
    code, out, err = hocket("simulate", "small.toml", "--faults", "8", *FEW)
    assert code == 0 and not err
    assert out.startswith("world 8: network, ")
    for part in (
        "message lost",
        "server: ",
        "updates: 60 accepted",
        "digits: version 12, accuracy 0.",
        "every invariant",
    ):
        assert part in out
    assert sorted(p.name for p in here.iterdir()) == before
    assert hocket("simulate", "small.toml", "--faults", "8", *FEW) == (code, out, err)


def test_a_part_of_the_faults_can_be_chosen(here: Path, hocket: Hocket) -> None:
    code, out, _ = hocket("simulate", "small.toml", "--faults", "8;message lost:0.1.1;message lost:0.1.2", *FEW)
    assert code == 0 and "crash before" not in out


def test_a_broken_invariant_is_an_error_that_says_how_to_see_it_again(
    here: Path, hocket: Hocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulate = Book.accumulate
    monkeypatch.setattr(Book, "accumulate", lambda self, lease, weight: accumulate(self, lease, weight * 2))
    code, out, err = hocket("simulate", "small.toml", "--faults", "1", "--set", "strategy.normalise=count", *FEW)
    assert code == 9 and "violated after" in out
    assert err.startswith("error: I1 once: version 1 of task digits is off by") and err.count("\n") == 1
    assert "hocket simulate small.toml --set strategy.normalise=count" in err and "--faults 1" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--faults", "x"), "--faults 'x': must be a seed, a whole number 0 or more"),
        (("--faults", "-3"), "--faults '-3': must be a seed"),
        (("--faults", "1;rain"), "--faults: no fault 'rain'; a fault is a kind and numbers"),
        (("--faults", "1", "--seeds", "0:2"), "--seeds: not with --faults"),
        (("--faults", "1", "--out", "runs"), "--out: not with --faults"),
        (("--faults", "1", "--resume"), "--resume: not with --faults"),
        (("--faults", "1", "--set", "until={updates=5}", "--set", "task={kind='sized',parameters=9,samples=5}"),
         "task 'sized' is size-only; a world with faults sends real updates"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(here: Path, hocket: Hocket, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = hocket("simulate", "small.toml", *arguments)
    assert code == 2 and not out
    assert err.startswith(f"error: {said}") and err.count("\n") == 1
