"""The interface of a path: buffers for a number of lanes, and gradients added to them."""

from typing import Protocol

from msgspec import Struct
from torch import Tensor

from hocket.learning.kernels.memory import Scratch
from hocket.learning.local import LocalSGD


class Step(Struct, eq=False, gc=False):
    """What a layer may ask of a step: samples in each lane's batch, and the keys of the lanes (for dropout)."""

    counts: list[int]
    keys: list[int]


class Work(Protocol):
    """Buffers for lanes and padded width. ``x`` float32[lanes, size] are the parameters; gradients go to ``out``,
    which is ``x`` itself (they are subtracted) or a velocity of the same shape (they are added). ``room`` is for the
    samples that are loaded."""

    x: Tensor
    out: Tensor
    room: Scratch

    def load(self, inputs: Tensor, targets: Tensor) -> None:
        """Samples of the next steps: targets [lanes, steps, width, ...], inputs the same, or [steps, width, lanes, ...]
        if the kernel has images."""
        ...

    def step(self, s: int, k: int, scale: Tensor, step: Step) -> Tensor:
        """Gradients of ``sum(scale * loss)`` of the first k lanes into ``out``; the losses, float32[k, width].

        Args:
            s: which of the loaded steps.
            k: lanes in use.
            scale: float32[k, width], 0 for padding.
            step: more about the step.
        """
        ...

    def flush(self) -> None:
        """The loaded steps are over; what was put off is done now."""
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

    @property
    def images(self) -> bool:
        """Whether inputs come with lanes after samples."""
        ...

    def takes(self, local: LocalSGD, width: int) -> bool:
        """Whether the kernel is for local work of this kind in batches of this width."""
        ...

    def span(self, updates: int, width: int) -> int:
        """Steps that a job of so many updates must have loaded at a time; 0: any number."""
        ...

    def most(self, width: int) -> int:
        """Lanes worth stacking."""
        ...

    def work(self, lanes: int, width: int, velocity: bool) -> Work:
        """New buffers; what is in them is undefined."""
        ...
