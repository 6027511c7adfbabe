"""Which path a model takes: the stack where it can, else one client at a time."""

import torch
from torch import Tensor

from hocket.errors import InvalidInput
from hocket.learning.kernels.kernel import Kernel, Work
from hocket.learning.kernels.net import Net
from hocket.learning.kernels.objective import Objective
from hocket.learning.kernels.single import Single
from hocket.learning.kernels.stack import Stack
from hocket.learning.kernels.workers import Spare

PATHS = ("auto", "stack", "single")


class Choice:
    """The kernel of a model, and what was in use at each batch width.

    Args:
        path: the one that is asked for.
        net: the model.
        objective: the loss.
        device: where to compute.
        sample: two samples as the model sees them.

    Raises:
        InvalidInput: an unknown path, or one that does not take this model.
    """

    def __init__(self, path: str, net: Net, objective: Objective, device: torch.device, sample: Tensor) -> None:
        if path not in PATHS:
            raise InvalidInput(f"path is {path!r}; it must be one of {', '.join(PATHS)}")
        stack = None if path == "single" else Stack.of(net, objective, device, sample)
        if path == "stack" and stack is None:
            raise InvalidInput(
                "path is 'stack', which takes chains of Linear, Conv2d, pooling, activations and Flatten with "
                "cross_entropy, mse or bce on a CPU; this is something else: use 'auto' or 'single'"
            )
        self._kernel: Kernel = stack or Single(net, objective, device)
        self._works: dict[tuple[str, int, bool], Spare[Work]] = {}
        self.chosen: dict[str, str] = {}

    def at(self, wide: int) -> Kernel:
        """The kernel for batches of this width."""
        self.chosen[f"width {wide}"] = self._kernel.name
        return self._kernel

    def works(self, kernel: Kernel, wide: int, velocity: bool) -> Spare[Work]:
        """Buffers of a kernel, which come back when they are not in use."""
        at = (kernel.name, wide, velocity)
        if at not in self._works:
            lanes = max(kernel.least, kernel.most(wide))
            self._works[at] = Spare(lambda: kernel.work(lanes, wide, velocity))
        return self._works[at]
