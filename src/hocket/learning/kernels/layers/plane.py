"""Where values between two layers lie, with their gradients, for many clients at once.

A client's bits may not depend on its lane. Memory is a multiple of 32 numbers, all of them finite, and elementwise work
is done on all of it: the last numbers of a vector loop are computed by other instructions. Every lane begins at a
multiple of 16 bytes: MKL's products with a transposed factor (torch 2.13, Zen 5) take another way where one does not.
"""

from math import prod

import torch
from torch import Tensor

from hocket.learning.kernels.memory import Recycler

ROUND = 32
ALIGN = 4
"""Numbers of four bytes that a lane is padded to a multiple of."""
_CPU = torch.device("cpu")


class Plane:
    """Values of one shape per sample.

    ``image`` False: [lanes, width, units], of which the first k lanes are in use. True: the layout of grouped
    convolutions, [width, height, columns, lanes, channels], seen as [width, lanes * channels, height, columns];
    all lanes are always in use.
    """

    def __init__(self, memory: Recycler, lanes: int, width: int, shape: tuple[int, ...], image: bool) -> None:
        self.shape = shape
        self.image = image
        self.lanes = lanes
        self.width = width
        self._memory = memory
        self._lane = width * prod(shape) if image else -(-width * prod(shape) // ALIGN) * ALIGN
        self._flat: list[Tensor | None] = [None, None]
        self._views: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def value(self, k: int) -> Tensor:
        """Values of the first k lanes."""
        return self._view(0, k)[0]

    def grad(self, k: int) -> Tensor:
        """Gradients of the first k lanes."""
        return self._view(1, k)[0]

    def flat_value(self, k: int) -> Tensor:
        """All memory behind them, for elementwise work."""
        return self._view(0, k)[1]

    def flat_grad(self, k: int) -> Tensor:
        """All memory behind the gradients."""
        return self._view(1, k)[1]

    def use(self, x: Tensor) -> None:
        """Take values [k, width, units] from elsewhere if they are aligned; no elementwise work on them then."""
        if self.width * self.shape[0] % ALIGN:
            self.value(len(x)).copy_(x)
            return
        self._views = {at: v for at, v in self._views.items() if at[0]}
        self._views[0, len(x)] = x, x

    def hold(self, x: Tensor, which: int = 0) -> None:
        """Have an image's values (``which`` 1: gradients) where they are, if their memory is as good as the own."""
        if x.numel() % ROUND or not x.is_contiguous(memory_format=torch.channels_last):
            self._view(which, self.lanes)[0].copy_(x)
            return
        self._views[which, self.lanes] = x, x.permute(0, 2, 3, 1).view(-1)

    def _view(self, which: int, k: int) -> tuple[Tensor, Tensor]:
        found = self._views.get((which, k))
        if found is None:
            found = self._views[which, k] = self._cut(which, k)
        return found

    def _cut(self, which: int, k: int) -> tuple[Tensor, Tensor]:
        flat = self._flat[which]
        if flat is None:
            size = -(-self.lanes * self._lane // ROUND) * ROUND
            flat = self._flat[which] = self._memory.take((size,), torch.float32, _CPU).zero_()
        if self.image:
            channels, height, columns = self.shape
            used = flat[: self.lanes * self._lane].view(self.width, height, columns, self.lanes * channels)
            return used.permute(0, 3, 1, 2), flat
        (units,) = self.shape
        used = flat.as_strided((k, self.width, units), (self._lane, units, 1))
        return used, flat[: -(-k * self._lane // ROUND) * ROUND]
