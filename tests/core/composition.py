"""Every policy there is, in a few settings each, and a few compositions that meet every pair of them.

Everything is read from the registry of policies; a new policy is in it without anybody adding it.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

import hocket.plain  # noqa: F401  (policies register themselves when their packages are imported)
from hocket.codec import QSGD, Sign, TopK
from hocket.errors import InvalidInput
from hocket.keyed import below, key
from hocket.strategy import FLEET, LEVELS, PER_TASK, FullStrategy, Strategy, TaskPart, fill, registry

Row = Mapping[str, Any]
CODECS = [QSGD(), TopK(0.2, Sign())]
"""Codecs to try inside other policies: one that is random and unbiased, one that is neither."""


def alternatives(kind: Any) -> list[Any]:
    """Values of a field's type that can be tried without knowing what it means."""
    if kind is bool:
        return [False, True]
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        members = [m for m in get_args(kind) if isinstance(m, type) and issubclass(m, Struct)]
        return [m() for m in members]
    return []


def variants(policy: type) -> list[Any]:
    """The policy as it is by default, and with each other value of each field that has a few."""
    default = policy()
    out = [default]
    for field, kind in get_type_hints(policy).items():
        if field in policy.__struct_fields__:
            tried = CODECS if field == "codec" else alternatives(kind)
            out += [policy(**{field: v}) for v in tried if v != getattr(default, field)]
    return out


def axes() -> dict[str, list[Any]]:
    """Level to everything that can stand there, and the ways to attach a node to a lease."""
    found = {level: [v for tag in sorted(registry[level]) for v in variants(registry[level][tag])] for level in LEVELS}
    return {**found, "attach": ["issue", "start"]}


def strategy(row: Row) -> Strategy:
    """The composition that a row stands for."""
    fleet = {f: row[f] for f in (*FLEET, "attach")}
    return Strategy("composed", **fleet, task=TaskPart(**{f: row[f] for f in PER_TASK}))


def refusal(row: Row) -> str | None:
    """Why a row is not a strategy, None if it is one."""
    try:
        full: FullStrategy = fill(strategy(row), ("gaussian",))
    except InvalidInput as error:
        return str(error)
    assert full.pacing == row["pacing"]
    return None


def name(value: Any) -> str:
    """A short name of a policy in some setting, for test ids."""
    if not isinstance(value, Struct):
        return str(value)
    default = type(value)()
    tag = str(value.__struct_config__.tag)
    changed = [f for f in value.__struct_fields__ if getattr(value, f) != getattr(default, f)]
    return "+".join([tag, *(name(getattr(value, f)) if getattr(value, f) is not True else f for f in changed)])


def pairs(row: Mapping[str, int]) -> set[tuple[tuple[str, int], tuple[str, int]]]:
    """Every two places of a row."""
    return set(combinations(sorted(row.items()), 2))


def _names(sentence: str, *values: Any) -> bool:
    """Whether a sentence names all of these policies."""
    tags = [str(getattr(getattr(v, "__struct_config__", None), "tag", v)) for v in values]
    return all(f" {tag} " in f" {sentence} ".replace(",", " ").replace(";", " ").replace(":", " ") for tag in tags)


def completions(
    fixed: Mapping[str, int], sizes: Mapping[str, int], tries: int, *names: int | str
) -> Iterator[dict[str, int]]:
    """Rows with some places fixed and the others drawn."""
    for i in range(tries):
        drawn = {a: below(key("row", i, a, *names), n) for a, n in sizes.items()}
        yield {**drawn, **fixed}


class Covering(Struct):
    """``rows`` meet every pair that some strategy allows; ``refused`` are the other pairs, each with a sentence."""

    rows: list[dict[str, Any]]
    refused: list[tuple[Any, Any, str]]


def cover(found: Mapping[str, list[Any]]) -> Covering:
    """Greedy pairwise covering array: each row is the best of a few dozen draws around an open pair, or the first legal
    one of a thousand."""
    sizes = {a: len(values) for a, values in found.items()}

    def row_of(at: Mapping[str, int]) -> dict[str, Any]:
        return {a: found[a][i] for a, i in at.items()}

    todo = {
        p
        for (a, n), (b, m) in combinations(sorted(sizes.items()), 2)
        for p in (((a, i), (b, j)) for i in range(n) for j in range(m))
    }
    out = Covering([], [])
    while todo:
        (a, i), (b, j) = pair = min(todo)
        best: dict[str, int] | None = None
        gain = -1
        sentences: list[str] = []
        for tried, at in enumerate(completions({a: i, b: j}, sizes, 1000, a, i, b, j)):
            if tried >= 40 and (best is not None or any(_names(s, found[a][i], found[b][j]) for s in sentences)):
                break  # more than a few dozen only for a pair that few rows allow
            new = len(pairs(at) & todo)
            if new > gain:
                sentence = refusal(row_of(at))
                if sentence is None:
                    best, gain = at, new
                else:
                    sentences.append(sentence)
        if best is None:
            one, other = found[a][i], found[b][j]
            both = [s for s in sentences if _names(s, one, other)]
            out.refused.append((one, other, both[0] if both else sentences[0]))
            todo.discard(pair)
        else:
            out.rows.append(row_of(best))
            todo -= pairs(best)
    return out
