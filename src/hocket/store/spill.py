"""A file for what does not fit into memory: of a run directory, where a checkpoint counts on it, or a temporary one.

It is read and written at places, not mapped, so that it never counts as memory of the process.
"""

import fcntl
import os
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

from hocket.archive import File
from hocket.errors import Damaged, StoreFailed
from hocket.files import sync_folder


class SpillFile:
    """Opened when it is first written or read; a temporary file (``path`` None) has no name and goes away by itself.

    ``alone``: no other process may have it open. ``fixed``: it is there, and is only read.

    Raises:
        StoreFailed: the disk does not take what is written, or another process has the file.
        Damaged: what is read is not there.
    """

    def __init__(self, path: Path | None = None, *, alone: bool = False, fixed: bool = False) -> None:
        self.path, self._alone, self._fixed = path, alone, fixed
        self._number = -1

    def __str__(self) -> str:
        return "a temporary file" if self.path is None else str(self.path)

    def _open(self) -> int:
        if self._number < 0:
            try:
                self._number = self._opened()
            except OSError as e:
                if self._fixed:
                    raise Damaged(f"{self}: {e.strerror}; a checkpoint counts on it, bring it along") from e
                raise StoreFailed(f"{self}: {e.strerror}; clients' latest models do not fit into memory") from e
            weakref.finalize(self, os.close, self._number)
        return self._number

    def _opened(self) -> int:
        if self.path is None:
            with tempfile.TemporaryFile() as file:
                return os.dup(file.fileno())
        if self._fixed:
            return os.open(self.path, os.O_RDONLY)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            sync_folder(self.path.parent)
            if self._alone:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(number)
            if isinstance(e, BlockingIOError):
                raise StoreFailed(f"{self}: another process works with it; end that one, then start again") from None
            raise
        return number

    def write(self, at: int, data: bytes) -> None:
        """Write bytes at a place."""
        left, number = memoryview(data), self._open()
        while left:
            try:
                done = os.pwrite(number, left, at)
            except OSError as e:
                raise StoreFailed(
                    f"{self}: {e.strerror}; it takes the latest models of all clients: free some space, or bound their "
                    "number with the merge's most"
                ) from e
            left, at = left[done:], at + done

    def read(self, at: int, size: int) -> bytes:
        """The bytes at a place."""
        data = os.pread(self._open(), size, at)
        while len(data) < size:
            more = os.pread(self._open(), size - len(data), at + len(data))
            if not more:
                raise Damaged(f"{self}: it ends at {at + len(data)} of {at + size} bytes; start the run again")
            data += more
        return data

    def sync(self) -> None:
        """Everything written is on disk."""
        try:
            os.fdatasync(self._open())
        except OSError as e:
            raise StoreFailed(f"{self}: {e.strerror}") from e


class Overlay:
    """A file that stays as it is: what is written goes to a temporary one, and is read from there at the same place."""

    def __init__(self, below: File) -> None:
        self._below, self._own, self._written = below, SpillFile(), set[int]()

    def write(self, at: int, data: bytes) -> None:
        """Write bytes at a place."""
        self._own.write(at, data)
        self._written.add(at)

    def read(self, at: int, size: int) -> bytes:
        """The bytes at a place, that something was written to as a whole."""
        return (self._own if at in self._written else self._below).read(at, size)

    def sync(self) -> None:
        """Nothing of it is kept."""


def beside(journal: Path) -> Callable[[str], SpillFile]:
    """Files of a run that is served, by task, beside its journal: checkpoints there count on them."""
    return lambda task: SpillFile(journal / f"latest-{task}", alone=True)


def over(journal: Path) -> Callable[[str], Overlay]:
    """The same to replay it, which changes nothing."""
    return lambda task: Overlay(SpillFile(journal / f"latest-{task}", fixed=True))
