"""Chains of layers by hand: forward and backward of many clients in a few batched operations.

The layers are found in the module's traced graph (see :mod:`hocket.learning.kernels.chain`). Images and rows are laid
out differently (see :class:`~hocket.learning.kernels.layers.plane.Plane`): a chain begins with images if a convolution
or a pooling comes first, and goes over to rows at its ``nn.Flatten``.
"""

from math import prod

import torch
from torch import Tensor, nn

from hocket.learning.kernels.chain import Link, chain
from hocket.learning.kernels.compiled import Compiled
from hocket.learning.kernels.dropout import KeyedDropout
from hocket.learning.kernels.kernel import Span
from hocket.learning.kernels.lanes import Lanes
from hocket.learning.kernels.layers import activation, delayed, image, norm, pool
from hocket.learning.kernels.layers.top import takes as has_top
from hocket.learning.kernels.net import Net
from hocket.learning.kernels.objective import Objective
from hocket.learning.local import LocalSGD
from hocket.schema import Kind

CACHE_BYTES = 1 << 23
MOST_LANES = 32


class Stack:
    """The path of a chain; :meth:`of` says whether a model is one.

    ``fixed``: lanes that every block has, whatever the number of jobs, where an operation's bits depend on it; 0:
    any number from 2. ``delays``: the first layer moves once in many steps.
    """

    def __init__(self, net: Net, objective: Objective, links: list[Link], fixed: int = 0, delays: bool = False) -> None:
        self.net = net
        self.objective = objective
        self.links = links
        self.fixed = fixed
        self.delays = delays
        self.name = "delayed" if delays else f"stack-{fixed}" if fixed else "stack"
        self.least = fixed or 2
        self.images = fixed > 0
        self.keyed = net.keyed

    @classmethod
    def all_of(cls, net: Net, objective: Objective, device: torch.device, sample: Tensor) -> "list[Stack | Compiled]":
        """The kernels of a model; none for a model, a loss or a device that they do not take.

        Args:
            net: the model.
            objective: the loss.
            device: where to compute.
            sample: two samples as the model sees them.
        """
        if device.type != "cpu" or sample.dtype != torch.float32 or net.tied:
            return []
        links = chain(net.module, sample)
        if not links or not has_top(objective, links[-1].after):
            return []
        images = here = any(_by_image(link) for link in links)
        kept = []
        for link in links:
            flat = type(link.module) is nn.Flatten and len(link.after) == 1
            if not flat and not _taken(link, here):
                return []
            if (here or not flat) and not _idle(link):
                kept.append(link)
            here = here and not flat
        known = {link.prefix + name for link in kept for name in ("running_mean", "running_var")}
        if any(s.kind is Kind.BUFFER and s.name not in known for s in net.schema.segments):
            return []
        if here or not any(type(link.module) in (nn.Linear, nn.Conv2d) for link in kept):
            return []
        if images:
            return [cls(net, objective, kept, fixed) for fixed in (8, 1)]
        delays = type(kept[0].module) is nn.Linear and delayed.available()
        whole = Compiled.of(net, objective, kept)
        stacks = [cls(net, objective, kept, delays=d) for d in ([True, False] if delays else [False])]
        if prod(links[0].before) < delayed.LEAST_FEATURES:
            stacks.reverse()
        return [*([whole] if whole is not None else []), *stacks]

    def takes(self, local: LocalSGD, width: int) -> bool:
        """Whether the kernel is for local work of this kind."""
        return not self.delays or delayed.takes(local, width)

    def span(self, local: LocalSGD, size: int, width: int) -> Span:
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return delayed.span(local, size, width) if self.delays else Span()

    def most(self, width: int) -> int:
        """As many lanes as keep parameters, and samples if they are needed again, in the cache; at least two."""
        each = self.net.schema.nbytes
        if self.delays:  # samples are read twice, parameters too, and the steps in between touch neither
            each = (each + 4 * delayed.MOST_ROWS * prod(self.links[0].before)) // 2
        return self.fixed or max(2, min(MOST_LANES, CACHE_BYTES // each))

    def work(self, lanes: int, width: int, velocity: bool) -> "Lanes":
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return Lanes(self, lanes, width, velocity)


def _idle(link: Link) -> bool:
    return type(link.module) is nn.Identity or (type(link.module) is KeyedDropout and not link.module.p)


def _by_image(link: Link) -> bool:
    return image.takes(link.module) or pool.takes(link.module)


def _taken(link: Link, images: bool) -> bool:
    module = link.module
    if _idle(link) or type(module) in activation.TAKEN or norm.takes(link, images):
        return True
    if type(module) is KeyedDropout:
        return len(link.before) == (3 if images else 1)
    return len(link.before) == 3 and _by_image(link) if images else type(module) is nn.Linear and len(link.before) == 1
