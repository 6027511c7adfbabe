"""Running statistics, such as batch norm's, are values to be averaged and no directions to move in.

A client that began at x' and ends at x' + d has seen the statistics x' + d, however old x' is. Added to a model that
has moved on, d overshoots, the more so the staler it is, until a variance is negative. So in the segments of kind
*buffer* the book counts an update from where the model is now,

    d <- x' + d - x,        x <- x + step,

and a step moves x towards the mean of what clients saw, past the server's optimizer, which is for gradients. With
weights up to 1 the statistics stay between those that were seen. Where x' = x, as in rounds, d stays as it is.
"""

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from hocket.policies import Contribution
from hocket.ranking import Positions
from hocket.schema import Kind, Schema, Vector


def positions(schema: Schema) -> Positions | None:
    """The coordinates of buffers in the flat vector, ascending int32; None if there are none."""
    at = schema.views(np.arange(schema.size, dtype=np.int32))
    found = [at[s.name].ravel() for s in schema.travelling if s.kind is Kind.BUFFER]
    return np.concatenate(found).astype(np.int32, copy=False) if found else None


def rebased(c: Contribution, buffers: Positions, x: Vector) -> Contribution:
    """The contribution as one that began at ``x``, float32[size], in its buffers; the rest is as it was."""
    at = buffers if c.covered is None else np.intersect1d(buffers, c.covered)
    if np.array_equal(c.start[at], x[at]):
        return c
    start, delta = c.start.copy(), c.delta.copy()
    delta[at] += start[at] - x[at]
    start[at] = x[at]
    return structs.replace(c, start=start, delta=delta)


def averaged(after: Vector, buffers: Positions, x: Vector, step: NDArray[np.float64]) -> None:
    """Put x + step into the buffers of ``after``, in place."""
    after[buffers] = x[buffers] + step[buffers]
