"""Vectors by number, written once and read seldom: in memory up to a limit, beyond it in a file of the driver's.

What a merge keeps of every client it has ever heard of (a latest model each) outgrows memory; what it needs at every
step does not. An archive holds the former. Without a file everything is in memory. With one (:meth:`Archive.spill`),
what does not fit is written to it in slots whose sizes are powers of two; a sparse file takes up disk for what was
written to a slot only.

A snapshot has the vectors in memory, but only the places of those in the file. So a slot that a snapshot counts on is
not used again until a later snapshot takes its place: :meth:`Archive.guard` names those that are in use now. Of two
snapshots that are kept both are guarded.
"""

from typing import Protocol

import numpy as np
from msgspec import Struct

from hocket.schema import Vector

MEMORY = 1 << 28
"""Bytes that are kept in memory before anything is spilled."""
PAGE = 4096


class File(Protocol):
    """Random access, given by a driver; the core itself does no I/O."""

    def read(self, at: int, size: int) -> bytes: ...

    def write(self, at: int, data: bytes) -> None: ...

    def sync(self) -> None: ...


class Archive(Struct, dict=True):
    """float32 vectors by number.

    ``held``: those in memory, ``size`` bytes of them. ``places``: where those in the file begin, and how many values
    they have. ``slots``: what the file is divided into, capacity by begin. ``guards``: begins that snapshots count on.
    ``number``: the next one.

    >>> archive = Archive()
    >>> one = archive.put(np.ones(3, np.float32))
    >>> archive.get(one).tolist()
    [1.0, 1.0, 1.0]
    """

    held: dict[int, np.ndarray] = {}
    places: dict[int, tuple[int, int]] = {}
    slots: dict[int, int] = {}
    guards: dict[str, list[int]] = {}
    size: int = 0
    number: int = 0

    @property
    def file(self) -> File | None:
        """Where vectors go that do not fit into memory; no part of a snapshot."""
        found: File | None = self.__dict__.get("file")
        return found

    def spill(self, file: File | None, memory: int = MEMORY) -> None:
        """Write vectors to a file from now on once ``memory`` bytes are held."""
        self.__dict__.update(file=file, memory=memory)
        self._find_free()

    def put(self, values: Vector) -> int:
        """Keep a vector; its number."""
        number, self.number = self.number, self.number + 1
        file = self.file
        if file is None or self.size + values.nbytes <= self.__dict__["memory"]:
            self.held[number] = values
            self.size += values.nbytes
            return number
        room = max(PAGE, 1 << (values.nbytes - 1).bit_length())
        free = self.__dict__["free"].get(room)
        at = free.pop() if free else self._extend(room)
        file.write(at, values.astype("<f4", copy=False).tobytes())
        self.places[number] = at, len(values)
        return number

    def _extend(self, room: int) -> int:
        """A new slot at the end of the file."""
        last = next(reversed(self.slots), None)
        at = 0 if last is None else last + self.slots[last]
        self.slots[at] = room
        return at

    def get(self, number: int) -> Vector:
        """A vector, float32, read-only."""
        if number in self.held:
            return self.held[number]
        at, length = self.places[number]
        assert self.file is not None, "vectors in a file are read from it"
        return np.frombuffer(self.file.read(at, 4 * length), "<f4").astype(np.float32, copy=False)

    def drop(self, number: int) -> None:
        """Forget a vector."""
        values = self.held.pop(number, None)
        if values is not None:
            self.size -= values.nbytes
            return
        at, _ = self.places.pop(number)
        if not any(at in guard for guard in self.__dict__["guarded"].values()):
            self.__dict__["free"].setdefault(self.slots[at], []).append(at)

    # --- snapshots ---------------------------------------------------------------------------------------

    def sync(self) -> None:
        """What is in the file is on disk."""
        if self.file is not None and self.places:
            self.file.sync()

    def guard(self, name: str, *before: str) -> None:
        """The slots in use now are those that the snapshot of this name counts on, in place of the one before it.

        That one goes by the next name if there is one, the one before that by the name after, and so on.
        """
        names = (name, *before)
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            self.guards[older] = self.guards.get(newer, [])
        self.guards[name] = [at for at, _ in self.places.values()]
        self._find_free()

    def follow(self, before: "Archive") -> None:
        """Go on in the file of another archive, of which this one is an earlier or later state."""
        self.slots = dict(sorted({**self.slots, **before.slots}.items()))
        self.guards = {**self.guards, **before.guards}
        self.number = max(self.number, before.number)
        if before.file is not None:
            self.spill(before.file, before.__dict__["memory"])

    def _find_free(self) -> None:
        guarded = {name: set(slots) for name, slots in self.guards.items()}
        used = {at for at, _ in self.places.values()}.union(*guarded.values())
        free: dict[int, list[int]] = {}
        for at, room in self.slots.items():
            if at not in used:
                free.setdefault(room, []).append(at)
        self.__dict__.update(guarded=guarded, free=free)
