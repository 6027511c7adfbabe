"""Files that are either the old one or the new one, never half of each."""

import os
from collections.abc import Callable
from pathlib import Path

Tell = Callable[[str], None]
"""Told the name of each step before it is taken."""


def quiet(step: str) -> None:
    """Tell nobody."""


def replace(path: Path, write: Callable[[Path], object], tell: Tell = quiet) -> None:
    """Write a file beside ``path``, sync it, and put it in its place in one move."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prepare(path, write, tell)
    put(path, tell)
    tell("sync folder")
    sync_folder(path.parent)


def prepare(path: Path, write: Callable[[Path], object], tell: Tell = quiet) -> None:
    """The first half of :func:`replace`, which may take long: the file is written beside its place, and synced."""
    fresh = _fresh(path)
    tell("write")
    write(fresh)
    tell("sync file")
    with open(fresh, "rb+") as f:
        os.fsync(f.fileno())


def put(path: Path, tell: Tell = quiet) -> None:
    """The second half, without the sync of the folder: what was prepared takes its place."""
    tell("rename")
    os.replace(_fresh(path), path)


def _fresh(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
