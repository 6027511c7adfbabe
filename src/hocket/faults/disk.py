"""A model disk: what was not synced may be lost or torn at a crash, it runs full, it flips bits at rest.

Files hold bytes. A write goes to the cache and is durable after ``sync`` of its file; a new, renamed or removed
name is durable after ``sync_folder``. A crash keeps what is durable and, of the rest, a beginning of each
file's writes: the next one is torn at a byte, or its place is there and its bytes are not.
"""

from collections.abc import Callable
from errno import EIO, ENOSPC

from msgspec import Struct

from hocket.keyed import below, key


class File(Struct, eq=False):
    """What a reader sees, what is durable, what would be without damage, and writes not yet synced, in order."""

    content: bytearray
    durable: bytearray
    sound: bytearray
    cached: list[tuple[int, bytes]] = []


class Disk:
    """Files by name. ``full`` and ``failing``: writes, and syncs, raise ``OSError`` while they are set."""

    def __init__(self) -> None:
        self.full = self.failing = False
        self._names: dict[str, File] = {}
        self._durable_names: dict[str, File] = {}
        self._moves: list[tuple[str, str, File | None]] = []  # name gone, name come, what it leads to

    # --- as a program sees it ----------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Names of all files, sorted."""
        return sorted(self._names)

    def read(self, name: str) -> bytes:
        """The whole of a file; empty if there is none."""
        file = self._names.get(name)
        return b"" if file is None else bytes(file.content)

    def create(self, name: str) -> None:
        """Make an empty file, or empty one that is there."""
        self._room()
        file = File(bytearray(), bytearray(), bytearray())
        self._names[name] = file
        self._moves.append(("", name, file))

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Write into the cache.

        Raises:
            OSError: the disk is full; nothing is written.
        """
        self._room()
        file = self._names[name]
        _put(file.content, offset, data)
        file.cached.append((offset, data))

    def append(self, name: str, data: bytes) -> None:
        """Write at the end of a file."""
        self.write(name, len(self._names[name].content), data)

    def cut(self, name: str, length: int) -> None:
        """Make a file shorter, durably."""
        file = self._names[name]
        del file.content[length:], file.durable[length:], file.sound[length:]
        file.cached = [(at, data) for at, data in file.cached if at < length]
        self.sync(name)

    def sync(self, name: str) -> None:
        """Make all writes to a file durable.

        Raises:
            OSError: they may not be; what a crash leaves of them is open.
        """
        if self.failing:
            raise OSError(EIO, "Input/output error")
        file = self._names[name]
        for offset, data in file.cached:
            _keep(file, offset, data)
        file.cached.clear()

    def rename(self, name: str, to: str) -> None:
        """Put a file in the place of another, in one move."""
        file = self._names.pop(name)
        self._names[to] = file
        self._moves.append((name, to, file))

    def remove(self, name: str) -> None:
        """Remove a name."""
        del self._names[name]
        self._moves.append((name, "", None))

    def sync_folder(self) -> None:
        """Make all names durable.

        Raises:
            OSError: they may not be.
        """
        if self.failing:
            raise OSError(EIO, "Input/output error")
        self._move(len(self._moves))

    # --- as the world treats it --------------------------------------------------------------------------

    def crash(self, k: int) -> None:
        """Forget the cache; ``k`` keys what survives of it."""
        self._move(below(key(k, "moves"), len(self._moves) + 1))
        self._moves.clear()
        self._names = dict(self._durable_names)
        for number, name in enumerate(sorted(self._names)):
            file = self._names[name]
            _crash(file, key(k, "file", number))

    def flip(self, k: int) -> None:
        """Change one to eight bits of one durable byte at rest; nothing happens on an empty disk."""
        files = [(n, f) for n, f in sorted(self._durable_names.items()) if f.durable]
        if not files:
            return
        file = files[below(key(k, "which"), len(files))][1]
        at, change = below(key(k, "where"), len(file.durable)), 1 + below(key(k, "how"), 255)
        for side in (file.durable, file.content):
            if at < len(side):
                side[at] ^= change

    def damaged(self) -> list[str]:
        """Names of files with a flip that is still there."""
        return [n for n, f in sorted(self._durable_names.items()) if f.durable != f.sound]

    def repair(self) -> int:
        """Undo every flip, as from a mirror; how many files had one."""
        names = self.damaged()
        for name in names:
            file = self._durable_names[name]
            file.durable, file.content = file.sound[:], file.sound[:]
            for offset, data in file.cached:
                _put(file.content, offset, data)
        return len(names)

    def clone(self) -> "Disk":
        """A disk with the same content, cache included."""
        out, made = Disk(), dict[int, File]()

        def same(file: File) -> File:
            if id(file) not in made:
                made[id(file)] = File(file.content[:], file.durable[:], file.sound[:], list(file.cached))
            return made[id(file)]

        out.full, out.failing = self.full, self.failing
        out._names = {n: same(f) for n, f in self._names.items()}
        out._durable_names = {n: same(f) for n, f in self._durable_names.items()}
        out._moves = [(gone, come, None if f is None else same(f)) for gone, come, f in self._moves]
        return out

    def size(self) -> int:
        """Durable bytes."""
        return sum(len(f.durable) for f in self._durable_names.values())

    def _move(self, count: int) -> None:
        for gone, come, file in self._moves[:count]:
            self._durable_names.pop(gone, None)
            if file is not None:
                self._durable_names[come] = file
        del self._moves[:count]

    def _room(self) -> None:
        if self.full:
            raise OSError(ENOSPC, "No space left on device")


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _keep(file: File, offset: int, data: bytes) -> None:
    _put(file.durable, offset, data)
    _put(file.sound, offset, data)


def _crash(file: File, k: int) -> None:
    """Keep a beginning of the cached writes; the next one is torn, or only its place is there."""
    cached, file.cached = file.cached, []
    whole = below(key(k, "whole"), len(cached) + 1)
    for offset, data in cached[:whole]:
        _keep(file, offset, data)
    if whole < len(cached):
        offset, data = cached[whole]
        kept = below(key(k, "torn"), len(data) + 1)
        hole = below(key(k, "hole"), 2) and offset >= len(file.durable)
        _keep(file, offset, data[:kept] + (bytes(len(data) - kept) if hole else b""))
    file.content = file.durable[:]


class DiskFile:
    """A file of a disk that is read and written at places (:class:`hocket.archive.File`); ``step`` comes first."""

    def __init__(self, disk: Disk, name: str, step: Callable[[str], None]) -> None:
        self._disk, self._name, self._step = disk, name, step

    def write(self, at: int, data: bytes) -> None:
        """Write bytes at a place, into the cache."""
        self._step("spill")
        if self._name not in self._disk.names():
            self._disk.create(self._name)
        self._disk.write(self._name, at, data)

    def read(self, at: int, size: int) -> bytes:
        """The bytes at a place."""
        return self._disk.read(self._name)[at : at + size]

    def sync(self) -> None:
        """Everything written is durable, under its name."""
        self._step("sync spilled")
        self._disk.sync(self._name)
        self._disk.sync_folder()
