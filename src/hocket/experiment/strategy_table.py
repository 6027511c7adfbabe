"""``[strategy]``: a method with its arguments, explicit parts, or both.

``use`` names a function of :mod:`hocket.strategies`, whose keyword arguments stand beside it. A part
(``[strategy.pacing]``, ``[strategy.guard]``, ...) names a registered policy by its ``kind`` and takes the place of
the part that the method sets. ``[[strategy]]``, written several times, composes; ``[strategy.tasks.NAME]`` gives
one task a strategy of its own.
"""

import functools
from typing import Any, Literal

from msgspec import Struct, structs

import hocket.plain
import hocket.privacy  # noqa: F401  # both import policies, which fill the registry
from hocket import strategies
from hocket.errors import InvalidInput
from hocket.experiment.call import table, union
from hocket.experiment.strict import blaming, convert, dotted, unknown
from hocket.strategy import FLEET, LEVELS, OPTIONAL, PER_TASK, Local, Strategy, TaskPart, compose, registry, tasks

_FLEET_PARTS = (*FLEET, "attach")
_TASK_PARTS = (*PER_TASK, *OPTIONAL)


def build(value: object) -> Strategy:
    """The strategy of a file.

    Raises:
        InvalidInput: an unknown method or key, a wrong value, or parts that do not go together.
    """
    if isinstance(value, list) and value:
        made = [_one(v, f"strategy[{i}]") for i, v in enumerate(value)]
        with blaming(None, "strategy"):
            return made[0] if len(made) == 1 else compose(*made)
    return _one(value, "strategy")


def tables_of_methods() -> dict[str | None, type[Struct]]:
    """A table per method, and under None the one of explicit parts alone, with the policies known by now."""
    return _made(tuple(tuple(known.values()) for known in registry.values()))


@functools.cache
def _made(known: tuple[tuple[type, ...], ...]) -> dict[str | None, type[Struct]]:
    parts: dict[str, Any] = {level: (union(registry[level].values()) | None, None) for level in (*LEVELS, "privacy")}
    parts["attach"] = (Literal["issue", "start"] | None, None)
    parts["local"] = (Local | None, None)
    parts["name"] = (str | None, None)
    parts["tasks"] = (dict[str, Any], {})
    each: dict[str | None, type[Struct]] = {
        name: table(getattr(strategies, name), "use", name, **parts) for name in strategies.__all__
    }
    return {**each, None: table(lambda: None, "use", "parts", **parts)}


def _one(value: object, at: str) -> Strategy:
    if not isinstance(value, dict):
        raise InvalidInput(f"{at}: must be a table with use = one of {', '.join(strategies.__all__)}")
    use = value.get("use")
    if use is not None and use not in strategies.__all__:
        raise unknown(f"{dotted(at, 'use')} = {use!r}", strategies.__all__, "no such method")
    if not value:
        raise InvalidInput(f"{dotted(at, 'use')}: missing; give one of {', '.join(strategies.__all__)}")
    parsed = convert({**value, "use": use or "parts"}, tables_of_methods()[use], at)
    own = {f: v for f in (*_FLEET_PARTS, *_TASK_PARTS) if (v := getattr(parsed, f)) is not None}
    method = Strategy()
    if use is not None:
        extra = (*_FLEET_PARTS, *_TASK_PARTS, "name", "tasks")
        arguments = {f: v for f, v in structs.asdict(parsed).items() if f not in extra}
        with blaming(arguments, at):
            method = getattr(strategies, use)(**arguments)
    method = structs.replace(
        method,
        task=structs.replace(method.task, **{f: v for f, v in own.items() if f in _TASK_PARTS}),
        **{f: v for f, v in own.items() if f in _FLEET_PARTS},
    )
    method = _with_tasks(method, own, {n: _one(v, f"{at}.tasks.{n}") for n, v in parsed.tasks.items()}, at)
    return method if parsed.name is None else structs.replace(method, name=parsed.name)


def _with_tasks(method: Strategy, own: dict[str, Any], each: dict[str, Strategy], at: str) -> Strategy:
    """Strategies of single tasks under one, whose fleet parts win over theirs, as do those written out at the top."""
    if not each:
        return method
    settled = {f: None for f in _FLEET_PARTS if f in own or getattr(method, f) is not None}
    with blaming(each, f"{at}.tasks"):
        together = tasks(**{n: structs.replace(s, **settled) for n, s in each.items()})
    bare = method.task == TaskPart() and all(getattr(method, f) is None for f in _FLEET_PARTS)
    with blaming(None, at):
        return together if bare else compose(method, together)
