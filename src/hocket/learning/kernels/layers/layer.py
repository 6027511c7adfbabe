"""The interface of a layer, and what it is made with."""

from typing import Protocol

from msgspec import Struct
from torch import Tensor

from hocket.learning.kernels.chain import Link
from hocket.learning.kernels.kernel import Step
from hocket.learning.kernels.layers.plane import Plane


class Parts(Struct, frozen=True, eq=False):
    """Tensors of one layer by their name within it, each [lanes, ...].

    ``weights`` are the parameters. A gradient times ``sign`` is added to ``targets``, which lacks what is frozen.
    """

    weights: dict[str, Tensor]
    targets: dict[str, Tensor]
    sign: int


class Layer(Protocol):
    """One layer of the first k lanes."""

    below: Plane
    above: Plane

    @property
    def keeps(self) -> bool:
        """Whether the way back needs the values above, which the next layer may otherwise overwrite."""
        ...

    def forward(self, k: int, step: Step) -> None:
        """From the values below to those above."""
        ...

    def backward(self, k: int, step: Step, through: bool) -> None:
        """From the gradients above to those of the parameters and, with ``through``, to those below."""
        ...


class Made(Struct, frozen=True, eq=False):
    """What a layer is built from: its link, its tensors, the plane below, and whether that may be overwritten."""

    link: Link
    parts: Parts
    below: Plane
    above: Plane
    overwrite: bool
