"""Which path a model takes, measured once for each kind of local work."""

import torch

from hocket.errors import InvalidInput
from hocket.learning.kernels.kernel import Kernel
from hocket.learning.kernels.net import Net
from hocket.learning.kernels.objective import Objective
from hocket.learning.kernels.single import Single

PATHS = ("auto", "stack", "vmap", "single")


class Choice:
    """The kernels that can compute a model, and the one in use at each batch width.

    Raises:
        InvalidInput: an unknown path, or one that does not take this model.
    """

    def __init__(self, path: str, net: Net, objective: Objective, device: torch.device) -> None:
        if path not in PATHS:
            raise InvalidInput(f"path is {path!r}; it must be one of {', '.join(PATHS)}")
        self.kernels: list[Kernel] = [Single(net, objective, device)]
        self.chosen: dict[str, str] = {}

    def at(self, wide: int) -> Kernel:
        """The kernel for batches of this width."""
        self.chosen[f"width {wide}"] = self.kernels[0].name
        return self.kernels[0]
