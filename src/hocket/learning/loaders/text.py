"""Plays as data: who says what, and windows of characters to continue.

A speech is a block between empty lines whose first line is a name and a colon. Each role is a client.
"""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hocket.errors import InvalidInput

_SPEECH = re.compile(r"([^\n:]+):\n(.+)", re.DOTALL)


def by_role(text: str) -> dict[str, str]:
    """What each role says, all its speeches joined by line breaks, roles in order of appearance.

    Blocks without a name or without words are left out.

    Raises:
        InvalidInput: nobody speaks.

    >>> by_role("A:\\nYes.\\n\\nB:\\nNo.\\n\\nA:\\nWhy?")
    {'A': 'Yes.\\nWhy?', 'B': 'No.'}
    """
    said: dict[str, list[str]] = {}
    for block in text.split("\n\n"):
        if match := _SPEECH.fullmatch(block.strip("\n")):
            said.setdefault(match[1], []).append(match[2])
    if not said:
        raise InvalidInput("text: no speech found; a speech is a line with a name and a colon, then what is said")
    return {role: "\n".join(speeches) for role, speeches in said.items()}


def vocabulary(text: str) -> str:
    """The distinct characters in ascending order; a character's class is its place."""
    return "".join(sorted(set(text)))


def encode(text: str, characters: str) -> NDArray[np.int64]:
    """int64[len(text)], the place of each character in ``characters``.

    Raises:
        InvalidInput: a character that is not in it.

    >>> encode("bad", "abcd").tolist()
    [1, 0, 3]
    """
    places = {c: i for i, c in enumerate(characters)}
    try:
        return np.fromiter((places[c] for c in text), np.int64, len(text))
    except KeyError as error:
        raise InvalidInput(f"text: character {error.args[0]!r} is not in the vocabulary") from None


def windows(codes: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Windows of ``length`` characters that follow on one another, and each one's next characters.

    Both are int64[n, length]; what is left over at the end is dropped.

    >>> x, y = windows(np.arange(8), 3)
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [3, 4, 5]], [[1, 2, 3], [4, 5, 6]])
    """
    if length < 1:
        raise InvalidInput(f"windows: length is {length}; it must be 1 or more")
    n = max(len(codes) - 1, 0) // length
    return codes[: n * length].reshape(n, length), codes[1 : n * length + 1].reshape(n, length)


def windows_by_role(
    roles: Mapping[str, str], characters: str, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Windows of every role, stacked, and the role of each as its number: int64[n, length] twice and int64[n].

    A window never spans two roles; a role with less than a window of text has none.
    """
    each = [windows(encode(said, characters), length) for said in roles.values()]
    role = np.repeat(np.arange(len(each)), [len(x) for x, _ in each])
    return np.concatenate([x for x, _ in each]), np.concatenate([y for _, y in each]), role
