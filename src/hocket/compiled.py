"""Loops that numpy has no operation for, compiled by numba when their module is imported; see who imports them."""

from collections.abc import Callable
from typing import Any, cast

from numba import njit


def compiled(signature: Any = None, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: compiled without the interpreter's lock, for ``signature`` if there is one, and kept on disk.

    Where nothing can be written, every process compiles anew.
    """
    given, jit = () if signature is None else (signature,), cast(Any, njit)

    def made(function: Callable[..., Any]) -> Any:
        try:
            return jit(*given, nogil=True, cache=True, **options)(function)
        except (RuntimeError, OSError):  # no folder for it, or a full one
            return jit(*given, nogil=True, **options)(function)

    return made
