"""A first linear layer whose weights are changed once in many steps: the same sums, in products that are worth it.

Let X be the samples of some steps in a row and D_s the gradients of the layer's outputs in step s. Step t needs

    Z_t = X_t W_t' + b_t = X_t W_0' + b_0 - sum over s < t of (X_t X_s' + 1) D_s

because W_t = W_0 - sum D_s' X_s and b_t = b_0 - sum of the rows of D_s. So X W_0' + b_0 and X X' + 1 are computed for
all steps at once, a step costs a small product, and W_0 moves by D' X when the steps are over. Without momentum, decay
or a pull to the start, and only where inputs are data: that is why it is the first layer.

The large products are oneDNN's, one call per lane, always of the same shape for the same job.
"""

from typing import Any

import torch
from torch import Tensor, nn

from hocket.learning.kernels.kernel import Step
from hocket.learning.kernels.layers.layer import Made

MOST_ROWS = 128
LEAST_STEPS = 3


def available() -> bool:
    """Whether this build of torch can multiply with oneDNN."""
    return torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def span(updates: int, width: int) -> int:
    """Steps that a job with so many updates puts off at a time; it depends on nothing else.

    >>> span(10, 10), span(25, 10), span(1, 10), span(1000, 8)
    (10, 10, 1, 16)
    """
    most = max(1, MOST_ROWS // width)
    even = -(-updates // -(-updates // most))
    return even if even <= 2 else min(most, even + even % 2)


class Delayed:
    """``nn.Linear`` on the samples themselves."""

    keeps = False

    def __init__(self, made: Made) -> None:
        self.below, self.above = made.below, made.above
        self._parts = made.parts
        assert isinstance(made.link.module, nn.Linear)
        self._s = 0
        self._room = _Room(0, 0, 0, 0)
        self._samples = self._room.gram

    def load(self, inputs: Tensor) -> None:
        """Begin with samples [k, steps, width, units]."""
        k, steps, _, units = inputs.shape
        rows = steps * self.below.width
        own, targets = self._parts.weights, self._parts.targets
        if len(self._room.z) < k or self._room.z.shape[1] != rows:
            self._room = _Room(max(k, self.below.lanes), rows, self.above.shape[0], self.below.width)
        room, self._samples, self._s = self._room, inputs.reshape(k, rows, units), 0
        for i, x in enumerate(self._samples):
            bias = own["bias"][i] if "bias" in own else None
            room.z[i] = _product(x, own["weight"][i], bias)
            if "weight" in targets:
                room.gram[i] = _product(x, x, None)
        if "weight" not in targets:
            room.gram[:k].zero_()
        if "bias" in targets:
            room.gram[:k].add_(1)
        room.d[:k].zero_()

    def begin(self, s: int) -> None:
        """What is next is step s of the loaded ones."""
        self._s = s

    def forward(self, k: int, step: Step) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        w, room = self.below.width, self._room
        low = self._s * w
        z, out = room.z[:k, low : low + w], self.above.value(k)
        if low:
            torch.baddbmm(z, room.gram[:k, low : low + w, :low], room.d[:k, :low], alpha=-1, out=out)
        else:
            out.copy_(z)

    def backward(self, k: int, step: Step, through: bool) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        low = self._s * self.below.width
        self._room.d[:k, low : low + self.below.width].copy_(self.above.grad(k))

    def flush(self) -> None:
        """Move the weights."""
        targets, d = self._parts.targets, self._room.d
        k = len(self._samples)
        if "weight" in targets:
            for i, x in enumerate(self._samples):
                targets["weight"][i].sub_(_product(d[i].t(), x.t(), None))
        if "bias" in targets:
            targets["bias"][:k].sub_(d[:k].sum(1))


class _Room:
    """Outputs before the steps, inner products of samples, and gradients, of all lanes; rows begin at 16 bytes."""

    def __init__(self, lanes: int, rows: int, units: int, width: int) -> None:
        self.z = torch.zeros(lanes, rows, units)
        self.gram = torch.zeros(lanes, rows, -(-rows // 4) * 4)[:, :, :rows]
        self.d = torch.zeros(lanes, rows, units)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
