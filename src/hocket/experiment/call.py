"""A table of a file is a call: its keys are the keyword arguments of a Python function.

``[strategy] use = "fedbuff", buffer = 5`` is ``hocket.strategies.fedbuff(buffer=5)``, so what a file may say,
its types and its defaults are those of the function, and a new method is in the file format without more.
"""

import functools
import inspect
import operator
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs


def table(function: Callable[..., Any], tag_field: str, tag: str, **fields: Any) -> type[Struct]:
    """A tagged Struct with the arguments of ``function``.

    ``fields`` are (type, default) pairs that are added or take the place of an argument; None leaves it out.
    """
    hints = typing.get_type_hints(function)
    own = {
        p.name: (hints[p.name],) if p.default is p.empty else (hints[p.name], p.default)
        for p in inspect.signature(function).parameters.values()
    }
    made = {k: v for k, v in {**own, **fields}.items() if v is not None}
    return msgspec.defstruct(
        f"{tag.capitalize()}Table",
        [(k, *v) for k, v in made.items()],
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        tag_field=tag_field,
        tag=tag,
    )


def union(types: Iterable[type]) -> Any:
    """One of ``types``, as an annotation."""
    return functools.reduce(operator.or_, types)


def partial(cls: type[Struct]) -> type[Struct]:
    """``cls`` with every field optional: what a table changes in a value that is there already."""
    hints = typing.get_type_hints(cls)
    fields = [(f.name, hints[f.name] | UnsetType, UNSET) for f in structs.fields(cls)]
    return msgspec.defstruct(f"Partial{cls.__name__}", fields, frozen=True, forbid_unknown_fields=True)


def given(part: Struct) -> dict[str, Any]:
    """The fields of a :func:`partial` value that were set."""
    return {k: v for k, v in structs.asdict(part).items() if v is not UNSET}


def plain(value: Any) -> Any:
    """A value as a file has it: tables, lists, numbers and text, without what is None or an empty table."""
    value = msgspec.to_builtins(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items() if v is not None and v != {}}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value
