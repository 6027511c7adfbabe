"""Checkpoint files: a line that names the format, a checksum, and the checkpoint in MessagePack.

A file is written beside its name, synced (:func:`prepare`) and moved there (:func:`put`), so it is whole or not there
at all; one that was damaged later is passed over.
"""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import msgspec

from hocket import files
from hocket.store.store import Checkpoint, Hook

MAGIC = b"hocket checkpoint 1\n"
_SUM = 16  # bytes of BLAKE2b
_NAME = "checkpoint-"


def prepare(folder: Path, covers: int, state: Mapping[str, bytes], hook: Hook) -> None:
    """Write a checkpoint beside its place."""

    def write(path: Path) -> None:
        body = msgspec.msgpack.encode(Checkpoint(covers, dict(state)))
        with open(path, "wb") as file:
            file.writelines((MAGIC, blake2b(body, digest_size=_SUM).digest(), body))

    files.prepare(_path(folder, covers), write, hook)


def put(folder: Path, covers: int, hook: Hook) -> None:
    """Put a prepared checkpoint in its place; :func:`settle` makes that durable."""
    files.put(_path(folder, covers), hook)


def _path(folder: Path, covers: int) -> Path:
    return folder / f"{_NAME}{covers:015d}"


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole."""
    return next((c for path in reversed(_files(folder)) if (c := _read(path)) is not None), None)


def whole(folder: Path) -> list[int]:
    """How far each whole checkpoint covers, ascending."""
    return [c.covers for path in _files(folder) if (c := _read(path)) is not None]


def drop(folder: Path, kept: list[int]) -> None:
    """Remove every checkpoint but those that cover as far as ``kept``, and what a kill left half written."""
    names = {f"{_NAME}{covers:015d}" for covers in kept}
    for path in folder.glob(f"{_NAME}*"):
        if path.name not in names:
            path.unlink(missing_ok=True)


def settle(folder: Path, kept: list[int], hook: Hook) -> None:
    """Make what was put in its place durable, then drop all others."""
    hook("sync folder")
    files.sync_folder(folder)
    hook("drop checkpoints")
    drop(folder, kept)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob(f"{_NAME}*") if not p.suffix)


def _read(path: Path) -> Checkpoint | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # dropped meanwhile by its writer
        return None
    head = len(MAGIC) + _SUM
    body = memoryview(data)[head:]
    if data[: len(MAGIC)] != MAGIC or blake2b(body, digest_size=_SUM).digest() != data[len(MAGIC) : head]:
        return None
    found = msgspec.msgpack.decode(body, type=Checkpoint)
    return found if path.name == f"{_NAME}{found.covers:015d}" else None
