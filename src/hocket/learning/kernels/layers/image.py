"""Convolutions of all lanes as one grouped convolution, a group of groups per client, channels last.

Values are [width, lanes * channels, height, columns]. The library picks its loops by the number of groups, so the
lanes of a block are always the same number, and which lane a client got does not matter to its bits.
"""

from typing import Any

import torch
from torch import Tensor, nn

from hocket.learning.kernels.kernel import Step
from hocket.learning.kernels.layers.layer import Made

_aten: Any = torch.ops.aten


def takes(module: nn.Module) -> bool:
    """Whether a module is a plain two-dimensional convolution."""
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)


class Conv:
    """``nn.Conv2d`` on image planes."""

    keeps = False

    def __init__(self, made: Made) -> None:
        self.below, self.above = made.below, made.above
        self._parts = made.parts
        module = made.link.module
        assert isinstance(module, nn.Conv2d)
        lanes = made.below.lanes
        self._groups = lanes * module.groups
        self._stride, self._padding, self._dilation = (
            [int(v) for v in pair] for pair in (module.stride, module.padding, module.dilation)
        )
        weight = made.parts.weights["weight"]
        shape = (lanes * module.out_channels, *weight.shape[2:])
        self._weight = torch.empty(shape).contiguous(memory_format=torch.channels_last)
        self._by_lane = self._weight.view(weight.shape)
        self._bias = torch.empty(lanes * module.out_channels) if module.bias is not None else None

    def forward(self, k: int, step: Step) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        self._by_lane.copy_(self._parts.weights["weight"])
        if self._bias is not None:
            bias = self._parts.weights["bias"]
            self._bias.view(bias.shape).copy_(bias)
        x = self.below.value(k)
        y = torch.conv2d(x, self._weight, self._bias, self._stride, self._padding, self._dilation, self._groups)
        self.above.hold(y)

    def backward(self, k: int, step: Step, through: bool) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        targets, sign = self._parts.targets, self._parts.sign
        d = self.above.grad(k)
        if "bias" in targets:  # the library's own sums take longer than the rest
            sums = d.permute(0, 2, 3, 1).flatten(0, 2).sum(0)
            targets["bias"].add_(sums.view(targets["bias"].shape), alpha=sign)
        grads: tuple[Tensor, Tensor, Tensor] = _aten.convolution_backward(
            d, self.below.value(k), self._weight, [len(self._weight)], self._stride, self._padding,
            self._dilation, False, [0, 0], self._groups, [through, "weight" in targets, False],
        )  # fmt: skip
        if through:
            self.below.hold(grads[0], 1)
        if "weight" in targets:
            targets["weight"].add_(grads[1].view(targets["weight"].shape), alpha=sign)
