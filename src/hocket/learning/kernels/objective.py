"""What a model is trained for and judged by: losses per sample, and metrics over a whole split."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch.nn.functional as F
from msgspec import Struct
from torch import Tensor

from hocket.errors import InvalidInput
from hocket.learning.data import Examples

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs [n, ...] and targets [n, ...] to losses float32[n], one per sample."""
Metric = Callable[[Tensor, Tensor], float]
"""Outputs and targets of a whole split to a number."""

Metrics = Sequence[str] | Mapping[str, Metric] | None
"""Names, or functions by name; None: what fits the loss."""


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Outputs [n, classes] and int64[n], or [n, T, classes] and int64[n, T]: the mean over the T positions."""
    loss = F.cross_entropy(output.flatten(0, -2), target.flatten(), reduction="none")
    return loss if target.ndim == 1 else loss.view(target.shape).mean(1)


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Squared error of outputs [n] or [n, 1] against float32[n]."""
    return (output.reshape(target.shape) - target).square()


def bce(output: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of logits [n] or [n, 1] against 0 or 1."""
    return F.binary_cross_entropy_with_logits(output.reshape(target.shape), target.float(), reduction="none")


def accuracy(output: Tensor, target: Tensor) -> float:
    """Share of positions where the largest output, or the sign of a single logit, is right."""
    if output.ndim > target.ndim and output.shape[-1] > 1:
        guess = output.argmax(-1)
    else:
        guess = (output.reshape(target.shape) > 0).long()
    return float((guess == target.long()).double().mean())


def auc(output: Tensor, target: Tensor) -> float:
    """Area under the ROC curve of one logit per sample, ties counted half; nan without both classes.

    >>> import torch
    >>> auc(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
    0.75
    """
    score, positive = output.reshape(-1).double().numpy(), target.numpy() > 0.5
    p, n = int(positive.sum()), int((~positive).sum())
    if not p or not n:
        return float("nan")
    _, inverse, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[inverse]
    return float((rank[positive].sum() - p * (p + 1) / 2) / (p * n))


_LOSSES: dict[str, tuple[Loss, tuple[str, ...]]] = {
    "cross_entropy": (cross_entropy, ("accuracy",)),
    "next_character": (cross_entropy, ("accuracy",)),
    "mse": (mse, ("mse",)),
    "bce": (bce, ("accuracy", "auc")),
}
_METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "auc": auc,
    "mse": lambda output, target: float(mse(output.double(), target).mean()),
}


class Objective(Struct, frozen=True):
    """A loss per sample and the metrics of an evaluation; ``rows``: a loss row depends on its own output row's
    bits alone, whatever the rows beside it."""

    loss: Loss
    metrics: Mapping[str, Metric]
    classes: bool
    rows: bool

    @classmethod
    def of(cls, loss: str | Loss, metrics: Metrics = None) -> "Objective":
        """By name or callable.

        Args:
            loss: ``"cross_entropy"``, ``"next_character"``, ``"mse"``, ``"bce"`` or a :data:`Loss`.
            metrics: names out of ``"accuracy"``, ``"auc"``, ``"mse"``, or a mapping of names to :data:`Metric`;
                None: those that fit the loss.

        Raises:
            InvalidInput: an unknown name.
        """
        if isinstance(loss, str):
            if loss not in _LOSSES:
                raise InvalidInput(f"loss {loss!r} is unknown; give one of {', '.join(_LOSSES)} or a function")
            function, usual = _LOSSES[loss]
        else:
            function, usual = loss, ()
        chosen = metrics if metrics is not None else usual
        if not isinstance(chosen, Mapping):
            if unknown := [m for m in chosen if m not in _METRICS]:
                raise InvalidInput(f"metric {unknown[0]!r} is unknown; give one of {', '.join(_METRICS)} or a function")
            chosen = {m: _METRICS[m] for m in chosen}
        whole = function is cross_entropy
        return cls(function, dict(chosen), whole, whole or function in (mse, bce))

    def check(self, output: Tensor, examples: Examples) -> None:
        """Whether outputs of a few samples fit the labels.

        Raises:
            InvalidInput: labels of the wrong type, or a label that the model has no output for.
        """
        labels = examples.labels
        if self.classes:
            if labels.dtype.kind != "i":
                raise InvalidInput(f"{examples.name}: labels are {labels.dtype}; cross-entropy takes classes, from 0")
            if output.ndim != labels.ndim + 1 or output.shape[1:-1] != labels.shape[1:]:
                raise InvalidInput(
                    f"{examples.name}: the model's outputs are {list(output.shape)} for labels {list(labels.shape)}; "
                    "cross-entropy takes one more axis, the classes, at the end"
                )
            if labels.size and labels.max() >= output.shape[-1]:
                row = int(np.argwhere(labels == labels.max())[0][0])
                raise InvalidInput(
                    f"{examples.name}: label {labels.max()} of row {row} is not one of the model's "
                    f"{output.shape[-1]} classes (0 to {output.shape[-1] - 1})"
                )
        elif self.loss is bce and labels.size and (labels.min() < 0 or labels.max() > 1):
            raise InvalidInput(f"{examples.name}: labels go from {labels.min()} to {labels.max()}; bce takes 0 to 1")
        elif self.loss in (mse, bce) and output.numel() != len(output) * labels[:1].size:
            raise InvalidInput(
                f"{examples.name}: the model's outputs are {list(output.shape)} for labels {list(labels.shape)}; "
                "give one output per label"
            )
