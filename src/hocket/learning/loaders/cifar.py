"""CIFAR-10 in the forms it comes in, as uint8[n, 3, 32, 32] (channels first) and int64[n] labels.

| form | begins with | holds |
|---|---|---|
| binary (official) | | 3,073 bytes per image: its class, then 1,024 red, green and blue values |
| ``.npy.xz`` | ``fd 37 7a`` | an array of images |
| ``.npz`` | ``PK`` | arrays of labels, of images, or both (:func:`hocket.npz.arrays`) |

Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

import lzma
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.npz import MOST, array

CLASSES = 10
SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32


def decode_binary(raw: bytes, name: str = "cifar") -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of a batch in the official binary format.

    Raises:
        InvalidInput: empty, cut off within an image, or a label above 9.

    >>> images, labels = decode_binary(bytes([7]) + bytes(3072))
    >>> images.shape, labels.tolist()
    ((1, 3, 32, 32), [7])
    """
    if not raw or len(raw) % _RECORD:
        raise InvalidInput(
            f"{name}: {len(raw)} bytes are not a number of images of {_RECORD} bytes; get the file again"
        )
    records = np.frombuffer(raw, np.uint8).reshape(-1, _RECORD)
    return records[:, 1:].reshape(-1, *SHAPE), check_labels(records[:, 0], name)


def decode_xz(raw: bytes, name: str = "cifar") -> NDArray[np.uint8]:
    """Images in an ``.npy.xz`` file, channels first or last.

    Raises:
        InvalidInput: damaged, not an array of uint8, or of another shape.
    """
    unpack = lzma.LZMADecompressor(memlimit=1 << 30)
    try:
        plain = unpack.decompress(raw, max_length=MOST)
    except lzma.LZMAError as error:
        raise InvalidInput(f"{name}: damaged xz ({error}); get the file again") from None
    if not unpack.eof:
        raise InvalidInput(f"{name}: cut off, or larger than {MOST} bytes unpacked; get the file again")
    return channels_first(array(plain, name), name)


def channels_first(images: NDArray[Any], name: str = "cifar") -> NDArray[np.uint8]:
    """uint8[n, 3, 32, 32] from that, from uint8[n, 32, 32, 3] or from rows of 3,072.

    Raises:
        InvalidInput: another type or shape.
    """
    if images.dtype == np.uint8 and images.ndim >= 2:
        if images.shape[1:] == (32, 32, 3):
            return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        if images.shape[1:] in (SHAPE, (3072,)):
            return images.reshape(-1, *SHAPE)
    raise InvalidInput(f"{name}: images are {images.dtype}{list(images.shape)}; give uint8 [n, 32, 32, 3]")


def check_labels(labels: NDArray[Any], name: str = "cifar", classes: int = CLASSES) -> NDArray[np.int64]:
    """int64[n] labels, each below ``classes``.

    Raises:
        InvalidInput: not one whole number per image, or one that is no class (names the row).
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InvalidInput(f"{name}: labels are {labels.dtype}{list(labels.shape)}; give one whole number per image")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        row = int(wrong.argmax())
        raise InvalidInput(f"{name}: label {labels[row]} of row {row} is not a class from 0 to {classes - 1}")
    return labels.astype(np.int64)
