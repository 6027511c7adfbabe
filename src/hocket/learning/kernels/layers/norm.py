"""Normalization: by batch, group or layer, then a scale and a shift per client.

Written in sums and single elementwise operations, which give an element the same bits wherever it lies. Samples that
pad a batch count in no mean, and get no gradient.
"""

from typing import Any

import torch
from torch import Tensor, nn

from hocket.learning.kernels.chain import Link
from hocket.learning.kernels.kernel import Step
from hocket.learning.kernels.layers.layer import Made

_aten: Any = torch.ops.aten


def takes(link: Link, images: bool) -> bool:
    """Whether it is one of them, on values that it can work on."""
    module = link.module
    if isinstance(module, nn.LayerNorm):
        return not images and len(link.before) == 1 and len(module.normalized_shape) == 1
    if images:
        return type(module) in (nn.BatchNorm2d, nn.GroupNorm)
    return type(module) is nn.BatchNorm1d and len(link.before) == 1


class Norm:
    """The scale and the shift; the rest is of the kinds below."""

    keeps = False

    def __init__(self, made: Made) -> None:
        self.below, self.above = made.below, made.above
        self.parts = made.parts
        self.module: Any = made.link.module
        self.image = made.below.image
        self._centred = torch.empty(0)
        self._mean = self._scale = self._centred

    def forward(self, k: int, step: Step) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        y = self._centred = self.centre(self.last(self.below.value(k)), step)
        out = self.last(self.above.value(k))
        if "weight" in self.parts.weights:
            y = torch.mul(y, self.wide(self.parts.weights["weight"], k), out=out)
        if "bias" in self.parts.weights:
            y = torch.add(y, self.wide(self.parts.weights["bias"], k), out=out)
        if y is not out:
            out.copy_(y)

    def backward(self, k: int, step: Step, through: bool) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        d, targets, sign = self.last(self.above.grad(k)), self.parts.targets, self.parts.sign
        if through:
            weight = self.parts.weights.get("weight")
            inner = d if weight is None else d * self.wide(weight, k)
            self.last(self.below.grad(k)).copy_(self.back(inner, self.last(self.below.value(k)), step))
        for name, grad in (("weight", d * self._centred), ("bias", d)) if targets else ():
            if name in targets:
                targets[name][:k].add_(self.sums(grad).view(-1, targets[name].shape[1]), alpha=sign)

    def centre(self, x: Tensor, step: Step) -> Tensor:
        """Values of mean 0 and variance 1."""
        raise NotImplementedError

    def back(self, d: Tensor, x: Tensor, step: Step) -> Tensor:
        """The gradient below :meth:`centre`."""
        raise NotImplementedError

    def last(self, x: Tensor) -> Tensor:
        """Units or channels last: [lanes, width, units], or [width, height, columns, lanes * channels]."""
        return x.permute(0, 2, 3, 1) if self.image else x

    def wide(self, each: Tensor, k: int) -> Tensor:
        """Numbers [lanes, units] in a shape that goes with values."""
        return each.reshape(-1) if self.image else each[:k, None]

    def sums(self, x: Tensor) -> Tensor:
        """Over the samples of each lane: [lanes * channels], or [lanes, 1, units]."""
        return x.flatten(0, 2).sum(0) if self.image else x.sum(1, keepdim=True)


class Layer(Norm):
    """``nn.LayerNorm`` of rows."""

    def centre(self, x: Tensor, step: Step) -> Tensor:
        """See :class:`Norm`."""
        y: Tensor
        y, self._mean, self._scale = torch.native_layer_norm(x, x.shape[-1:], None, None, self.module.eps)
        return y

    def back(self, d: Tensor, x: Tensor, step: Step) -> Tensor:
        """See :class:`Norm`."""
        wanted = [True, False, False]
        grads = _aten.native_layer_norm_backward(d, x, x.shape[-1:], self._mean, self._scale, None, None, wanted)
        out: Tensor = grads[0]
        return out


class Group(Norm):
    """``nn.GroupNorm`` of images: every lane's groups are groups of their own."""

    def _sizes(self, x: Tensor) -> tuple[int, int, int, int]:
        width, height, columns, channels = x.shape
        return width, channels, height * columns, self.module.num_groups * self.below.lanes

    def centre(self, x: Tensor, step: Step) -> Tensor:
        """See :class:`Norm`."""
        first, eps = x.permute(0, 3, 1, 2).contiguous(), self.module.eps
        y, self._mean, self._scale = torch.native_group_norm(first, None, None, *self._sizes(x), eps)
        out: Tensor = y.permute(0, 2, 3, 1)
        return out

    def back(self, d: Tensor, x: Tensor, step: Step) -> Tensor:
        """See :class:`Norm`."""
        d, first = d.permute(0, 3, 1, 2).contiguous(), x.permute(0, 3, 1, 2).contiguous()
        sizes, wanted = self._sizes(x), [True, False, False]
        grads = _aten.native_group_norm_backward(d, first, self._mean, self._scale, None, *sizes, wanted)
        out: Tensor = grads[0]
        return out.permute(0, 2, 3, 1)


class Batch(Norm):
    """``nn.BatchNorm1d`` of rows and ``nn.BatchNorm2d`` of images; running statistics move with every step."""

    def centre(self, x: Tensor, step: Step) -> Tensor:
        """See :class:`Norm`."""
        self._real, self._count = self._counted(x, step)
        mean = self.sums(self._masked(x)) / self._count
        y = x - mean
        variance = self.sums(self._masked(y * y)) / self._count
        self._scale = (variance + self.module.eps).sqrt().reciprocal()
        self._keep(mean, variance, len(step.counts))
        return y * self._scale

    def back(self, d: Tensor, x: Tensor, step: Step) -> Tensor:
        """See :class:`Norm`."""
        mean = self.sums(d) / self._count
        slope = self.sums(d * self._centred) / self._count
        return self._masked((d - mean - self._centred * slope) * self._scale)

    def _counted(self, x: Tensor, step: Step) -> tuple[Tensor | None, Tensor]:
        """1 for samples and 0 for padding (None: no padding), and numbers averaged over."""
        width, lanes = self.below.width, self.below.lanes if self.image else len(x)
        counts = torch.tensor(step.counts + [width] * (lanes - len(step.counts)))
        real = None
        if min(step.counts) < width:
            real = (torch.arange(width) < counts[:, None]).float()
        if not self.image:
            return None if real is None else real[..., None], counts[:, None, None].float()
        each = x.shape[-1] // lanes
        over = (counts * (x.shape[1] * x.shape[2])).float().repeat_interleave(each)
        return None if real is None else real.t().repeat_interleave(each, 1)[:, None, None], over

    def _masked(self, x: Tensor) -> Tensor:
        return x if self._real is None else x * self._real

    def _keep(self, mean: Tensor, variance: Tensor, active: int) -> None:
        own, rate = self.parts.weights, self.module.momentum
        if "running_mean" not in own:
            return
        unbiased = variance * (self._count / (self._count - 1))
        for name, new in (("running_mean", mean), ("running_var", unbiased)):
            kept = own[name][:active]
            kept.mul_(1 - rate).add_(new.reshape(-1, kept.shape[1])[:active] * rate)


def layer(made: Made) -> Norm:
    """The layer of a module that :func:`takes` takes."""
    kinds = {nn.LayerNorm: Layer, nn.GroupNorm: Group}
    return kinds.get(type(made.link.module), Batch)(made)
