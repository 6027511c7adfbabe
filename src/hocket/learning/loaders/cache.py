"""Arrays that took long to decode, kept as ``.npy`` in the user's cache folder; what is lost there is made again."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hocket import files


def kept(sha256: str, decode: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """What ``decode`` gives for the file with this SHA-256; memory-mapped if it was kept before.

    The folder is ``hocket`` in ``XDG_CACHE_HOME``, or in ``~/.cache``; where that cannot be written to, nothing is
    kept.
    """
    path = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "hocket" / f"{sha256}.npy"
    with suppress(OSError, ValueError, EOFError):
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return array
    array = decode()
    with suppress(OSError):
        files.replace(path, lambda fresh: _save(fresh, array))
    return array


def _save(path: Path, array: NDArray[Any]) -> None:
    with open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)
