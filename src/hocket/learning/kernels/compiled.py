"""Chains of linear layers, one client after another: large products by a library, all steps in compiled loops.

The first layer moves once in many steps (see :mod:`hocket.learning.kernels.layers.delayed`), so that what is left of a
step are a few small products, for which :mod:`hocket.learning.kernels.loops` is faster than calls of a library for
many clients at once. No client's bits depend on another.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hocket.learning.kernels.chain import Link
from hocket.learning.kernels.kernel import Span
from hocket.learning.kernels.layers import delayed
from hocket.learning.kernels.memory import Scratch
from hocket.learning.kernels.net import Net
from hocket.learning.kernels.objective import Objective, cross_entropy
from hocket.learning.kernels.samples import Drawn
from hocket.learning.local import LocalSGD
from hocket.schema import Kind

RELU, TANH, SIGMOID = 1, 2, 3
ACTIVATIONS: dict[type[nn.Module], int] = {nn.ReLU: RELU, nn.Tanh: TANH, nn.Sigmoid: SIGMOID}
MOST_CLIENTS = 8
MOST_ABOVE = 1 << 18
"""Weights above the first layer, more than which do not stay in the cache from one sample to the next."""


class Compiled:
    """The path of such a chain; :meth:`of` says whether a model is one."""

    name = "compiled"
    least = 1
    keyed = False

    def __init__(self, net: Net, layers: Sequence[tuple[Link, int]]) -> None:
        self.net = net
        self._layers = layers

    @classmethod
    def of(cls, net: Net, objective: Objective, links: Sequence[Link]) -> "Compiled | None":
        """The kernel of a model; None if it is not linear layers with activations that are all trained, for classes,
        or the loops cannot be compiled here."""
        layers: list[tuple[Link, int]] = []
        for link in links:
            kind = ACTIVATIONS.get(type(link.module), 0)
            if type(link.module) is nn.Linear:
                layers.append((link, 0))
            elif not kind or not layers or layers[-1][1]:
                return None
            else:
                layers[-1] = (layers[-1][0], kind)
        trained = all(s.kind is Kind.TRAINABLE for s in net.schema.segments)
        above = sum(link.before[0] * link.after[0] for link, _ in layers[1:])
        if objective.loss is not cross_entropy or not trained or layers[-1][1] or above > MOST_ABOVE:
            return None
        return cls(net, layers) if find_spec("numba") and delayed.available() else None

    def takes(self, local: LocalSGD, width: int) -> bool:
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return delayed.takes(local, width)

    def span(self, local: LocalSGD, size: int, width: int) -> Span:
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return delayed.span(local, size, width)

    def most(self, width: int) -> int:
        """Clients whose batches are drawn at a time."""
        return MOST_CLIENTS

    def work(self, lanes: int, width: int, velocity: bool) -> "Loops":
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return Loops(self.net, self._layers, lanes)


class Loops:
    """Parameters of some clients, and their steps; see :class:`~hocket.learning.kernels.kernel.Whole`."""

    def __init__(self, net: Net, layers: Sequence[tuple[Link, int]], lanes: int) -> None:
        size = net.schema.size
        self.x = net.memory.take((lanes, size), torch.float32, torch.device("cpu"))
        places = dict(zip((s.name for s in net.schema.segments), _offsets(net), strict=True))
        self._table = np.array(
            [
                (link.after[0], kind, places[f"{link.prefix}weight"], places.get(f"{link.prefix}bias", -1))
                for link, kind in layers
            ],
            np.int64,
        )
        self._units, self._features = layers[0][0].after[0], layers[0][0].before[0]
        at = int(self._table[0, 2])
        self._weight = slice(at, at + self._units * self._features)
        self._bias = slice(int(self._table[0, 3]), int(self._table[0, 3]) + self._units)
        self._others = [p for p in (slice(0, at), slice(self._weight.stop, size)) if p.start < p.stop]
        self._gathered = Scratch()
        self._once = False
        self._starts: Sequence[Tensor] = []
        self._outs: Sequence[Tensor] = []

    def begin(self, starts: Sequence[Tensor], outs: Sequence[Tensor], span: Span) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        self._starts, self._outs, self._once = starts, outs, span.rows > 0
        for x, start in zip(self.x, starts, strict=False):
            for part in self._others if self._once else [slice(0, len(start))]:
                x[part].copy_(start[part])

    def run(self, drawn: Drawn, scale: NDArray[np.float32], active: Sequence[int]) -> NDArray[np.float32]:
        """See :class:`~hocket.learning.kernels.kernel.Whole`."""
        steps, k, width = drawn.rows.shape
        scales = np.ascontiguousarray(scale.transpose(1, 0, 2))
        labels = drawn.targets().numpy()
        losses = np.zeros((k, steps, width), np.float32)
        if drawn.whole:
            rows = np.ascontiguousarray(drawn.rows.transpose(1, 0, 2))
        else:
            gathered = drawn.inputs(self._gathered).view(k, steps * width, -1)
            rows = np.broadcast_to(np.arange(steps * width).reshape(1, steps, width), (k, steps, width)).copy()
        bias = self._table[0, 3] >= 0
        for i in range(k):
            own = self.x[i]
            x = drawn.own(i).flatten(1) if drawn.whole else gathered[i]
            weight = (self._starts[i] if self._once else own)[self._weight].view(self._units, self._features)
            z = delayed.product(x, weight, own[self._bias] if bias else None)
            gram = drawn.products(i, x, delayed.product) if drawn.whole else delayed.product(x, x)
            moved = torch.empty(self._units, len(x))
            _descend()(
                z.numpy(), gram.numpy(), float(bias), rows[i], scales[i], labels[i], own.numpy(), self._table,
                moved.numpy(), losses[i],
            )  # fmt: skip
            change = delayed.product(moved, x.t()).view(-1)
            if self._once:
                self._outs[i][self._weight].copy_(change)
            else:
                own[self._weight].add_(change)
        return losses.transpose(1, 0, 2)

    def end(self) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        for x, start, out in zip(self.x, self._starts, self._outs, strict=False):
            for part in self._others if self._once else [slice(0, len(start))]:
                torch.sub(x[part], start[part], out=out[part])
        self._starts = self._outs = []


def _offsets(net: Net) -> list[int]:
    sizes = [s.size for s in net.schema.segments]
    return [sum(sizes[:i]) for i in range(len(sizes))]


@cache
def _descend() -> Any:
    """Compiled when it is first needed, which takes seconds, and kept on disk."""
    from hocket.learning.kernels import loops

    return loops.descend
