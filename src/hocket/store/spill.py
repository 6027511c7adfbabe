"""A file for what does not fit into memory: of a run directory, where a checkpoint counts on it, or a temporary one.

It is read and written at places, not mapped, so that it never counts as memory of the process.
"""

import os
import tempfile
import weakref
from pathlib import Path

from hocket.errors import Damaged, StoreFailed


class SpillFile:
    """Opened when it is first written or read; a temporary file (``path`` None) has no name and goes away by itself.

    Raises:
        StoreFailed: the disk does not take what is written.
        Damaged: what is read is not there.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._number = -1

    def __str__(self) -> str:
        return "a temporary file" if self.path is None else str(self.path)

    def _open(self) -> int:
        if self._number < 0:
            try:
                if self.path is None:
                    with tempfile.TemporaryFile() as file:
                        self._number = os.dup(file.fileno())
                else:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    self._number = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError as e:
                raise StoreFailed(f"{self}: {e.strerror}; clients' latest models do not fit into memory") from e
            weakref.finalize(self, os.close, self._number)
        return self._number

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
