"""Which path a model takes: the stack where it can, else one client at a time."""

import torch

from hocket.errors import InvalidInput
from hocket.learning.kernels.kernel import Kernel
from hocket.learning.kernels.net import Net
from hocket.learning.kernels.objective import Objective
from hocket.learning.kernels.single import Single
from hocket.learning.kernels.stack import Stack

PATHS = ("auto", "stack", "single")


class Choice:
    """The kernel of a model, and what was in use at each batch width.

    Raises:
        InvalidInput: an unknown path, or one that does not take this model.
    """

    def __init__(self, path: str, net: Net, objective: Objective, device: torch.device) -> None:
        if path not in PATHS:
            raise InvalidInput(f"path is {path!r}; it must be one of {', '.join(PATHS)}")
        stack = None if path == "single" else Stack.of(net, objective, device)
        if path == "stack" and stack is None:
            raise InvalidInput(
                "path is 'stack', which takes chains of Linear, ReLU and a first Flatten, all trained, with "
                "cross_entropy or mse on a CPU; this is something else: use 'auto' or 'single'"
            )
        self._kernel: Kernel = stack or Single(net, objective, device)
        self.chosen: dict[str, str] = {}

    def at(self, wide: int) -> Kernel:
        """The kernel for batches of this width."""
        self.chosen[f"width {wide}"] = self._kernel.name
        return self._kernel
