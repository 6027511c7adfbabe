"""The interface of a path: buffers for a number of lanes, and gradients added to them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor

from hocket.learning.kernels.samples import Drawn
from hocket.learning.local import LocalSGD


class Span(NamedTuple):
    """How the samples of a job are loaded, the same for all jobs of a block: those of ``steps`` at a time (0: of any
    number), or, with ``rows`` places for them, each of the client's own once for all steps."""

    steps: int = 0
    rows: int = 0


class Step(Struct, eq=False, gc=False):
    """What a layer may ask of a step: samples in each lane's batch, and the keys of the lanes (for dropout)."""

    counts: list[int]
    keys: list[int]


class Work(Protocol):
    """Buffers for lanes and padded width. ``x`` float32[lanes, size] are the parameters; gradients go to ``out``,
    which is ``x`` itself (they are subtracted) or a velocity of the same shape (they are added)."""

    x: Tensor
    out: Tensor

    def begin(self, starts: Sequence[Tensor], outs: Sequence[Tensor], span: Span) -> None:
        """Take the parameters of lanes from start vectors float32[size]; what they change by goes to ``outs``, one for
        each of the first lanes, at the end if not before."""
        ...

    def load(self, drawn: Drawn) -> None:
        """Samples of the next steps."""
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

    def end(self) -> None:
        """Write what the steps have changed, parameters minus starts, to where it was to go."""
        ...


@runtime_checkable
class Whole(Protocol):
    """A work that goes through all steps of a load by itself, without momentum and the like."""

    def begin(self, starts: Sequence[Tensor], outs: Sequence[Tensor], span: Span) -> None:
        """See :class:`Work`."""
        ...

    def run(self, drawn: Drawn, scale: NDArray[np.float32], active: Sequence[int]) -> NDArray[np.float32]:
        """Take the drawn steps; the losses, float32[steps, lanes, width].

        Args:
            drawn: their samples.
            scale: float32[steps, lanes, width], what a sample counts for, rate included; 0 for padding.
            active: how many of the lanes take part in each step, as long as there are any.
        """
        ...

    def end(self) -> None:
        """See :class:`Work`."""
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

    def takes(self, local: LocalSGD, width: int) -> bool:
        """Whether the kernel is for local work of this kind in batches of this width."""
        ...

    def span(self, local: LocalSGD, size: int, width: int) -> Span:
        """How the samples of a client that holds ``size`` are loaded; it depends on nothing else."""
        ...

    def most(self, width: int) -> int:
        """Lanes worth stacking."""
        ...

    def work(self, lanes: int, width: int, velocity: bool) -> Work | Whole:
        """New buffers; what is in them is undefined."""
        ...
