"""``--set key=value`` and ``--seeds a:b``."""

import re
import tomllib
from collections.abc import Iterable
from typing import Any

from hocket.errors import InvalidInput

_BARE = re.compile(r"[A-Za-z_][\w./-]*")


def assign(tree: dict[str, Any], edits: Iterable[str]) -> None:
    """Put values into a tree of tables in place: ``until.accuracy=0.8``, ``strategy.0.lr=2``.

    The value is read as TOML; a bare word is text, so quotes need not pass through the shell.

    Raises:
        InvalidInput: no equals sign, a value that is not TOML, or a key inside something that is no table.
    """
    for edit in edits:
        key, equals, text = (part.strip() for part in edit.partition("="))
        if not equals or not key:
            raise InvalidInput(f"--set {edit!r}: give key=value, for example until.accuracy=0.8")
        *path, last = key.split(".")
        here: Any = tree
        for depth, name in enumerate(path):
            here = _step(here, name, ".".join(path[: depth + 1]), edit)
        value = _value(text, edit)
        if isinstance(here, list):
            here[_index(here, last, key, edit)] = value
        else:
            here[last] = value


def seeds(text: str) -> range:
    """``0:5`` as the seeds 0 to 4.

    Raises:
        InvalidInput: anything else, or nothing in it.
    """
    match = re.fullmatch(r"(\d{1,15}):(\d{1,15})", text.strip())
    if match is None or not int(match[1]) < int(match[2]):
        raise InvalidInput(f"--seeds {text!r}: give first:end with first < end; 0:5 runs the seeds 0, 1, 2, 3, 4")
    return range(int(match[1]), int(match[2]))


def _step(here: Any, name: str, key: str, edit: str) -> Any:
    below = here[_index(here, name, key, edit)] if isinstance(here, list) else here.setdefault(name, {})
    if not isinstance(below, dict | list):
        raise InvalidInput(f"--set {edit!r}: {key} = {below!r} is no table, so nothing can be set inside it")
    return below


def _index(here: list[Any], name: str, key: str, edit: str) -> int:
    if not name.isdecimal() or int(name) >= len(here):
        raise InvalidInput(f"--set {edit!r}: {key} is in a list; give a number from 0 to {len(here) - 1}")
    return int(name)


def _value(text: str, edit: str) -> Any:
    if "\n" not in text:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            if _BARE.fullmatch(text):
                return text
    raise InvalidInput(f"--set {edit!r}: {text!r} is not a TOML value; quote text as '\"text\"'")
