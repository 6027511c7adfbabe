"""Chains of linear layers and activations by hand: forward and backward of many clients in a few batched products.

A chain is found in the module's traced graph, never by name. Values are [lanes, width, units]; with inputs X and
the loss gradient D of a linear layer's outputs, for one client,

    Z = X W' + b      dX = D W      W += -D' X      b += -sum D

``baddbmm`` gives a lane the same bits in every batch of two lanes or more when torch computes in one thread, and
writes the gradient straight into the parameters. Everything else is exact or works on one row at a time.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from hocket.learning.kernels.net import Net
from hocket.learning.kernels.objective import Objective, cross_entropy
from hocket.schema import Kind

CACHE_BYTES = 1 << 22
MOST_LANES = 32
_CPU = torch.device("cpu")
_RELU = (nn.ReLU, F.relu, torch.relu, "relu")
_FLATTEN = (torch.flatten, "flatten")


class Stack:
    """The path of a chain; :meth:`of` says whether a model is one."""

    name = "stack"
    least = 2
    keyed = False

    def __init__(self, net: Net, objective: Objective, chain: list[str | None]) -> None:
        self.net = net
        self.objective = objective
        self.chain = chain

    @classmethod
    def of(cls, net: Net, objective: Objective, device: torch.device) -> "Stack | None":
        """The kernel, None for a model, a loss or a device that it does not take."""
        if not objective.rows or device.type != "cpu":
            return None
        if any(s.kind is not Kind.TRAINABLE for s in net.schema.segments):
            return None
        chain = _chain(net.module)
        linear = [name for name in chain or [] if name is not None]
        if chain is None or not linear or chain[0] is None or len(set(linear)) < len(linear):
            return None
        return cls(net, objective, chain)

    def most(self, width: int) -> int:
        """As many lanes as keep parameters in the cache; at least two."""
        return max(2, min(MOST_LANES, CACHE_BYTES // self.net.schema.nbytes))

    def work(self, lanes: int, width: int, velocity: bool) -> "Lanes":
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return Lanes(self, lanes, velocity)


class Lanes:
    """Buffers of a chain; see :class:`~hocket.learning.kernels.kernel.Work`."""

    def __init__(self, kernel: Stack, lanes: int, velocity: bool) -> None:
        shape = (lanes, kernel.net.schema.size)
        self.x = kernel.net.memory.take(shape, torch.float32, _CPU)
        self.out = kernel.net.memory.take(shape, torch.float32, _CPU) if velocity else self.x
        self._chain = kernel.chain
        self._loss = kernel.objective.loss
        self._weights = _views(kernel.net, self.x)
        self._targets = _views(kernel.net, self.out)

    def step(self, inputs: Tensor, targets: Tensor, scale: Tensor, counts: list[int], keys: list[int]) -> Tensor:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        k, width = scale.shape
        values = [inputs.flatten(2)]
        for name in self._chain:
            values.append(self._forward(name, values[-1]))
        losses, d = self._top(values[-1].flatten(0, 1), targets.flatten(0, 1), scale)
        d = d.view(values[-1].shape)
        sign = -1 if self.out is self.x else 1
        for i in range(len(self._chain) - 1, -1, -1):
            name = self._chain[i]
            if name is None:
                d = torch.ops.aten.threshold_backward(d, values[i + 1], 0)
                continue
            below = torch.bmm(d, self._weights[name + "weight"][:k]) if i else d
            weight = self._targets[name + "weight"][:k]
            torch.baddbmm(weight, d.transpose(1, 2), values[i], alpha=sign, out=weight)
            if name + "bias" in self._targets:
                self._targets[name + "bias"][:k].add_(d.sum(1), alpha=sign)
            d = below
        return losses.view(k, width)

    def _forward(self, name: str | None, x: Tensor) -> Tensor:
        if name is None:
            return x.clamp_min(0)
        weight = self._weights[name + "weight"][: len(x)].transpose(1, 2)
        bias = self._weights.get(name + "bias")
        return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias[: len(x), None], x, weight)

    def _top(self, outputs: Tensor, targets: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Losses of the rows, and the gradient of their scaled sum."""
        if self._loss is cross_entropy and targets.ndim == 1:  # what autograd would call, without its bookkeeping
            aten = torch.ops.aten
            logs = torch.log_softmax(outputs, 1)
            losses, weight = aten.nll_loss_forward(logs, targets, None, 0, -100)
            d = aten.nll_loss_backward(scale.flatten(), logs, targets, None, 0, -100, weight)
            return losses, aten._log_softmax_backward_data(d, logs, 1, torch.float32)
        with torch.enable_grad():
            outputs.requires_grad_()
            losses = self._loss(outputs, targets)
            (d,) = torch.autograd.grad(losses, outputs, scale.flatten())
        return losses.detach(), d


def _views(net: Net, x: Tensor) -> dict[str, Tensor]:
    parts = torch.split(x, [s.size for s in net.schema.travelling], 1)
    pairs = zip(net.schema.travelling, parts, strict=True)
    return {s.name: x.as_strided((len(x), *s.shape), _strides(x, s.shape), p.storage_offset()) for s, p in pairs}


def _strides(x: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (x.stride(0), *torch.empty(shape, device="meta").stride())


def _chain(module: nn.Module) -> list[str | None] | None:
    """Prefixes of linear layers and None for a relu, in order; None if there is anything else."""
    if type(module) is nn.Linear:
        return [""]
    try:
        graph = fx.symbolic_trace(module).graph
    except Exception:  # a forward pass that depends on values cannot be traced, in many ways
        return None
    nodes, chain = list(graph.nodes), list[str | None]()
    modules = dict(module.named_modules())
    for before, node in pairwise(nodes):
        if not node.args or node.args[0] is not before or len(before.users) != 1:
            return None
        target = modules[str(node.target)] if node.op == "call_module" else node.target
        flat = node.args[1:] == (1,) and not node.kwargs
        if type(target) is nn.Linear:
            chain.append(f"{node.target}.")
        elif type(target) is nn.ReLU or target in _RELU:
            chain.append(None)
        elif node.op == "output" or type(target) is nn.Identity:
            continue
        elif (type(target) is nn.Flatten and (target.start_dim, target.end_dim) == (1, -1)) or (
            target in _FLATTEN and flat
        ):
            if chain:
                return None
        else:
            return None
    return chain
