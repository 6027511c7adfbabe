"""The interface of a path: buffers for a number of lanes, and gradients added to them."""

from typing import Protocol

from torch import Tensor


class Work(Protocol):
    """Buffers for lanes and padded width. ``x`` float32[lanes, size] are the parameters; gradients go to ``out``,
    which is ``x`` itself (they are subtracted) or a velocity of the same shape (they are added)."""

    x: Tensor
    out: Tensor

    def step(self, inputs: Tensor, targets: Tensor, scale: Tensor, counts: list[int], keys: list[int]) -> Tensor:
        """Gradients of ``sum(scale * loss)`` of the first k lanes into ``out``; the losses, float32[k, width].

        Args:
            inputs: [k, width, ...]; samples from ``counts[i]`` on are padding.
            targets: [k, width, ...].
            scale: float32[k, width], 0 for padding.
            counts: samples in each lane's batch.
            keys: of each lane's step, for dropout.
        """
        ...


class Kernel(Protocol):
    """One path for one model and one loss."""

    @property
    def name(self) -> str:
        """What the resolved experiment calls it."""
        ...

    @property
    def least(self) -> int:
        """Lanes that a step must have for its bits to be those of any other number; 2 where one lane differs."""
        ...

    @property
    def keyed(self) -> bool:
        """Whether steps need keys."""
        ...

    def most(self, width: int) -> int:
        """Lanes worth stacking."""
        ...

    def work(self, lanes: int, width: int, velocity: bool) -> Work:
        """New buffers; what is in them is undefined."""
        ...
