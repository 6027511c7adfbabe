"""Where the files of data sets are, and whether they are the right ones."""

import hashlib
import os
from pathlib import Path

from msgspec import Struct

from hocket.errors import InvalidInput, MissingData

ENVIRONMENT = "HOCKET_DATA"


class File(Struct, frozen=True):
    """One file of a data set: ``path`` under the data folder, its SHA-256, and where to get it."""

    path: str
    sha256: str
    source: str

    def present(self, data: str | Path | None) -> bool:
        """Whether the data folder has it; its contents are not looked at."""
        return (folder(data, self) / self.path).is_file()

    def read(self, data: str | Path | None = None) -> bytes:
        """The contents, from the folder ``data`` (``HOCKET_DATA`` if None), checked.

        Raises:
            MissingData: no folder is given, or the file is not in it; the message says where to get it.
            InvalidInput: the contents have another SHA-256, or cannot be read.
        """
        where = folder(data, self)
        try:
            raw = (where / self.path).read_bytes()
        except FileNotFoundError:
            raise MissingData(
                f"data is {where}, which has no {self.path}; get it from {self.source} (sha256 {self.sha256}) "
                "and put it there"
            ) from None
        except OSError as error:
            raise InvalidInput(f"data is {where}, where {self.path} cannot be read ({error.strerror})") from None
        found = hashlib.sha256(raw).hexdigest()
        if found != self.sha256:
            raise InvalidInput(
                f"data is {where}, where {self.path} has sha256 {found}, not {self.sha256}; it is damaged or another "
                f"file: get it again from {self.source}"
            )
        return raw


def folder(data: str | Path | None, wanted: File) -> Path:
    """``data``, or the folder in ``HOCKET_DATA``.

    Raises:
        MissingData: neither is given, or it is not a folder.
    """
    given = data if data is not None else os.environ.get(ENVIRONMENT) or None
    if given is None:
        raise MissingData(
            f"data is not set; give the folder that holds {wanted.path} as data= or --data, or set {ENVIRONMENT}"
        )
    if not Path(given).is_dir():
        raise MissingData(f"data is {given}, which is not a folder; give the one that holds {wanted.path}")
    return Path(given)
