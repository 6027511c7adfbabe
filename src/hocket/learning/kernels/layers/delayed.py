"""A first linear layer whose weights are changed once in many steps: the same sums, in products that are worth it.

Let X be samples [R, units] that steps draw rows from, and D [R, outputs] the sum of the gradients of the layer's
outputs so far, each in the row of its sample. A step on rows B needs

    Z_B = X_B W' + b = X_B W_0' + b_0 - (X_B X' + 1) D

because W = W_0 - D' X and b = b_0 - the sum of the rows of D. So X W_0' + b_0 and X X' + 1 are computed for all steps
at once, a step costs a small product, and W_0 moves by D' X when the steps are over. Without momentum, decay or a pull
to the start, and only where inputs are data: that is why it is the first layer.

X are all samples of a client where a job goes through them all and they are few, so that one load is enough for any
number of passes and nothing is gathered; else those of some steps.

The large products are oneDNN's, one call per lane, always of the same shape for the same job.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from hocket.learning.kernels.kernel import Span, Step
from hocket.learning.kernels.layers.layer import Made
from hocket.learning.kernels.memory import Scratch
from hocket.learning.kernels.samples import Drawn
from hocket.learning.local import LocalSGD

MOST_ROWS = 128
LEAST_STEPS = 3
LEAST_FEATURES = 2 * MOST_ROWS
"""Units below, fewer than which make a step on the samples themselves cheaper than one on their inner products."""
_PLACES = 16
"""What the places for a client's own samples are a multiple of, so that clients of like sizes share a block."""


def available() -> bool:
    """Whether this build of torch can multiply with oneDNN."""
    return torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def takes(local: LocalSGD, width: int) -> bool:
    """Whether anything can be put off in local work of this kind."""
    plain = not (local.momentum or local.weight_decay or local.proximal)
    return plain and MOST_ROWS // width >= LEAST_STEPS


