"""Activations, elementwise on all of a plane's memory: by hand where torch has a function for the way back."""

from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from hocket.learning.kernels.kernel import Step
from hocket.learning.kernels.layers.layer import Made

_aten: Any = torch.ops.aten
Forward = Callable[[Tensor, Tensor], Any]
"""Values below and the place for those above."""
Backward = Callable[[Tensor, Tensor, Tensor], Any]
"""The gradient above, values (above or below), and the place for the gradient below."""

_BY_RESULT: dict[type[nn.Module], tuple[Forward, Backward]] = {
    nn.ReLU: (
        lambda x, y: torch.clamp_min(x, 0, out=y),
        lambda d, y, out: _aten.threshold_backward.grad_input(d, y, 0, grad_input=out),
    ),
    nn.Tanh: (
        lambda x, y: torch.tanh(x, out=y),
        lambda d, y, out: _aten.tanh_backward.grad_input(d, y, grad_input=out),
    ),
    nn.Sigmoid: (
        lambda x, y: torch.sigmoid(x, out=y),
        lambda d, y, out: _aten.sigmoid_backward.grad_input(d, y, grad_input=out),
    ),
}
OTHERS = (
    nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.Hardtanh, nn.ReLU6, nn.SELU, nn.CELU, nn.Mish,
    nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid, nn.Softsign, nn.Softshrink, nn.Tanhshrink,
)  # fmt: skip
TAKEN = (*_BY_RESULT, *OTHERS)


class ByResult:
    """An activation whose derivative is a function of its result; it may overwrite its input."""

    keeps = True

    def __init__(self, made: Made) -> None:
        self.below = made.below
        self.above = made.below if made.overwrite else made.above
        self._forward, self._backward = _BY_RESULT[type(made.link.module)]

    def forward(self, k: int, step: Step) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        self._forward(self.below.flat_value(k), self.above.flat_value(k))

    def backward(self, k: int, step: Step, through: bool) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        if through:
            self._backward(self.above.flat_grad(k), self.above.flat_value(k), self.below.flat_grad(k))


class Other:
    """Any other elementwise module, through autograd."""

    keeps = False

    def __init__(self, made: Made) -> None:
        self.below, self.above = made.below, made.above
        module: Any = copy(made.link.module)
        module.inplace = False  # what is below is needed on the way back
        self._module = module

    def forward(self, k: int, step: Step) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        if isinstance(self._module, nn.GELU):
            _aten.gelu.out(self.below.flat_value(k), approximate=self._module.approximate, out=self.above.flat_value(k))
        else:
            self.above.flat_value(k).copy_(self._module(self.below.flat_value(k)))

    def backward(self, k: int, step: Step, through: bool) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        if not through:
            return
        d, x, out = self.above.flat_grad(k), self.below.flat_value(k), self.below.flat_grad(k)
        if isinstance(self._module, nn.GELU):
            _aten.gelu_backward.grad_input(d, x, approximate=self._module.approximate, grad_input=out)
            return
        with torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            out.copy_(torch.autograd.grad(self._module(x), x, d)[0])


def layer(made: Made) -> ByResult | Other:
    """The layer of an activation."""
    return ByResult(made) if type(made.link.module) in _BY_RESULT else Other(made)
