"""Pooling of image planes: the greatest of tiles by hand, everything else by torch, channels last."""

from typing import Any

import torch
from torch import Tensor, nn

from hocket.learning.kernels.kernel import Step
from hocket.learning.kernels.layers.layer import Made

_aten: Any = torch.ops.aten
TAKEN = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def takes(module: nn.Module) -> bool:
    """Whether it is one of them that returns values only."""
    return type(module) in TAKEN and not getattr(module, "return_indices", False)


def tiles(module: nn.Module) -> int:
    """The side of square tiles that do not overlap and are not padded; 0 if the pooling is of another kind."""
    if type(module) is not nn.MaxPool2d or module.ceil_mode:
        return 0
    sides = {*_pair(module.kernel_size), *_pair(module.stride), 1}
    size = max(sides)
    plain = _pair(module.kernel_size) == _pair(module.stride) == (size, size)
    return size if plain and _pair(module.padding) == (0, 0) and _pair(module.dilation) == (1, 1) else 0


def _pair(v: Any) -> tuple[int, int]:
    return (int(v), int(v)) if isinstance(v, int) else (int(v[0]), int(v[1]))


class Tiles:
    """The greatest of each tile; the first of equals gets the gradient, as in torch."""

    keeps = True

    def __init__(self, made: Made) -> None:
        self.below, self.above = made.below, made.above
        self._side = tiles(made.link.module)
        shape = self._last(self.above.value(made.below.lanes)).shape
        self._free, self._hit = torch.empty(shape, dtype=torch.bool), torch.empty(shape, dtype=torch.bool)

    def forward(self, k: int, step: Step) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        parts = self._parts(self.below.value(k))
        y = self._last(self.above.value(k))
        if len(parts) == 1:
            y.copy_(parts[0])
            return
        torch.maximum(parts[0], parts[1], out=y)
        for part in parts[2:]:
            torch.maximum(y, part, out=y)

    def backward(self, k: int, step: Step, through: bool) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        if not through:
            return
        y, d = self._last(self.above.value(k)), self._last(self.above.grad(k))
        values, grads = self._parts(self.below.value(k)), self._parts(self.below.grad(k))
        whole = self.below.shape[1] % self._side or self.below.shape[2] % self._side
        if whole:
            self.below.flat_grad(k).zero_()
        free, hit = self._free.fill_(True), self._hit
        for value, grad in zip(values, grads, strict=True):
            torch.eq(value, y, out=hit)
            hit.logical_and_(free)
            torch.mul(d, hit, out=grad)
            free.logical_xor_(hit)

    def _parts(self, x: Tensor) -> list[Tensor]:
        s, (_, height, columns) = self._side, self.above.shape
        x = self._last(x)
        return [x[:, i : height * s : s, j : columns * s : s] for i in range(s) for j in range(s)]

    @staticmethod
    def _last(x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class Pool:
    """Any other pooling, through autograd."""

    keeps = False

    def __init__(self, made: Made) -> None:
        self.below, self.above = made.below, made.above
        self._module = made.link.module

    def forward(self, k: int, step: Step) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        self.above.value(k).copy_(self._module(self.below.value(k)))

    def backward(self, k: int, step: Step, through: bool) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        if not through:
            return
        with torch.enable_grad():
            x = self.below.value(k).detach().requires_grad_()
            self.below.grad(k).copy_(torch.autograd.grad(self._module(x), x, self.above.grad(k))[0])
