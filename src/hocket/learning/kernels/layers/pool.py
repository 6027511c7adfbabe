"""Pooling of image planes, channels last."""

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


class MaxPool:
    """The greatest of each window; the first of equals gets the gradient."""

    keeps = False

    def __init__(self, made: Made) -> None:
        self.below, self.above = made.below, made.above
        module = made.link.module
        assert isinstance(module, nn.MaxPool2d)
        sides = (module.kernel_size, module.stride, module.padding, module.dilation)
        self._window = (*(_pair(side) for side in sides), module.ceil_mode)
        self._at: Tensor | None = None

    def forward(self, k: int, step: Step) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        y, self._at = _aten.max_pool2d_with_indices(self.below.value(k), *self._window)
        self.above.hold(y)

    def backward(self, k: int, step: Step, through: bool) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        if through:
            _aten.max_pool2d_with_indices_backward.grad_input(
                self.above.grad(k), self.below.value(k), *self._window, self._at, grad_input=self.below.grad(k)
            )


def _pair(v: Any) -> list[int]:
    return [int(v), int(v)] if isinstance(v, int) else [int(v[0]), int(v[1])]


class Pool:
    """Any other pooling, through autograd."""

    keeps = False

    def __init__(self, made: Made) -> None:
        self.below, self.above = made.below, made.above
        self._module = made.link.module

    def forward(self, k: int, step: Step) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        self.above.hold(self._module(self.below.value(k)))

    def backward(self, k: int, step: Step, through: bool) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        if not through:
            return
        with torch.enable_grad():
            x = self.below.value(k).detach().requires_grad_()
            self.below.grad(k).copy_(torch.autograd.grad(self._module(x), x, self.above.grad(k))[0])
