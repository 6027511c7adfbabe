"""Dropout whose masks are a function of (lease, step, layer), so that no lane sees another lane's randomness."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hocket.keyed import generator, key


class KeyedDropout(nn.Module):
    """Stands in for ``nn.Dropout`` and, with ``channels``, for ``nn.Dropout1d`` to ``3d``.

    ``step``, one per lane under ``torch.func.vmap``, is set before every forward pass; in evaluation nothing is
    dropped.
    """

    step: int | Sequence[int]

    def __init__(self, p: float, layer: int, channels: bool) -> None:
        super().__init__()
        self.p = p
        self.layer = layer
        self.channels = channels
        self.step = 0

    def forward(self, x: Tensor) -> Tensor:
        """Drop with probability p, scale the rest by 1 / (1 - p)."""
        if not self.training or not self.p:
            return x
        if isinstance(self.step, int):
            return x * self.mask(x.shape, self.step).to(x.device)
        dropped: Tensor = _OfLanes.apply(x, self)  # type: ignore[no-untyped-call]
        return dropped

    def mask(self, shape: torch.Size, step: int) -> Tensor:
        """What a batch [n, ...] of a step is multiplied by; the first rows do not depend on n."""
        shape = torch.Size((*shape[:2], *(1 for _ in shape[2:]))) if self.channels else shape
        draw = generator(key(step, "dropout", self.layer)).random(tuple(shape), "f4")
        keep = torch.from_numpy(draw) >= self.p
        return keep.to(torch.float32) * (1 / (1 - self.p) if self.p < 1 else 0.0)


class _OfLanes(torch.autograd.Function):
    """Dropout of stacked lanes, each with its own mask: what ``torch.func.vmap`` makes of a call."""

    @staticmethod
    def forward(x: Tensor, layer: KeyedDropout) -> Tensor:
        raise RuntimeError("dropout of values that all clients share has no mask of its own for each")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        raise NotImplementedError

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], x: Tensor, layer: KeyedDropout) -> tuple[Tensor, int]:
        x = x.movedim(in_dims[0], 0)
        assert not isinstance(layer.step, int)
        return x * torch.stack([layer.mask(x.shape[1:], step) for step in layer.step]), 0


def with_keyed_dropout(module: nn.Module) -> nn.Module:
    """Replace the dropout layers of a module, in place; the same layer used twice keeps one mask per step."""
    count = 0
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d):
                setattr(parent, name, KeyedDropout(child.p, count, not isinstance(child, nn.Dropout)))
                count += 1
    return module


def set_step(layers: list[KeyedDropout], step: int | Sequence[int]) -> None:
    """Key the masks of the next forward pass, of each lane if there are several."""
    for layer in layers:
        layer.step = step
