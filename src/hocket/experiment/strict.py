"""From the plain values of a file to typed ones, strictly.

msgspec converts and checks types; this module finds what it cannot say well (the nearest valid key, the kinds
there are, numbers that are not finite) and turns every objection into one line with the full dotted key.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import inf, isfinite
from typing import Any

import msgspec
from msgspec import inspect

from hocket.errors import InvalidInput

MAY_BE_INFINITE = ("down", "up")  # an instantaneous link
LARGEST = 1 << 53
_SECONDS = (1e-9, 1e9, "seconds")  # the clock counts nanoseconds; 31 years
_RATE = (1e-3, 1e18, "bytes per second")
MAGNITUDES = {
    **dict.fromkeys(("latency", "deadline", "timeout", "window", "time", "period"), _SECONDS),
    **dict.fromkeys(("down", "up", "egress"), _RATE),
    "compute": (1e-12, 1e6, "seconds per sample"),
    "augmentation": (1e-6, 1e6, "training per inference"),
}
"""By last key: sizes of a number, apart from 0, that are no slip and that the clock can add up."""
_WORDS = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "array": "a list",
    "object": "a table", "null": "left out", "datetime": "a date",
}  # fmt: skip


def convert(value: object, kind: Any, at: str) -> Any:
    """``value`` as a ``kind``; ``at`` is its dotted key in the file.

    Raises:
        InvalidInput: an unknown or missing key, a wrong type, or what the type itself refuses.
    """
    _look(value, inspect.type_info(kind), at)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).rstrip("`").partition(" - at `$")
        where = f"{at}{path}".removeprefix(".").replace("[...]", ".*")
        found = _find(value, path)
        if isinstance(error.__cause__, InvalidInput):
            raise blame(error.__cause__, found, where) from None
        raise InvalidInput(_typed(text, found, where)) from None


def dotted(at: str, key: str) -> str:
    """The key of an entry of the table ``at``."""
    return f"{at}.{key}" if at else key


def shown(value: object) -> str:
    """A value as a file would have it, in one short line."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def unknown(key: str, allowed: Iterable[str], what: str = "unknown key") -> InvalidInput:
    """The error for a key (or ``key = value``) that is none of ``allowed``."""
    names = list(allowed)
    said = re.sub(r"^.* = |^.*\.", "", key).strip("'")
    near = difflib.get_close_matches(said, names, n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    return InvalidInput(f"{key}: {what}; {guess}allowed: {', '.join(names) or 'none'}")


@contextmanager
def blaming(table: object, at: str) -> Iterator[None]:
    """Give every InvalidInput raised inside the dotted key of the entry of ``table`` that it is about."""
    try:
        yield
    except InvalidInput as error:
        raise blame(error, table, at) from None


def blame(error: InvalidInput, table: object, at: str) -> InvalidInput:
    """The same sentence, beginning with the dotted key of the entry of ``table`` that it names first."""
    text = str(error).replace("\n", " ")
    keys = [re.escape(k) for k in table if k not in ("kind", "use")] if isinstance(table, Mapping) else []
    for pattern in (r"(?<!\w){}(?=\s*=|\s+is\b|\s+are\b|:)", r"(?<!\w){}(?!\w)"):
        places = [(m.start(), k) for k in keys if (m := re.search(pattern.format(k.replace("_", "[_.]")), text))]
        if places:
            key = min(places)[1]
            rest = re.sub(rf"^(\w+: )?(\w+\.)?{key}(?=\s*=|\s+is\b)", "", text)
            return type(error)(f"{dotted(at, key)}{rest if rest != text else ': ' + text}")
    return type(error)(text if re.match(rf"{re.escape(at)}\b", text) else f"{at}: {text}")


def _look(value: object, kind: inspect.Type, at: str) -> None:
    options = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(value, at)
    elif isinstance(value, dict):
        structs = [t for t in options if isinstance(t, inspect.StructType)]
        if structs:
            _look_into(value, _chosen(value, structs, at), at)
        for t in options:
            if isinstance(t, inspect.DictType):
                for k, v in value.items():
                    _look(v, t.value_type, dotted(at, k))
    elif isinstance(value, list):
        for t in options:
            if isinstance(t, inspect.CollectionType):
                for i, v in enumerate(value):
                    _look(v, t.item_type, f"{at}[{i}]")
    elif isinstance(value, str) and all(isinstance(t, inspect.LiteralType | inspect.NoneType) for t in options):
        words = [str(v) for t in options if isinstance(t, inspect.LiteralType) for v in t.values]
        if value not in words:
            raise unknown(f"{at} = {value!r}", words, "no such choice")


def _check_number(value: float, at: str) -> None:
    name = re.sub(r"^.*\.|\[\d+\]$", "", at)
    if not isfinite(value):
        if not (value == inf and name in MAY_BE_INFINITE):
            raise InvalidInput(f"{at} = {value}: must be a finite number")
    elif isinstance(value, int) and abs(value) > LARGEST:
        raise InvalidInput(f"{at} = {value}: must be at most 2**53 = {LARGEST}")
    elif value and name in MAGNITUDES:
        low, high, unit = MAGNITUDES[name]
        if not low <= abs(value) <= high:
            raise InvalidInput(f"{at} = {value}: must be from {low:g} to {high:g} {unit}")


def _chosen(value: dict[str, Any], structs: list[inspect.StructType], at: str) -> inspect.StructType:
    tag = structs[0].tag_field
    if tag is None:
        return structs[0]
    tags = {str(s.tag): s for s in structs}
    if tag not in value:
        raise InvalidInput(f"{dotted(at, tag)}: missing; give one of {', '.join(tags)}")
    chosen = value[tag]
    if not isinstance(chosen, str) or chosen not in tags:
        raise unknown(f"{dotted(at, tag)} = {shown(chosen)}", tags, "no such choice")
    return tags[chosen]


def _look_into(value: dict[str, Any], struct: inspect.StructType, at: str) -> None:
    fields = {f.encode_name: f for f in struct.fields}
    for key, v in value.items():
        if key in fields:
            _look(v, fields[key].type, dotted(at, key))
        elif key != struct.tag_field:
            raise unknown(dotted(at, key), fields)
    if missing := [f for f, field in fields.items() if field.required and f not in value]:
        raise InvalidInput(f"{dotted(at, missing[0])}: missing; {at or 'the file'} needs {', '.join(missing)}")


def _find(value: Any, path: str) -> Any:
    for name, index in re.findall(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]", path):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value


def _typed(text: str, found: object, at: str) -> str:
    match = re.fullmatch(r"Expected `(.*)`, got `(.*)`", text)
    if match is None:
        return f"{at}: {text}"
    wanted = " or ".join(_WORDS.get(w, w) for w in match[1].split(" | ") if w != "null")
    if found is None or isinstance(found, Mapping | list):
        return f"{at}: must be {wanted}, not {_WORDS.get(match[2], match[2])}"
    return f"{at} = {shown(found)}: must be {wanted}"
