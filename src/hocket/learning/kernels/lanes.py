"""Buffers of a chain of layers, and its steps: forward, losses, backward."""

from collections.abc import Sequence
from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn

from hocket.learning.kernels.chain import Link, Shape
from hocket.learning.kernels.dropout import KeyedDropout
from hocket.learning.kernels.kernel import Span, Step
from hocket.learning.kernels.layers import activation, image, norm, pool
from hocket.learning.kernels.layers.delayed import Delayed
from hocket.learning.kernels.layers.dense import Dense
from hocket.learning.kernels.layers.drop import Drop
from hocket.learning.kernels.layers.layer import Layer, Made, Parts
from hocket.learning.kernels.layers.plane import Plane
from hocket.learning.kernels.layers.shape import Flatten
from hocket.learning.kernels.layers.top import Top
from hocket.learning.kernels.memory import Scratch
from hocket.learning.kernels.net import Net
from hocket.learning.kernels.objective import Objective
from hocket.learning.kernels.samples import Drawn


class Chain(Protocol):
    """What the buffers are made for."""

    net: Net
    objective: Objective
    links: list[Link]
    images: bool
    delays: bool


class Lanes:
    """Buffers of a chain; see :class:`~hocket.learning.kernels.kernel.Work`."""

    def __init__(self, kernel: Chain, lanes: int, width: int, velocity: bool) -> None:
        net = kernel.net
        self.x = net.rows(lanes)
        self.out = net.rows(lanes) if velocity else self.x
        weights, targets = net.views(self.x), net.views(self.out)
        weights.update({n: t.expand(lanes, *t.shape) for n, t in net.frozen.items()})
        self._room = Scratch()
        self._images = kernel.images
        links = kernel.links
        plane = _plane(net, lanes, width, links[0].before, kernel.images)
        self._first = plane
        self._lent = type(links[0].module) is nn.Linear  # it only reads, and nothing of what lies between lanes
        before: Layer | None = None
        self._layers: list[Layer] = []
        self._delayed: Delayed | None = None
        for link in links:
            parts = Parts(_within(weights, link.prefix), _within(targets, link.prefix), 1 if velocity else -1)
            above = _plane(net, lanes, width, link.after, plane.image and type(link.module) is not nn.Flatten)
            made = Made(link, parts, plane, above, before is not None and not before.keeps)
            if kernel.delays and before is None:
                before = self._delayed = Delayed(made)
            else:
                before = _layer(made)
            self._layers.append(before)
            plane = before.above
        self._top = Top(kernel.objective, plane)
        learns = [bool(_within(targets, link.prefix)) for link in links]
        self._deepest = learns.index(True)
        self._inputs = self._targets = self.x
        self._own = [slice(0, net.schema.size)]
        self._starts: Sequence[Tensor] = []
        self._outs: Sequence[Tensor] = []

    def begin(self, starts: Sequence[Tensor], outs: Sequence[Tensor], span: Span) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        self._starts, self._outs = starts, outs
        if self._delayed is not None:
            self._own = self._delayed.begin(starts, span)
        for part in self._own:
            for x, start in zip(self.x[:, part], starts, strict=False):
                x.copy_(start[part])

    def load(self, drawn: Drawn) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        self._targets = drawn.targets()
        if self._delayed is not None:
            self._delayed.load(drawn)
        else:
            self._inputs = drawn.inputs(self._room, self._images)

    def step(self, s: int, k: int, scale: Tensor, step: Step) -> Tensor:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        if self._delayed is not None:
            self._delayed.at(s)
        elif self._images:
            self._first.value(k).copy_(self._inputs[s].flatten(1, 2))
        elif self._lent:
            self._first.use(self._inputs[:k, s].flatten(2))
        else:
            self._first.value(k).copy_(self._inputs[:k, s].flatten(2))
        for layer in self._layers:
            layer.forward(k, step)
        losses = self._top.step(k, self._targets[:k, s], scale)
        for i in range(len(self._layers) - 1, self._deepest - 1, -1):
            self._layers[i].backward(k, step, i > self._deepest)
        return losses

    def end(self) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        if self._delayed is not None:
            self._delayed.end(self._outs)
        for part in self._own:
            for x, start, out in zip(self.x[:, part], self._starts, self._outs, strict=False):
                torch.sub(x, start[part], out=out[part])
        self._starts = self._outs = []


def _plane(net: Net, lanes: int, width: int, shape: Shape, images: bool) -> Plane:
    return Plane(net.memory, lanes, width, shape if images else (prod(shape),), images)


def _layer(made: Made) -> Layer:
    module = made.link.module
    if type(module) is nn.Linear:
        return Dense(made)
    if type(module) is nn.Conv2d:
        return image.Conv(made)
    if type(module) is nn.Flatten:
        return Flatten(made)
    if type(module) is nn.MaxPool2d:
        return pool.MaxPool(made)
    if type(module) is KeyedDropout:
        return Drop(made)
    if isinstance(module, nn.GroupNorm | nn.LayerNorm | nn.BatchNorm1d | nn.BatchNorm2d):
        return norm.layer(made)
    if type(module) in pool.TAKEN:
        return pool.Pool(made)
    return activation.layer(made)


def _within(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return {n: t for n, t in own.items() if "." not in n}
