"""The registry of claims, its verdicts, and the command that prints them."""

import json
from pathlib import Path

import pytest

from hocket import InvalidInput
from hocket.cli import main
from hocket.errors import MissingData, MissingExtra
from hocket.reproduce import CLAIMS, check, claim, named, registry


@claim("a book", "always one", 1.0, 0.5, 1.5)
def one(quick: bool) -> float:
    return 1.0


@claim("a book", "two in place of one", 1.0, 0.5, 1.5)
def two(quick: bool) -> float:
    return 2.0


@claim("a book", "not a number", 1.0, 0.5, 1.5)
def nothing(quick: bool) -> float:
    return float("nan")


@claim("a book", "needs a file", 1.0, 0.5, 1.5)
def absent(quick: bool) -> float:
    raise MissingData("books.csv is missing; fetch it")


@claim("a book", "needs an extra", 1.0, 0.5, 1.5)
def bare(quick: bool) -> float:
    raise MissingExtra("pip install 'hocket[books]'")


def test_a_family_of_claims_has_a_name() -> None:
    """All that begins with the name and a dash, in order; a claim's own name is that claim."""
    family = [c.name for c in named("async-queueing")]
    assert len(family) > 10 and all(n.startswith("async-queueing-") for n in family)
    assert [c.name for c in named(family[0])] == [family[0]]


def test_a_band_without_an_end_is_written_down(tmp_path: Path) -> None:
    from hocket.cli.verdicts import write_verdicts

    @claim("a book", "two or more", 2.0, 2.0, float("inf"))
    def many(quick: bool) -> float:
        return 3.0

    write_verdicts(tmp_path / "v.json", [check(many)])
    (row,) = json.loads((tmp_path / "v.json").read_text())["claims"]
    assert (row["low"], row["high"], row["value"]) == (2.0, None, 3.0)


def test_every_claim_has_a_source_and_a_band() -> None:
    assert len(CLAIMS) >= 6
    for name, c in CLAIMS.items():
        assert c.source and c.what and c.low <= c.figure <= c.high and name == c.name
    assert named("all") == list(CLAIMS.values()) and named("gaussian-bayes") == [CLAIMS["gaussian-bayes"]]
    assert named("prfl") == [c for n, c in CLAIMS.items() if n.startswith("prfl-")] and len(named("prfl")) > 10


def test_a_band_that_does_not_hold_its_figure_is_refused() -> None:
    with pytest.raises(InvalidInput, match="claim one: the band 2 to 3 does not hold its figure 1"):
        claim("a book", "one", 1.0, 2.0, 3.0)(one.measure)


@pytest.mark.parametrize(
    ("made", "word"), [(one, "inside"), (two, "outside"), (nothing, "outside"), (absent, "no data"), (bare, "no data")]
)
def test_words(made, word) -> None:
    assert check(made).word == word


@pytest.mark.parametrize(
    ("made", "code"),
    [([one], 0), ([one, two], 1), ([one, absent], 3), ([absent, two], 1), ([nothing], 1), ([bare], 3)],
)
def test_the_exit_code_says_the_worst(monkeypatch, capsys, tmp_path, made, code) -> None:
    monkeypatch.setattr(registry, "CLAIMS", {c.name: c for c in made})
    path = tmp_path / "verdicts.json"
    assert main(["reproduce", "all", "--json", str(path)]) == code
    rows = json.loads(path.read_text())["claims"]
    assert [r["name"] for r in rows] == [c.name for c in made]
    assert [r["verdict"] for r in rows] == [check(c).word for c in made]
    assert ("books" in capsys.readouterr().out) == (absent in made or bare in made)


def test_an_unknown_claim_is_one_line(capsys, tmp_path) -> None:
    assert main(["reproduce", "gausian-bayes", "--json", str(tmp_path / "v.json")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and not list(tmp_path.iterdir())
    assert err.startswith("error: reproduce = 'gausian-bayes': no such claim; did you mean gaussian-bayes?")
    assert main(["reproduce", "all", "--json", str(tmp_path)]) == 2


@pytest.mark.parametrize("name", ["asyncsgd-staleness", "fedavg-plain-loop", "gaussian-bayes"])
def test_quick_claims_hold(name: str, capsys, tmp_path: Path) -> None:
    assert main(["reproduce", name, "--quick", "--json", str(tmp_path / "v.json")]) == 0
    (row,) = json.loads((tmp_path / "v.json").read_text())["claims"]
    assert row["quick"] and row["low"] <= row["value"] <= row["high"]