def span(local: LocalSGD, size: int, width: int) -> Span:
    """What a job of a client with ``size`` samples puts off at a time; it depends on nothing else.

    >>> ten = LocalSGD(lr=1.0, batch_size=10, steps=10)
    >>> span(ten, 100, 10), span(ten, 70, 10), span(ten, 500, 10)
    (Span(steps=0, rows=112), Span(steps=0, rows=80), Span(steps=10, rows=0))
    >>> [span(LocalSGD(lr=1.0, batch_size=10, steps=n), 500, 10).steps for n in (1, 25)]
    [1, 10]
    """
    if size <= MOST_ROWS and local.samples(size) >= size:
        return Span(rows=-(-size // _PLACES) * _PLACES)
    updates = local.updates(size)
    most = max(1, MOST_ROWS // width)
    even = -(-updates // -(-updates // most))
    return Span(even if even <= 2 else min(most, even + even % 2))


class Delayed:
    """``nn.Linear`` on the samples themselves."""

    keeps = False

    def __init__(self, made: Made) -> None:
        self.below, self.above = made.below, made.above
        self._parts = made.parts
        assert isinstance(made.link.module, nn.Linear)
        self._rooms: dict[int, _Room] = {}
        self._room = _Room(0, 0, 0)
        self._gathered = Scratch()
        self._samples: list[Tensor] = []
        self._places = self._place = self._room.z
        self._weights: Sequence[Tensor] = []
        self._weight, self._once = slice(0), False

    def begin(self, starts: Sequence[Tensor], span: Span) -> list[slice]:
        """Begin with start vectors; the parts of a vector that are to be copied to the lanes.

        A weight that moves only once is read where it is and never copied: its change alone is computed.
        """
        weight, size = self._parts.weights["weight"], len(starts[0])
        first, n = int(weight.storage_offset()), weight[0].numel()
        self._samples, self._weight = [], slice(first, first + n)
        self._once = span.rows > 0 and "weight" in self._parts.targets
        if not self._once:
            self._weights = weight.unbind()
            return [slice(0, size)]
        self._weights = [start[self._weight].view(weight.shape[1:]) for start in starts]
        return [part for part in (slice(0, first), slice(first + n, size)) if part.start < part.stop]

    def load(self, drawn: Drawn) -> None:
        """Begin with the samples of some steps, when those before are over."""
        self._flush()
        steps, k, width = drawn.rows.shape
        if drawn.whole:
            self._samples = [drawn.own(i).flatten(1) for i in range(k)]
            places, rows = torch.from_numpy(drawn.rows), drawn.whole
        else:
            self._samples = list(drawn.inputs(self._gathered).view(k, steps * width, -1))
            places = torch.arange(steps * width).view(steps, 1, width).expand(steps, k, width)
            rows = -(-steps * width // 4) * 4
        room = self._rooms.get(rows)
        if room is None or len(room.z) < k:
            room = self._rooms[rows] = _Room(max(k, self.below.lanes), rows, self.above.shape[0])
        self._room = room
        self._places = (places + rows * torch.arange(k)[:, None]).view(steps, k * width)
        own, targets = self._parts.weights, self._parts.targets
        bias = own["bias"].unbind() if "bias" in own else [None] * k
        for lane, (x, w, b) in enumerate(zip(self._samples, self._weights, bias, strict=False)):
            n, gram = len(x), room.gram[lane]
            room.z[lane, :n] = product(x, w, b)
            if "weight" in targets:
                gram[:n, :n] = drawn.inner(lane, x, product) if drawn.whole else product(x, x)
        if "weight" not in targets:
            room.gram[:k].zero_()
        if "bias" in targets:
            room.gram[:k].add_(1)
        room.d[:k].zero_()

    def at(self, s: int) -> None:
        """What is next is step s of the loaded ones."""
        self._place = self._places[s]

    def forward(self, k: int, step: Step) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        w, room = self.below.width, self._room
        place = self._place[: k * w]
        z = room.z.flatten(0, 1).index_select(0, place).view(k, w, -1)
        gram = room.gram.flatten(0, 1).index_select(0, place).view(k, w, -1)
        torch.baddbmm(z, gram, room.d[:k], alpha=-1, out=self.above.value(k))

    def backward(self, k: int, step: Step, through: bool) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        d, grad = self._room.d, self.above.grad(k)
        d.view(-1, d.shape[2]).index_add_(0, self._place[: k * self.below.width], grad.reshape(-1, d.shape[2]))

    def end(self, outs: Sequence[Tensor]) -> None:
        """The steps are over; write what a weight that moves only once has changed by."""
        if self._once:
            for out, change in zip(outs, self._changes(), strict=False):
                torch.neg(change, out=out[self._weight].view(change.shape))
        self._flush()

    def _flush(self) -> None:
        """Move the weights, as far as that was put off."""
        targets, k = self._parts.targets, len(self._samples)
        if "weight" in targets and not self._once:
            for weight, change in zip(targets["weight"], self._changes(), strict=False):
                weight.sub_(change)
        if "bias" in targets and k:
            targets["bias"][:k].sub_(self._room.d[:k].sum(1))
        self._samples = []

    def _changes(self) -> Iterator[Tensor]:
        """D' X of the lanes."""
        d = self._room.d[: len(self._samples)].transpose(1, 2).contiguous()
        for own, x in zip(d, self._samples, strict=True):
            yield product(own[:, : len(x)], x.t())


class _Room:
    """Outputs before the steps, inner products of samples, and gradients, of all lanes; unused places are finite."""

    def __init__(self, lanes: int, rows: int, units: int) -> None:
        self.z = torch.zeros(lanes, rows, units)
        self.gram = torch.zeros(lanes, rows, rows)
        self.d = torch.zeros(lanes, rows, units)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X W' + b by oneDNN, float32; the same bits for the same shapes, in one thread."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found
