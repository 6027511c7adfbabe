"""The data of all clients as tensors, and the batches of a block of clients gathered from them."""

from collections.abc import Callable
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hocket.learning.data import ClientData, Examples
from hocket.learning.kernels.memory import Recycler

Gather = Callable[[NDArray[np.int64], int], tuple[Tensor, Tensor]]


class Samples:
    """Training samples on a device, client after client; memory is shared with ``data`` on a CPU."""

    def __init__(self, data: ClientData, device: torch.device) -> None:
        self.device = device
        self._memory = Recycler()
        self.sizes = data.samples
        self.sizes.flags.writeable = False
        self.offsets = data.offsets
        self.features, self.labels = self.split(data.train)

    def split(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Features and labels of a split."""
        return self.shared(examples.features), self.shared(examples.labels)

    def shared(self, x: NDArray[np.generic]) -> Tensor:
        """A tensor on the array's memory where device and layout allow it; nobody writes to it."""
        with catch_warnings():
            simplefilter("ignore", UserWarning)  # torch has no read-only tensors and says so
            return torch.from_numpy(x).to(self.device)

    def gatherer(self, clients: list[int], lanes: int, wide: int) -> Gather:
        """A function from rows within each client, int64[k, wide], and a number of lanes, k or more, to batches.

        It returns inputs [lanes, wide, ...] and targets [lanes, wide, ...], which the next call overwrites; lanes
        from k on hold zeros.
        """
        first = self.offsets[clients, None]
        raw = self._memory.take((lanes * wide, *self.features.shape[1:]), self.features.dtype, self.device)
        labels = torch.empty((lanes * wide, *self.labels.shape[1:]), dtype=self.labels.dtype, device=self.device)

        def gather(rows: NDArray[np.int64], padded: int) -> tuple[Tensor, Tensor]:
            index = torch.from_numpy((rows + first[: len(rows)]).reshape(-1)).to(self.device)
            torch.index_select(self.features, 0, index, out=raw[: len(index)])
            torch.index_select(self.labels, 0, index, out=labels[: len(index)])
            n = padded * wide
            if n > len(index):
                raw[len(index) : n].zero_()
                labels[len(index) : n].zero_()
            inputs = as_input(raw[:n]).view(padded, wide, *raw.shape[1:])
            return inputs, labels[:n].view(padded, wide, *labels.shape[1:])

        return gather


def as_input(features: Tensor) -> Tensor:
    """What the model sees: pixels of one byte become float32 in [0, 1]."""
    return features.to(torch.float32).div_(255) if features.dtype == torch.uint8 else features
