"""What a server was told, in order: a file that is only appended to, from which a run can be replayed.

A record is a head of 12 bytes (length of the body, CRC-32 of the body, CRC-32 of these 8 bytes, all
little-endian) and a body of MessagePack, ``[nanoseconds, [name, fields...]]``. The first record is a
:class:`Header`, the last one of a run that ended a :class:`End`; those between are server events.
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from struct import Struct as Layout
from typing import BinaryIO
from zlib import crc32

import msgspec

from hocket.book import Book
from hocket.errors import Damaged, InvalidInput
from hocket.events import Event, ServerEvent
from hocket.server import Server
from hocket.snapshot import digest, pack

FORMAT = 1
_HEAD = Layout("<III")
_CHECKED = Layout("<II")


class Header(Event, frozen=True, gc=False, array_like=True, tag=True):
    """First record: the file's format and the fingerprint of the run."""

    format: int
    run: str


class End(Event, frozen=True, gc=False, array_like=True, tag=True):
    """Last record: the digest of the state that the run ended in."""

    digest: str


Record = tuple[int, Header | End | ServerEvent]
_decoder = msgspec.msgpack.Decoder(Record)


def state_digest(server: Server, book: Book) -> str:
    """32 hex digits that stand for the server's memory and the bits of every published model."""
    models = (book.model(t) for t in server.state.tasks)
    return digest(server.snapshot(), *(b"" if x is None else x.tobytes() for x in models))


class Journal:
    """A new journal, open for appending; ``run`` is the fingerprint of the run it belongs to.

    Raises:
        InvalidInput: the file exists.
    """

    def __init__(self, path: Path, run: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file: BinaryIO = open(path, "xb")  # noqa: SIM115 - closed by close()
        except FileExistsError:
            raise InvalidInput(f"journal {path} exists; remove it or choose another file") from None
        self.append(0, Header(FORMAT, run))
        self.sync()
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def append(self, now: int, event: Event) -> None:
        """Write one record; it is on stable storage after the next :meth:`sync`."""
        body = pack((now, event))
        checked = _CHECKED.pack(len(body), crc32(body))
        self._file.write(checked + crc32(checked).to_bytes(4, "little") + body)

    def sync(self) -> None:
        """Put everything appended on stable storage."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close; a second time does nothing."""
        if not self._file.closed:
            self.sync()
            self._file.close()


def read(path: Path) -> Iterator[Record]:
    """All whole records in order, the header first.

    A torn tail (the file ends inside a record, or holds only zeros from the start of one) ends the reading.

    Raises:
        InvalidInput: there is no such file.
        Damaged: a whole record is not what was written, or the format is another one.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        raise InvalidInput(f"journal {path} does not exist; give the file that the run wrote") from None
    with file:
        size = os.fstat(file.fileno()).st_size
        number = offset = 0
        while (record := _next(file, size, f"journal {path}: record {number} at byte {offset}")) is not None:
            _check_place(record[1], number, f"journal {path}: record {number} at byte {offset}")
            yield record
            number, offset = number + 1, file.tell()
        if number == 0:
            raise Damaged(f"journal {path}: record 0 at byte 0 is torn; nothing was told, remove the file")


def _next(file: BinaryIO, size: int, where: str) -> Record | None:
    start = file.tell()
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, body_sum, head_sum = _HEAD.unpack(head)
    if crc32(head[: _CHECKED.size]) != head_sum:
        file.seek(start)
        if _only_zeros(file):
            return None
        raise Damaged(f"{where}: its length does not match its checksum; take the journal from a copy")
    if file.tell() + length > size:
        return None
    body = file.read(length)
    if crc32(body) != body_sum:
        raise Damaged(f"{where}: its body does not match its checksum; take the journal from a copy")
    try:
        record: Record = _decoder.decode(body)
    except msgspec.DecodeError as e:
        raise Damaged(f"{where}: {e}; read it with the version of hocket that wrote it") from None
    return record


def _only_zeros(file: BinaryIO) -> bool:
    return all(not chunk.strip(b"\0") for chunk in iter(partial(file.read, 1 << 20), b""))


def _check_place(event: Event, number: int, where: str) -> None:
    if isinstance(event, Header) != (number == 0):
        raise Damaged(f"{where}: {type(event).__name__}; a journal has one header, and it comes first")
    if isinstance(event, Header) and event.format != FORMAT:
        raise Damaged(f"{where}: format {event.format}; this version of hocket reads format {FORMAT}")
