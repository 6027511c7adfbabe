"""NumPy files from others: plain arrays only, of bounded size, and one error for whatever else they hold."""

import io
import struct
import zipfile
from typing import Any
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray

from hocket.errors import InvalidInput

MOST = 200 << 20
"""Bytes of one unpacked file: a fifth more than all images of CIFAR-10."""

_DAMAGED = (zipfile.BadZipFile, zipfile.LargeZipFile, ZlibError, struct.error, EOFError, OSError, ValueError)


def arrays(raw: bytes, name: str) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file by name.

    Raises:
        InvalidInput: not an npz file, damaged, too large, or with Python objects inside.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST:
                raise InvalidInput(f"{name}: larger than {MOST} bytes unpacked")
            return {e.filename.removesuffix(".npy"): array(archive.read(e), name) for e in archive.infolist()}
    except InvalidInput:
        raise
    except (*_DAMAGED, NotImplementedError, RuntimeError) as error:
        raise InvalidInput(f"{name}: damaged npz ({error}); get the file again") from None


def array(raw: bytes, name: str) -> NDArray[Any]:
    """The array of an ``.npy`` file.

    Raises:
        InvalidInput: it is no such file, or holds Python objects.
    """
    try:
        found: NDArray[Any] = np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError, OverflowError, TypeError, SyntaxError) as error:
        said = str(error).partition("\n")[0]
        raise InvalidInput(f"{name}: not a plain array ({said}); get the file again") from None
    return found
