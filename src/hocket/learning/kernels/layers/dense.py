"""A linear layer. With inputs X and the gradient D of the outputs, for one client,

    Z = X W' + b      dX = D W      W += -D' X      b += -sum D

``baddbmm`` gives a lane the same bits in every batch of two lanes or more when torch computes in one thread, and
writes the gradient straight into the parameters.
"""

import torch

from hocket.learning.kernels.kernel import Step
from hocket.learning.kernels.layers.layer import Made


class Dense:
    """``nn.Linear`` on values [lanes, width, units]."""

    keeps = False

    def __init__(self, made: Made) -> None:
        self.below, self.above = made.below, made.above
        self._parts = made.parts

    def forward(self, k: int, step: Step) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        own, x, z = self._parts.weights, self.below.value(k), self.above.value(k)
        weight = own["weight"][:k].transpose(1, 2)
        if "bias" in own:
            torch.baddbmm(own["bias"][:k, None], x, weight, out=z)
        else:
            torch.bmm(x, weight, out=z)

    def backward(self, k: int, step: Step, through: bool) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        d, targets, sign = self.above.grad(k), self._parts.targets, self._parts.sign
        if through:
            torch.bmm(d, self._parts.weights["weight"][:k], out=self.below.grad(k))
        if "weight" in targets:
            weight = targets["weight"][:k]
            torch.baddbmm(weight, d.transpose(1, 2), self.below.value(k), alpha=sign, out=weight)
        if "bias" in targets:
            targets["bias"][:k].add_(d.sum(1), alpha=sign)
