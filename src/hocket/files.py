"""Files that are either the old one or the new one, never half of each."""

import os
from collections.abc import Callable
from pathlib import Path


def replace(path: Path, write: Callable[[Path], object], step: Callable[[str], None] | None = None) -> None:
    """Write a file beside ``path``, sync it, and put it in its place in one move.

    ``step`` is told the name of each step before it is taken.
    """
    tell = step or (lambda name: None)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    tell("write")
    write(fresh)
    tell("sync file")
    with open(fresh, "rb+") as f:
        os.fsync(f.fileno())
    tell("rename")
    os.replace(fresh, path)
    tell("sync folder")
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
