"""Buffers that come back by themselves: mapping fresh pages can cost more than the arithmetic done on them."""

from math import prod
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KEPT = 64  # buffers of one capacity that wait for the next use
PAGE = 4096


class Recycler:
    """Lends CPU memory; it is lent again once the last tensor or array that looks at it is gone."""

    def __init__(self) -> None:
        self._free: dict[int, list[NDArray[np.uint8]]] = {}

    def take(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """A tensor with undefined contents (on another device: a new one)."""
        if device.type != "cpu":
            return torch.empty(shape, dtype=dtype, device=device)
        size = prod(shape) * dtype.itemsize
        capacity = -(-size // PAGE) * PAGE
        free = self._free.setdefault(capacity, [])
        try:
            base = free.pop()
        except IndexError:  # asking first would race with other threads
            base = np.empty(capacity, np.uint8)
        lent = base[:size]
        finalize(lent, _give_back, free, base).atexit = False
        return torch.from_numpy(lent).view(dtype).view(shape)


def _give_back(free: list[NDArray[np.uint8]], base: NDArray[np.uint8]) -> None:
    if len(free) < KEPT:
        free.append(base)


class Scratch:
    """Memory for one user at a time, which grows to the most that was asked for."""

    def __init__(self) -> None:
        self._base = np.empty(0, np.uint8)

    def take(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """A tensor with undefined contents on the same memory as the one before (on another device: a new one)."""
        if device.type != "cpu":
            return torch.empty(shape, dtype=dtype, device=device)
        size = prod(shape) * dtype.itemsize
        if size > len(self._base):
            self._base = np.empty(size, np.uint8)
        return torch.from_numpy(self._base[:size]).view(dtype).view(shape)


def subtract(x: Tensor, start: Tensor, out: Tensor) -> None:
    """Write ``x - start`` to ``out``, which is on the CPU wherever they are."""
    if x.device == out.device:
        torch.sub(x, start, out=out)
    else:
        out.copy_(x - start)
