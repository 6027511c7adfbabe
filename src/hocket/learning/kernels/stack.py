"""Chains of layers by hand: forward and backward of many clients in a few batched operations.

The layers are found in the module's traced graph (see :mod:`hocket.learning.kernels.chain`). Images and rows are laid
out differently (see :class:`~hocket.learning.kernels.layers.plane.Plane`): a chain begins with images if a convolution
or a pooling comes first, and goes over to rows at its ``nn.Flatten``.
"""

from math import prod

import torch
from torch import Tensor, nn

from hocket.learning.kernels.chain import Link, Shape, chain
from hocket.learning.kernels.kernel import Step
from hocket.learning.kernels.layers import activation, image, pool
from hocket.learning.kernels.layers.dense import Dense
from hocket.learning.kernels.layers.layer import Layer, Made, Parts
from hocket.learning.kernels.layers.plane import ALIGN, Plane
from hocket.learning.kernels.layers.shape import Flatten
from hocket.learning.kernels.layers.top import Top
from hocket.learning.kernels.layers.top import takes as has_top
from hocket.learning.kernels.memory import Scratch
from hocket.learning.kernels.net import Net
from hocket.learning.kernels.objective import Objective
from hocket.schema import Kind

CACHE_BYTES = 1 << 23
MOST_LANES = 32
_CPU = torch.device("cpu")


class Stack:
    """The path of a chain; :meth:`of` says whether a model is one.

    ``fixed``: lanes that every block has, whatever the number of jobs, where an operation's bits depend on it; 0:
    any number from 2.
    """

    keyed = False

    def __init__(self, net: Net, objective: Objective, links: list[Link], fixed: int, name: str) -> None:
        self.net = net
        self.objective = objective
        self.links = links
        self.fixed = fixed
        self.name = name
        self.least = fixed or 2
        self.images = fixed > 0

    @classmethod
    def of(cls, net: Net, objective: Objective, device: torch.device, sample: Tensor, lanes: int = 8) -> "Stack | None":
        """The kernel, None for a model, a loss or a device that it does not take.

        Args:
            net: the model.
            objective: the loss.
            device: where to compute.
            sample: two samples as the model sees them.
            lanes: of a block, for a model with images.
        """
        if device.type != "cpu" or sample.dtype != torch.float32:
            return None
        if any(s.kind is Kind.BUFFER for s in net.schema.segments):
            return None
        links = chain(net.module, sample)
        if not links or not has_top(objective, links[-1].after):
            return None
        images = here = any(_by_image(link) for link in links)
        kept = []
        for link in links:
            flat = type(link.module) is nn.Flatten and len(link.after) == 1
            if not flat and not _taken(link, here):
                return None
            if (here or not flat) and type(link.module) is not nn.Identity:
                kept.append(link)
            here = here and not flat
        if here or not any(type(link.module) in (nn.Linear, nn.Conv2d) for link in kept):
            return None
        return cls(net, objective, kept, lanes if images else 0, f"stack {lanes}" if images else "stack")

    def most(self, width: int) -> int:
        """As many lanes as keep parameters in the cache; at least two."""
        return self.fixed or max(2, min(MOST_LANES, CACHE_BYTES // self.net.schema.nbytes))

    def work(self, lanes: int, width: int, velocity: bool) -> "Lanes":
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return Lanes(self, lanes, width, velocity)


class Lanes:
    """Buffers of a chain; see :class:`~hocket.learning.kernels.kernel.Work`."""

    def __init__(self, kernel: Stack, lanes: int, width: int, velocity: bool) -> None:
        net = kernel.net
        self.x = _rows(net, lanes)
        self.out = _rows(net, lanes) if velocity else self.x
        weights, targets = _views(net, self.x), _views(net, self.out)
        weights.update({n: t.expand(lanes, *t.shape) for n, t in net.frozen.items()})
        self.room = Scratch()
        self._images = kernel.images
        links = kernel.links
        plane = _plane(net, lanes, width, links[0].before, kernel.images)
        self._first, before = plane, None
        self._layers: list[Layer] = []
        for link in links:
            parts = Parts(_within(weights, link.prefix), _within(targets, link.prefix), 1 if velocity else -1)
            above = _plane(net, lanes, width, link.after, plane.image and type(link.module) is not nn.Flatten)
            before = _layer(Made(link, parts, plane, above, before is not None and not before.keeps))
            self._layers.append(before)
            plane = before.above
        self._top = Top(kernel.objective, plane)
        learns = [bool(_within(targets, link.prefix)) for link in links]
        self._deepest = learns.index(True)
        self._inputs = self._targets = self.x

    def load(self, inputs: Tensor, targets: Tensor) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        self._inputs, self._targets = inputs, targets

    def step(self, s: int, k: int, scale: Tensor, step: Step) -> Tensor:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        if self._images:
            self._first.value(k).copy_(self._inputs[s].flatten(1, 2))
        else:
            self._first.use(self._inputs[:k, s].flatten(2))
        return self._pass(s, k, scale, step)

    def _pass(self, s: int, k: int, scale: Tensor, step: Step) -> Tensor:
        for layer in self._layers:
            layer.forward(k, step)
        losses = self._top.step(k, self._targets[:k, s], scale)
        for i in range(len(self._layers) - 1, self._deepest - 1, -1):
            self._layers[i].backward(k, step, i > self._deepest)
        return losses

    def flush(self) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""


def _rows(net: Net, lanes: int) -> Tensor:
    size = net.schema.size
    return net.memory.take((lanes, -(-size // ALIGN) * ALIGN), torch.float32, _CPU)[:, :size]


def _plane(net: Net, lanes: int, width: int, shape: Shape, images: bool) -> Plane:
    return Plane(net.memory, lanes, width, shape if images else (prod(shape),), images)


def _by_image(link: Link) -> bool:
    return image.takes(link.module) or pool.takes(link.module)


def _taken(link: Link, images: bool) -> bool:
    module = link.module
    if type(module) is nn.Identity or type(module) in activation.TAKEN:
        return True
    return len(link.before) == 3 and _by_image(link) if images else type(module) is nn.Linear and len(link.before) == 1


def _layer(made: Made) -> Layer:
    module = made.link.module
    if type(module) is nn.Linear:
        return Dense(made)
    if type(module) is nn.Conv2d:
        return image.Conv(made)
    if type(module) is nn.Flatten:
        return Flatten(made)
    if pool.tiles(module):
        return pool.Tiles(made)
    if type(module) in pool.TAKEN:
        return pool.Pool(made)
    return activation.layer(made)


def _within(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return {n: t for n, t in own.items() if "." not in n}


def _views(net: Net, x: Tensor) -> dict[str, Tensor]:
    parts = torch.split(x, [s.size for s in net.schema.travelling], 1)
    pairs = zip(net.schema.travelling, parts, strict=True)
    return {s.name: x.as_strided((len(x), *s.shape), _strides(x, s.shape), p.storage_offset()) for s, p in pairs}


def _strides(x: Tensor, shape: Shape) -> tuple[int, ...]:
    return (x.stride(0), *torch.empty(shape, device="meta").stride())
