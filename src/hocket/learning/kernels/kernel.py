"""The interface of a path: buffers for a number of lanes, and gradients added to them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from msgspec import Struct
from torch import Tensor

from hocket.learning.kernels.samples import Drawn, Samples
from hocket.learning.learner import Job, Trained
from hocket.learning.local import LocalSGD
from hocket.schema import Vector


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
    """A work that does not need to be led through its steps, without momentum and the like."""

    def train(self, samples: Samples, wide: int, jobs: Sequence[Job], outs: Sequence[Vector]) -> list[Trained]:
        """Results of jobs; see :func:`~hocket.learning.kernels.block.train_block`. The deltas go to ``outs``."""
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
