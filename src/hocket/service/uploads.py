"""Updates on their way in: as much of each as has come, kept until the core has dealt with it or it is given up.

Parts are appended where the last one ended, so a cut connection costs what was under way. At most one update per lease
is kept, small ones in memory and large ones in a file without a name. An update counts against the limit from its first
byte until the core has dealt with it, so a server that cannot keep up sends devices away before its memory is full.
"""

from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from msgspec import Struct

from hocket.errors import InvalidInput

IN_MEMORY = 1 << 20  # bytes


class Part(Struct, eq=False):
    """The first ``offset`` of ``length`` bytes; ``digest`` of the whole; ``busy``: being sent or dealt with."""

    client: int
    lease: int
    length: int
    digest: bytes
    file: IO[bytes]
    touched: float
    offset: int = 0
    busy: bool = False

    def whole(self) -> bytes | None:
        """All of it, for a thread of its own; None if it is not what was announced."""
        self.file.seek(0)
        data = self.file.read()
        return data if sha256(data).digest() == self.digest else None


class Uploads:
    """All updates that are not whole yet.

    Args:
        folder: where large ones go.
        clock: seconds, monotonic.
        patience: seconds without a byte after which a part is given up.
        limit: bytes of all parts together, as announced.

    ``announced`` are those bytes now.
    """

    def __init__(self, folder: Path, clock: Callable[[], float], patience: float, limit: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._clock, self._patience, self._limit = folder, clock, patience, limit
        self._parts: dict[tuple[int, int], Part] = {}
        self.announced = 0

    def offset(self, client: int, lease: int) -> int:
        """Bytes of an update that are here."""
        part = self._parts.get((client, lease))
        return 0 if part is None else part.offset

    def busy(self, client: int, lease: int) -> bool:
        """Whether an update is being sent or dealt with right now."""
        part = self._parts.get((client, lease))
        return part is not None and part.busy

    def begin(self, client: int, lease: int, length: int, digest: bytes) -> Part | None:
        """The part to append to; another update of the lease takes the place of one not whole.

        None: no room now, or one is being sent or dealt with right now.
        """
        part = self._parts.get((client, lease))
        if part is not None and part.busy:
            return None
        if part is not None and (part.digest, part.length) != (digest, length):
            self.drop(client, lease)
            part = None
        if part is None:
            if self.announced + length > self._limit:
                return None
            file = BytesIO() if length <= IN_MEMORY else TemporaryFile(dir=self._folder)  # noqa: SIM115
            part = self._parts[client, lease] = Part(client, lease, length, digest, file, self._clock())
            self.announced += length
        return part

    def append(self, part: Part, data: bytes) -> None:
        """More bytes.

        Raises:
            InvalidInput: more than were announced.
        """
        if part.offset + len(data) > part.length:
            raise InvalidInput(f"lease {part.lease}: more than the {part.length} bytes announced")
        part.file.write(data)
        part.offset += len(data)
        part.touched = self._clock()

    def release(self, part: Part) -> None:
        """Forget an update that was dealt with."""
        part.busy = False
        self.drop(part.client, part.lease)

    def drop(self, client: int, lease: int) -> None:
        """Forget what has come of an update, unless it is busy."""
        part = self._parts.get((client, lease))
        if part is not None and not part.busy:
            del self._parts[client, lease]
            self.announced -= part.length
            part.file.close()

    def sweep(self) -> None:
        """Give up what nobody goes on with."""
        late = self._clock() - self._patience
        for part in [p for p in self._parts.values() if not p.busy and p.touched < late]:
            self.drop(part.client, part.lease)

    def __len__(self) -> int:
        return len(self._parts)
