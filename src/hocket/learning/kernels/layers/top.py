"""Losses of the last layer's rows, and the gradient of their scaled sum."""

from math import prod
from typing import Any, cast

import torch
from torch import Tensor

from hocket.learning.kernels.chain import Shape
from hocket.learning.kernels.layers.plane import ROUND, Plane
from hocket.learning.kernels.objective import Objective, bce, cross_entropy

_aten: Any = torch.ops.aten


def takes(objective: Objective, outputs: Shape) -> bool:
    """Whether a row's loss and gradient can be had with the same bits whatever the rows beside it."""
    return objective.rows and len(outputs) == 1 and (objective.loss is not bce or prod(outputs) == 1)


class Top:
    """The end of a chain: classes by hand, other losses through autograd on all of the plane's memory."""

    def __init__(self, objective: Objective, below: Plane) -> None:
        self._loss = objective.loss
        self._below = below

    def step(self, k: int, targets: Tensor, scale: Tensor) -> Tensor:
        """Losses [k, width] for targets [k, width, ...]; the gradients of sum(scale * loss) go below."""
        z = self._below.value(k)
        if self._loss is cross_entropy:  # what autograd would call, without its bookkeeping
            rows, flat = z.reshape(-1, z.shape[-1]), targets.reshape(-1)
            logs = torch.log_softmax(rows, 1)
            losses, weight = _aten.nll_loss_forward(logs, flat, None, 0, -100)
            g = _aten.nll_loss_backward(scale.reshape(-1), logs, flat, None, 0, -100, weight)
            self._below.grad(k).copy_(_aten._log_softmax_backward_data(g, logs, 1, torch.float32).view(z.shape))
            return cast(Tensor, losses.view(scale.shape))
        units, n = z.shape[-1], scale.numel()
        more = -n % ROUND
        rows = torch.cat([z.reshape(-1, units), z.new_zeros((more, units))])
        flat = torch.cat([targets.flatten(0, 1), targets.new_zeros((more, *targets.shape[2:]))])
        weights = torch.cat([scale.reshape(-1), scale.new_zeros(more)])
        with torch.enable_grad():
            rows = rows.requires_grad_()
            losses = self._loss(rows, flat)
            (g,) = torch.autograd.grad(losses, rows, weights)
        self._below.grad(k).copy_(g[:n].view(z.shape))
        return losses.detach()[:n].view(scale.shape)
