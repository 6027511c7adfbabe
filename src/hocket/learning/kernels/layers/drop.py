"""Dropout keyed by lease and step: every lane draws the mask that it would draw alone."""

import torch

from hocket.learning.kernels.dropout import KeyedDropout
from hocket.learning.kernels.kernel import Step
from hocket.learning.kernels.layers.layer import Made


class Drop:
    """:class:`~hocket.learning.kernels.dropout.KeyedDropout`."""

    keeps = False

    def __init__(self, made: Made) -> None:
        self.below, self.above = made.below, made.above
        assert isinstance(made.link.module, KeyedDropout)
        self._module = made.link.module
        self._shape = made.link.before
        self._mask = torch.ones_like(made.below.value(made.below.lanes))

    def forward(self, k: int, step: Step) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        for lane, key in enumerate(step.keys):
            drawn = self._module.mask(torch.Size((self.below.width, *self._shape)), key)
            if self.below.image:
                channels = self._shape[0]
                self._mask[:, lane * channels : (lane + 1) * channels] = drawn
            else:
                self._mask[lane].copy_(drawn.expand(-1, *self._shape).flatten(1))
        torch.mul(self.below.value(k), self._cut(k), out=self.above.value(k))

    def backward(self, k: int, step: Step, through: bool) -> None:
        """See :class:`~hocket.learning.kernels.layers.layer.Layer`."""
        if through:
            torch.mul(self.above.grad(k), self._cut(k), out=self.below.grad(k))

    def _cut(self, k: int) -> torch.Tensor:
        return self._mask if self.below.image else self._mask[:k]
