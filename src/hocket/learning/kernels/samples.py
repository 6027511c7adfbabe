"""The data of all clients as tensors, and the batches of a block of clients gathered from them."""

from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hocket.learning.data import ClientData, Examples
from hocket.learning.kernels.memory import Recycler, Scratch


class Samples:
    """Training samples on a device, client after client; memory is shared with ``data`` on a CPU."""

    def __init__(self, data: ClientData, device: torch.device) -> None:
        self.device = device
        self.memory = Recycler()
        self.sizes = data.samples
        self.sizes.flags.writeable = False
        self.offsets = data.offsets
        self.features, self.labels = self.split(data.train)
        self.bytes_each = 4 * self.features[0].numel()  # as the model sees them

    def split(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Features and labels of a split."""
        return self.shared(examples.features), self.shared(examples.labels)

    def shared(self, x: NDArray[np.generic]) -> Tensor:
        """A tensor on the array's memory where device and layout allow it; nobody writes to it."""
        with catch_warnings():
            simplefilter("ignore", UserWarning)  # torch has no read-only tensors and says so
            return torch.from_numpy(x).to(self.device)

    def gather(self, index: NDArray[np.int64], room: Scratch) -> tuple[Tensor, Tensor]:
        """Features as the model sees them (in ``room``), and labels, of rows of all data: [*index.shape, ...] each."""
        flat = torch.from_numpy(index.reshape(-1)).to(self.device)
        features = room.take((len(flat), *self.features.shape[1:]), self.features.dtype, self.device)
        labels = torch.index_select(self.labels, 0, flat)
        torch.index_select(self.features, 0, flat, out=features)
        return as_input(features).view(*index.shape, *features.shape[1:]), labels.view(*index.shape, *labels.shape[1:])


def as_input(features: Tensor) -> Tensor:
    """What the model sees: pixels of one byte become float32 in [0, 1]."""
    return features.to(torch.float32).div_(255) if features.dtype == torch.uint8 else features
