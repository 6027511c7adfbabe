"""The IDX format of MNIST and its relatives: a small header, then unsigned bytes.

Header: two zero bytes, the type (8: unsigned byte), the number of dimensions, then each dimension as a big-endian
32-bit integer. Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", 1998.
"""

import gzip
import io
import zlib
from math import prod

import numpy as np
from numpy.typing import NDArray

from hocket.errors import InvalidInput

_UNSIGNED_BYTE = 8
_GZIP = b"\x1f\x8b"


def decode(raw: bytes, name: str = "idx") -> NDArray[np.uint8]:
    """The array in an IDX file, plain or gzipped: uint8 of the shape in its header.

    No more is unpacked than the header announces. ``name`` is what messages call the file.

    Raises:
        InvalidInput: not IDX, another type than unsigned bytes, more or fewer bytes than announced, damaged gzip.

    >>> decode(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9])).tolist()
    [[7, 8, 9]]
    """
    stream = gzip.GzipFile(fileobj=io.BytesIO(raw)) if raw.startswith(_GZIP) else io.BytesIO(raw)
    try:
        head = stream.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or not 1 <= head[3] <= 8:
            raise InvalidInput(f"{name}: begins with {head.hex() or 'nothing'}; an IDX file begins with 0000")
        if head[2] != _UNSIGNED_BYTE:
            raise InvalidInput(f"{name}: holds type {head[2]:#04x}; only unsigned bytes (0x08) are read")
        sizes = stream.read(4 * head[3])
        if len(sizes) < 4 * head[3]:
            raise InvalidInput(f"{name}: ends within its header; get the file again")
        shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
        body = stream.read(prod(shape) + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise InvalidInput(f"{name}: damaged gzip ({error}); get the file again") from None
    if len(body) != prod(shape):
        size = f"{len(body)} bytes follow" if len(body) < prod(shape) else "more bytes follow"
        raise InvalidInput(f"{name}: the header announces {prod(shape)} bytes {list(shape)}, {size}")
    return np.frombuffer(body, np.uint8).reshape(shape)
