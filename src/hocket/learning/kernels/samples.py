"""The data of all clients as tensors, and the batches of a block of clients gathered from them."""

from collections.abc import Callable
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hocket.learning.data import ClientData, Examples
from hocket.learning.kernels.memory import Recycler, Scratch

Ints = NDArray[np.int64]


class Samples:
    """Training samples on a device, client after client; memory is shared with ``data`` on a CPU.

    ``products``: inner products of a client's samples with one another, once they were asked for; never more numbers
    than a quarter of those of the samples.
    """

    def __init__(self, data: ClientData, device: torch.device) -> None:
        self.device = device
        self.memory = Recycler()
        self.sizes = data.samples
        self.sizes.flags.writeable = False
        self.offsets = data.offsets
        self.features, self.labels = self.split(data.train)
        self.bytes_each = 4 * self.features[0].numel()  # as the model sees them
        self.products: dict[int, Tensor] = {}

    def split(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Features and labels of a split."""
        return self.shared(examples.features), self.shared(examples.labels)

    def shared(self, x: NDArray[np.generic]) -> Tensor:
        """A tensor on the array's memory where device and layout allow it; nobody writes to it."""
        if x.flags.writeable:
            return torch.from_numpy(x).to(self.device)
        with catch_warnings():
            simplefilter("ignore", UserWarning)  # torch has no read-only tensors and says so
            return torch.from_numpy(x).to(self.device)

    def own(self, client: int) -> Tensor:
        """All samples of a client as the model sees them, [size, ...], on the data's memory if it can be."""
        first = int(self.offsets[client])
        return as_input(self.features[first : first + int(self.sizes[client])])

    def gathered(self, index: Tensor, room: Scratch) -> Tensor:
        """Samples at int64[n] as the model sees them, [n, ...], in ``room``."""
        features = self.features
        out = room.take((len(index), *features.shape[1:]), features.dtype, features.device)
        torch.index_select(features, 0, index, out=out)
        return as_input(out)

    def inner(self, client: int, x: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """X X' of all samples X of a client, [size, size]; kept where that is little beside them."""
        found = self.products.get(client)
        if found is None:
            found = product(x, x)
            if 4 * len(x) <= x.shape[1]:
                self.products[client] = found
        return found


class Drawn:
    """The samples of some steps of a block of clients, gathered in the order in which they are asked for.

    Args:
        samples: of all clients.
        clients: int64[lanes].
        rows: positions within the clients' own samples, int64[steps, lanes, width].
        whole: places for a client's own samples, if they are to be taken as they lie; 0 if not.
    """

    def __init__(self, samples: Samples, clients: Ints, rows: Ints, whole: int) -> None:
        self.rows, self.whole = rows, whole
        self._samples, self._clients = samples, clients
        self._first = samples.offsets[clients]

    def inputs(self, room: Scratch, images: bool = False) -> Tensor:
        """What the model sees, in ``room``: [lanes, steps, width, ...], or [steps, width, lanes, ...] with images."""
        at = (self.rows + self._first[:, None]).transpose((0, 2, 1) if images else (1, 0, 2))
        out = self._samples.gathered(self._flat(at), room)
        return out.view(*at.shape, *out.shape[1:])

    def own(self, lane: int) -> Tensor:
        """See :meth:`Samples.own`."""
        return self._samples.own(int(self._clients[lane]))

    def inner(self, lane: int, x: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """See :meth:`Samples.inner`."""
        return self._samples.inner(int(self._clients[lane]), x, product)

    def targets(self) -> Tensor:
        """Labels [lanes, steps, width, ...]."""
        at = (self.rows + self._first[:, None]).transpose(1, 0, 2)
        labels = torch.index_select(self._samples.labels, 0, self._flat(at))
        return labels.view(*at.shape, *labels.shape[1:])

    def _flat(self, at: Ints) -> Tensor:
        return torch.from_numpy(at.reshape(-1)).to(self._samples.device)


def as_input(features: Tensor) -> Tensor:
    """What the model sees: pixels of one byte become float32 in [0, 1]."""
    return features.to(torch.float32).div_(255) if features.dtype == torch.uint8 else features
