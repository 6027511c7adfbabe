"""Fully connected networks with cross-entropy, forward and backward by hand, many clients at once.

A layer is a block [inputs + 1, outputs] of the flat vector: the weights, and below them the bias, which meets
a constant input of 1. With A the inputs of a layer (features down, samples across) and D the loss gradient of
its outputs, for one client,

    Z = W' A      dW = A D'      dA = W D      relu: A_next = max(Z, 0)

Clients are *lanes* of stacked arrays. ``np.matmul`` does one product per lane and everything else is
element-wise, so a lane's bits are those it has alone, whatever the number of BLAS threads.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Any, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.keyed import generator, key
from hocket.learning.cross_entropy import cross_entropy
from hocket.learning.product import product
from hocket.schema import Schema, Segment, Vector

Lanes = NDArray[np.float32]


class Workspace(Protocol):
    """Buffers for a number of lanes and the gradient computed in them.

    ``inputs`` is float32[lanes, width, features + 1] with a last column of ones, filled by the caller.
    """

    inputs: Lanes

    def gradient(self, x: Lanes, target: NDArray[np.int64], scale: Lanes, out: Lanes) -> Lanes:
        """Write the gradients of the first k lanes to ``out``; return the losses, float32[k, width].

        Args:
            x: parameters, float32[k, size].
            target: int64[k, width], see :func:`hocket.learning.cross_entropy.cross_entropy`.
            scale: float32[k, width], what each sample counts for; 0 for padding.
            out: float32[k, size].
        """
        ...


class Model(Protocol):
    """What :class:`NumpyLearner` can train: a classifier of ``features`` numbers into ``classes``."""

    @property
    def features(self) -> int:
        """Numbers that a sample has."""
        ...

    @property
    def classes(self) -> int:
        """Classes to tell apart."""
        ...

    @property
    def schema(self) -> Schema:
        """What the flat vector is made of."""
        ...

    def initial(self, seed: int) -> Vector:
        """A first model, float32[size]."""
        ...

    def workspace(self, lanes: int, width: int) -> Workspace:
        """Buffers for ``lanes`` clients with batches padded to ``width`` samples."""
        ...

    def floats(self, width: int) -> int:
        """Numbers that a lane of the workspace holds."""
        ...

    def logits(self, x: Vector, inputs: Lanes) -> Lanes:
        """Outputs float32[..., n, classes] of one model for inputs float32[..., n, features + 1]."""
        ...


class MLP(Struct, frozen=True):
    """A network with layers of ``hidden`` relu units; with none it is softmax regression.

    Raises:
        InvalidInput: fewer than 1 feature, 2 classes or 1 unit in a hidden layer.

    >>> MLP(64, (32,), 10).schema.size
    2410
    """

    features: int
    hidden: tuple[int, ...]
    classes: int

    def __post_init__(self) -> None:
        if self.features < 1 or self.classes < 2 or any(h < 1 for h in self.hidden):
            raise InvalidInput(
                f"model: layers {'-'.join(map(str, self.widths))}; it needs 1 feature, 2 classes and 1 unit "
                "in each hidden layer, or more"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Inputs of every layer, and the classes."""
        return (self.features, *self.hidden, self.classes)

    @property
    def schema(self) -> Schema:
        """``weight`` [inputs, outputs] and ``bias`` [outputs] of every layer, in the order of the layers."""
        out: list[Segment] = []
        for i, (m, n) in enumerate(self._shapes):
            prefix = f"layer{i + 1}." if self.hidden else ""
            out += [Segment(f"{prefix}weight", (m, n)), Segment(f"{prefix}bias", (n,))]
        return Schema(tuple(out))

    @property
    def _shapes(self) -> list[tuple[int, int]]:
        return list(zip(self.widths, self.widths[1:], strict=False))

    def initial(self, seed: int) -> Vector:
        """Zeros for softmax regression; else weights uniform in +-sqrt(6 / inputs) and biases 0.

        The bound is that of He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV 2015.
        """
        x = np.zeros(self.schema.size, np.float32)
        if self.hidden:
            draw = generator(key(seed, "initial"))
            for block in self.blocks(x):
                bound = sqrt(6.0 / (len(block) - 1))
                block[:-1] = draw.uniform(-bound, bound, block[:-1].shape)
        return x

    def blocks(self, x: NDArray[Any]) -> list[NDArray[Any]]:
        """Views [..., inputs + 1, outputs] of a flat vector [..., size], one per layer."""
        out, at = [], 0
        for m, n in self._shapes:
            out.append(x[..., at : at + (m + 1) * n].reshape(*x.shape[:-1], m + 1, n))
            at += (m + 1) * n
        return out

    def logits(self, x: Vector, inputs: Lanes) -> Lanes:
        """Outputs float32[..., n, classes] of one model for inputs float32[..., n, features + 1]."""
        first, *rest = self.blocks(x)
        h = _apply(inputs, first)
        for block in rest:
            h = _apply(np.maximum(h, 0), block[:-1]) + block[-1]
        return h

    def floats(self, width: int) -> int:
        """Numbers that a lane of the workspace holds."""
        return width * sum(2 * w + 1 for w in self.widths)

    def workspace(self, lanes: int, width: int) -> "Layers":
        """Buffers for ``lanes`` clients with batches padded to ``width`` samples."""
        return Layers(self, lanes, width)


class Layers:
    """Workspace of :class:`MLP`; values are [lanes, units, width]."""

    def __init__(self, model: MLP, lanes: int, width: int) -> None:
        self.inputs: Lanes = np.ones((lanes, width, model.features + 1), np.float32)
        self._model = model
        self._hidden = [np.ones((lanes, h + 1, width), np.float32) for h in model.hidden]
        self._d = [np.empty((lanes, n, width), np.float32) for n in model.widths[1:]]

    def gradient(self, x: Lanes, target: NDArray[np.int64], scale: Lanes, out: Lanes) -> Lanes:
        """See :class:`Workspace`."""
        k = len(x)
        weights, gradients = self._model.blocks(x), self._model.blocks(out)
        values: Sequence[Lanes] = [self.inputs[:k].transpose(0, 2, 1), *(a[:k] for a in self._hidden)]
        d = [d[:k] for d in self._d]
        for i, a in enumerate(self._hidden):
            z = a[:k, :-1]
            product(weights[i].transpose(0, 2, 1), values[i], z)
            np.maximum(z, 0, out=z)
        product(weights[-1].transpose(0, 2, 1), values[-1], d[-1])
        loss = cross_entropy(d[-1], target, scale)
        for i in range(len(d) - 1, 0, -1):
            product(weights[i][:, :-1], d[i], d[i - 1])
            d[i - 1] *= values[i][:, :-1] > 0
            product(values[i], d[i].transpose(0, 2, 1), gradients[i])
        product(values[0], d[0].transpose(0, 2, 1), gradients[0])
        return loss


def _apply(h: Lanes, weights: Lanes) -> Lanes:
    out = np.empty((*h.shape[:-1], weights.shape[-1]), np.float32)
    product(h, weights, out)
    return out


def softmax(features: int, classes: int) -> MLP:
    """Softmax regression: an :class:`MLP` without hidden layers; ``weight`` and ``bias`` start at zero.

    >>> [s.name for s in softmax(64, 10).schema.segments]
    ['weight', 'bias']
    """
    return MLP(features, (), classes)
