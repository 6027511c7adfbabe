"""One client at a time through the module itself and autograd: works for every model, on one core per client."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from hocket.learning.kernels.dropout import KeyedDropout, set_step
from hocket.learning.kernels.kernel import Step
from hocket.learning.kernels.memory import Scratch
from hocket.learning.kernels.net import Net
from hocket.learning.kernels.objective import Objective
from hocket.learning.kernels.workers import Spare
from hocket.learning.local import LocalSGD
from hocket.schema import Kind


class Single:
    """The path that every model has."""

    name = "single"
    least = 1
    images = False

    def __init__(self, net: Net, objective: Objective, device: torch.device) -> None:
        self.net = net
        self.loss = objective.loss
        self.device = device
        self.keyed = net.keyed
        self.modules = Spare(lambda: Module(net, device))

    def takes(self, local: LocalSGD, width: int) -> bool:
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return True

    def span(self, updates: int, width: int) -> int:
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return 0

    def most(self, width: int) -> int:
        """One: lanes would only wait for one another."""
        return 1

    def work(self, lanes: int, width: int, velocity: bool) -> "OneByOne":
        """See :class:`~hocket.learning.kernels.kernel.Kernel`."""
        return OneByOne(self, lanes, velocity)


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
    """Lanes one after the other."""

    def __init__(self, kernel: Single, lanes: int, velocity: bool) -> None:
        shape = (lanes, kernel.net.schema.size)
        self.x = kernel.net.memory.take(shape, torch.float32, kernel.device)
        self.out = kernel.net.memory.take(shape, torch.float32, kernel.device) if velocity else self.x
        self.room = Scratch()
        self._kernel = kernel
        self._inputs = self._targets = self.x

    def load(self, inputs: Tensor, targets: Tensor) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        self._inputs, self._targets = inputs, targets

    def step(self, s: int, k: int, scale: Tensor, step: Step) -> Tensor:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
        losses = torch.zeros_like(scale)
        with self._kernel.modules.borrow() as own, torch.enable_grad():
            for i, (n, key) in enumerate(zip(step.counts, step.keys, strict=True)):
                own.bind(self.x[i])
                set_step(own.dropout, key)
                loss = self._kernel.loss(own.module(self._inputs[i, s, :n]), self._targets[i, s, :n])
                losses[i, :n] = loss.detach()
                gradients = torch.autograd.grad((loss * scale[i, :n]).sum(), own.trained, allow_unused=True)
                pairs = zip(own.views(self.out[i]), gradients, strict=True)
                found = [(view, g) for view, g in pairs if g is not None]
                sign = -1 if self.out is self.x else 1
                torch._foreach_add_([view for view, _ in found], [g for _, g in found], alpha=sign)
        return losses

    def flush(self) -> None:
        """See :class:`~hocket.learning.kernels.kernel.Work`."""
