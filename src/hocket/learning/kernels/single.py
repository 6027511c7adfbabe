"""One client at a time through the module itself and autograd: works for every model, on one core per client."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from hocket.learning.kernels.dropout import KeyedDropout, set_step
from hocket.learning.kernels.kernel import Span, Step
from hocket.learning.kernels.memory import Scratch, subtract
from hocket.learning.kernels.net import Net
from hocket.learning.kernels.objective import Objective
from hocket.learning.kernels.samples import Drawn
from hocket.learning.local import LocalSGD
from hocket.schema import Kind


class Single:
    """The path that every model has; ``last``: images come channels last, which some models are faster on."""

    least = 1

    def __init__(self, net: Net, objective: Objective, device: torch.device, last: bool = False) -> None:
        self.name = "single-last" if last else "single"
        self.last = last
        self.net = net
        self.loss = objective.loss
        self.device = device
        self.keyed = net.keyed

    def takes(self, local: LocalSGD, width: int) -> bool:
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return True

    def span(self, local: LocalSGD, size: int, width: int) -> Span:
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return Span()

    def most(self, width: int) -> int:
        """One: lanes would only wait for one another."""
        return 1

    def work(self, lanes: int, width: int, velocity: bool) -> "OneByOne":
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return OneByOne(self, velocity)


class Module:
    """A copy of the module whose travelling tensors are views of a flat vector."""

    def __init__(self, net: Net, device: torch.device) -> None:
        self.module: nn.Module = deepcopy(net.module).to(device)
        self.dropout = [m for m in self.module.modules() if isinstance(m, KeyedDropout)]
        tensors = self.module.state_dict(keep_vars=True)
        self._travelling = [(tensors[s.name], s.shape, s.size) for s in net.schema.travelling]
        self._kinds = [s.kind is Kind.TRAINABLE for s in net.schema.travelling]
        self.trained = [t for (t, _, _), k in zip(self._travelling, self._kinds, strict=True) if k]

    def bind(self, x: Tensor) -> None:
        """Compute with the parameters of ``x`` (float32[size]) from now on; running statistics are written to it."""
        for (tensor, shape, size), part in zip(self._travelling, self._split(x), strict=True):
            assert part.numel() == size
            tensor.data = part.view(shape)

    def views(self, x: Tensor) -> list[Tensor]:
        """The trained tensors' places in another flat vector."""
        parts = zip(self._travelling, self._split(x), self._kinds, strict=True)
        return [part.view(shape) for (_, shape, _), part, trained in parts if trained]

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.split(x, [size for _, _, size in self._travelling])


class OneByOne:
    """One lane, with a copy of the module that computes on it."""

    def __init__(self, kernel: Single, velocity: bool) -> None:
        shape = (1, kernel.net.schema.size)
        self.x = kernel.net.memory.take(shape, torch.float32, kernel.device)
        self.out = kernel.net.memory.take(shape, torch.float32, kernel.device) if velocity else self.x
        self._room = Scratch()
        self._loss = kernel.loss
        self._last = kernel.last
        self._own = Module(kernel.net, kernel.device)
        self._own.bind(self.x[0])
        self._places = self._own.views(self.out[0])
        self._sign = 1 if velocity else -1
        self._inputs = self._targets = self._start = self._out = self.x

    def begin(self, starts: Sequence[Tensor], outs: Sequence[Tensor], span: Span) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        self._start, self._out = starts[0], outs[0]
        self.x[0].copy_(starts[0])

    def load(self, drawn: Drawn) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        (inputs,), (targets,) = drawn.inputs(self._room), drawn.targets()
        self._inputs, self._targets = _channels_last(inputs) if self._last else inputs, targets

    def step(self, s: int, k: int, scale: Tensor, step: Step) -> Tensor:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        own, n = self._own, step.counts[0]
        set_step(own.dropout, step.keys[0])
        with torch.enable_grad():
            loss = self._loss(own.module(self._inputs[s, :n]), self._targets[s, :n])
            gradients = torch.autograd.grad(loss, own.trained, scale[0, :n], allow_unused=True)
        if any(g is None for g in gradients):
            found = [(place, g) for place, g in zip(self._places, gradients, strict=True) if g is not None]
            torch._foreach_add_([place for place, _ in found], [g for _, g in found], alpha=self._sign)
        else:
            torch._foreach_add_(self._places, gradients, alpha=self._sign)
        losses = torch.zeros_like(scale)
        losses[0, :n] = loss.detach()
        return losses

    def end(self) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        subtract(self.x[0], self._start, self._out)
        self._start = self._out = self.x


def _channels_last(x: Tensor) -> Tensor:
    """Images [steps, width, channels, height, columns] in memory with channels last, so that torch sees it."""
    steps, width, channels, height, columns = x.shape
    own = x.permute(0, 1, 3, 4, 2).contiguous()
    step, sample, row, column, channel = own.stride()
    strides = (step, sample, min(channel, 1), row, column)  # a single channel could have any stride
    return own.as_strided((steps, width, channels, height, columns), strides)
