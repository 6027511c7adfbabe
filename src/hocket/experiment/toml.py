"""TOML from others: of bounded depth, and one error for whatever is none."""

import tomllib
from typing import Any

from hocket.errors import InvalidInput

DEPTH = 32


def loads(text: str, name: str) -> dict[str, Any]:
    """The tables of a document.

    Raises:
        InvalidInput: it is no TOML, has numbers without end, or tables within tables more than ``DEPTH`` deep.
    """
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name}: not TOML ({error})") from None
    level: list[Any] = [tree]
    for _ in range(DEPTH):
        level = [v for x in level for v in (x.values() if isinstance(x, dict) else x) if isinstance(v, dict | list)]
    if level:
        raise InvalidInput(f"{name}: tables within tables, more than {DEPTH} deep")
    return tree
