"""Which weights a sub-model of some density keeps: one global ranking, with a base share of every layer.

    first      what is never pruned: biases and buffers (segments of fewer than two axes)
    then       in every layer the ``base`` share with the largest |w|, which every client keeps
    then       all other weights by falling importance, whatever their layer

Importance is what was measured of a weight; one that nobody measured gets (least positive importance of its layer) *
|w|. Density rho keeps int(rho N_w) of the N_w weights, or the base share if that is more. Prefixes of one ranking are
nested.

Ma, "Federated learning based on pruning and recovery", 2024 (arXiv 2403.15439); the ranking of the released code
without its cost divisor.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.ranking import Positions
from hocket.schema import Kind, Schema, Segment, Vector


class Sizes(Struct, frozen=True):
    """Coordinates of a model that are never pruned, its weights, and those of the base share."""

    fixed: int
    weights: int
    base: int

    @classmethod
    def of(cls, schema: Schema, base: float) -> "Sizes":
        """Those of a schema at a base share."""
        layers = [s.size for s in schema.travelling if prunable(s)]
        return cls(schema.size - sum(layers), sum(layers), sum(int(base * n) for n in layers))

    def length(self, density: float) -> int:
        """Length of the cover of some density, at least 1.

        >>> Sizes(2, 101, 5).length(0.5), Sizes(2, 101, 5).length(0.01)
        (52, 7)
        """
        return max(1, self.fixed + max(int(density * self.weights), self.base))


def prunable(segment: Segment) -> bool:
    """Whether a segment holds weights: trained, with two axes or more."""
    return segment.kind is Kind.TRAINABLE and len(segment.shape) > 1


def order(schema: Schema, x: Vector, importance: NDArray[np.float64] | None, base: float) -> Positions:
    """The ranking of a model, int32[size]; ``importance`` float64[size], 0 for what was not measured."""
    size, at = np.abs(x).astype(np.float64), 0
    score = np.zeros(schema.size) if importance is None else importance.copy()
    kept: list[NDArray[np.intp]] = []
    rest: list[NDArray[np.intp]] = []
    fixed: list[NDArray[np.intp]] = []
    for s in schema.travelling:
        own = slice(at, at + s.size)
        at += s.size
        if not prunable(s):
            fixed.append(np.arange(own.start, own.stop))
            continue
        known = score[own][score[own] > 0]
        score[own] = np.where(score[own] > 0, score[own], (known.min() if len(known) else 1.0) * size[own])
        largest = np.argsort(-size[own], kind="stable") + own.start
        cut = int(base * s.size)
        kept.append(largest[:cut])
        rest.append(np.sort(largest[cut:]))
    others = np.concatenate(rest) if rest else np.empty(0, np.intp)
    others = others[np.argsort(-score[others], kind="stable")]
    return np.concatenate([*fixed, *kept, others]).astype(np.int32)
