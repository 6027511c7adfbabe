"""Chains of linear layers, one client after another: large products by a library, all steps in compiled loops.

The first layer moves once in many steps (see :mod:`hocket.learning.kernels.layers.delayed`), so that what is left of a
step are a few small products, for which :mod:`hocket.learning.kernels.loops` is faster than calls of a library for
many clients at once. No client's bits depend on another.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hocket.keyed import MASK
from hocket.learning.kernels.chain import Link
from hocket.learning.kernels.kernel import Span
from hocket.learning.kernels.layers import delayed
from hocket.learning.kernels.memory import Scratch
from hocket.learning.kernels.net import Net
from hocket.learning.kernels.objective import Objective, cross_entropy
from hocket.learning.kernels.samples import Samples
from hocket.learning.learner import Job, Trained
from hocket.learning.local import LocalSGD
from hocket.learning.order import ORDER
from hocket.schema import Kind, Vector

Ints = NDArray[np.int64]
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
        """Clients whose results come at a time."""
        return MOST_CLIENTS

    def work(self, lanes: int, width: int, velocity: bool) -> "Loops":
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return Loops(self.net, self._layers)


class Loops:
    """Parameters of a client, and its steps; see :class:`~hocket.learning.kernels.kernel.Whole`."""

    def __init__(self, net: Net, layers: Sequence[tuple[Link, int]]) -> None:
        size = net.schema.size
        self._x = np.empty(size, np.float32)
        self._flat = torch.from_numpy(self._x)
        places = dict(zip((s.name for s in net.schema.segments), _offsets(net), strict=True))
        self._table = np.array(
            [
                (link.after[0], kind, places[f"{link.prefix}weight"], places.get(f"{link.prefix}bias", -1))
                for link, kind in layers
            ],
            np.int64,
        )
        self._shape = units, features = layers[0][0].after[0], layers[0][0].before[0]
        weight, bias = self._table[0, 2:].tolist()
        self._weight = slice(weight, weight + units * features)
        self._bias = slice(bias, bias + units) if bias >= 0 else None
        self._others = [p for p in (slice(0, weight), slice(self._weight.stop, size)) if p.start < p.stop]
        self._gathered = Scratch()

    def train(self, samples: Samples, wide: int, jobs: Sequence[Job], outs: Sequence[Vector]) -> list[Trained]:
        """See :class:`~hocket.learning.kernels.kernel.Whole`."""
        local, sizes = jobs[0].local, [int(samples.sizes[job.client]) for job in jobs]
        span, most = delayed.span(local, sizes[0], wide), local.updates(sizes[0])
        length = span.steps or most
        rows = np.empty((-(-most // length) * length, wide), np.int64)
        scale = np.empty(rows.shape, np.float32)
        losses = np.zeros((len(jobs), *rows.shape), np.float32)
        starts: dict[int, _Start] = {}
        for job, size, out, found in zip(jobs, sizes, outs, losses, strict=True):
            lap = 0 if local.epochs is None else -(-size // local.batch_size)
            seed, rate = np.uint64(job.seed & MASK), local.rate(job.version)
            _loops().draw(seed, np.uint64(ORDER), size, local.batch_size, lap, local.updates(size), rate, rows, scale)
            if span.rows:
                if (start := starts.get(id(job.start))) is None:
                    start = starts[id(job.start)] = self._first(job.start, samples.shared(job.start))
                self._once(samples, job.client, rows, scale, start, out, found)
            else:
                self._often(samples, job.client, rows, scale, length, job.start, out, found)
        counted = [local.samples(size) for size in sizes]
        sums = sum(losses.sum(2, dtype=np.float64).T, np.zeros(len(jobs)))
        lanes = zip(outs, counted, sums.tolist(), strict=True)
        return [Trained(out, n, {"loss": loss / n}) for out, n, loss in lanes]

    def _first(self, x: Vector, flat: Tensor) -> "_Start":
        bias = None if self._bias is None else flat[self._bias]
        return _Start(x, flat[self._weight].view(self._shape), bias)

    def _once(
        self,
        samples: Samples,
        client: int,
        rows: Ints,
        scale: Vector,
        start: "_Start",
        out: Vector,
        losses: Vector,
    ) -> None:
        """All steps of a job on a client's own samples as they lie: the change of the first weights is enough."""
        own, x, first = self._x, samples.own(client).flatten(1), int(samples.offsets[client])
        for part in self._others:
            own[part] = start.x[part]
        gram = samples.inner(client, x, delayed.product)
        labels = samples.labels[first : first + len(x)]
        out[self._weight] = self._change(x, labels, gram, rows, scale, start, losses)
        for part in self._others:
            np.subtract(own[part], start.x[part], out=out[part])

    def _often(
        self, samples: Samples, client: int, rows: Ints, scale: Vector, length: int, start: Vector, out: Vector,
        losses: Vector,
    ) -> None:  # fmt: skip
        """Some steps of a job at a time, on samples gathered for them, one place for each."""
        own, width = self._x, rows.shape[1]
        own[:] = start
        places = np.arange(length * width).reshape(length, width)
        index = torch.from_numpy(rows.ravel()) + int(samples.offsets[client])
        for low in range(0, len(rows), length):
            part, at = slice(low, low + length), index[low * width : (low + length) * width]
            x = samples.gathered(at, self._gathered).flatten(1)
            labels = samples.labels[at]
            now = self._first(own, self._flat)
            gram = delayed.product(x, x)
            own[self._weight] += self._change(x, labels, gram, places, scale[part], now, losses[part])
        np.subtract(own, start, out=out)

    def _change(
        self,
        x: Tensor,
        labels: Tensor,
        gram: Tensor,
        rows: Ints,
        scale: Vector,
        start: "_Start",
        losses: Vector,
    ) -> Vector:
        """What the first weights change by in some steps on samples ``x``; the other parameters move."""
        z = delayed.product(x, start.weight, start.bias)
        moved = torch.empty(len(start.weight), len(x))
        _loops().descend(
            z.numpy(), gram.numpy(), float(start.bias is not None), rows, scale, labels.numpy(), self._x, self._table,
            moved.numpy(), losses,
        )  # fmt: skip
        change: Vector = delayed.product(moved, x.t()).numpy()
        return change.ravel()


class _Start(NamedTuple):
    """A vector, and the parameters of its first layer."""

    x: Vector
    weight: Tensor
    bias: Tensor | None


def _offsets(net: Net) -> list[int]:
    sizes = [s.size for s in net.schema.segments]
    return [sum(sizes[:i]) for i in range(len(sizes))]


@cache
def _loops() -> Any:
    """Compiled when they are first needed, which takes seconds, and kept on disk."""
    from hocket.learning.kernels import loops

    return loops
