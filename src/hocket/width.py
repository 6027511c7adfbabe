"""The leading part of a model: at width r a layer keeps ceil(r units) outputs, and as many inputs as the layer before
has.

Features and classes stay. A slice is the leading block of every tensor, so that slices of smaller widths lie inside it.
"""

from math import ceil

import numpy as np
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.schema import Schema, Segment


def at_width(schema: Schema, width: float) -> list[Segment]:
    """The segments of a model of some width.

    Raises:
        InvalidInput: the model is no chain of layers with a bias each.
    """
    segments = schema.travelling
    weights = [i for i, s in enumerate(segments) if len(s.shape) > 1]
    paired = all(i + 1 < len(segments) and len(segments[i + 1].shape) == 1 for i in weights)
    if len(weights) < 1 or not paired or len(segments) != 2 * len(weights):
        names = ", ".join(s.name for s in segments)
        raise InvalidInput(f"slices: segments {names}; a sliced model is a chain of weights with a bias after each")
    out = 0 if all(segments[i].shape[0] == segments[i + 1].size for i in weights) else 1
    if any(segments[i].shape[out] != segments[i + 1].size for i in weights):
        raise InvalidInput("slices: biases fit neither the first nor the second axis of their weights")
    found: list[Segment] = []
    inputs, whole = 0, 0
    for i in weights:
        shape, units = list(segments[i].shape), segments[i + 1].size
        last = i == weights[-1]
        kept = units if last else ceil(width * units)
        if whole:
            if shape[1 - out] % whole:
                raise InvalidInput(f"slices: {segments[i].name} has {shape[1 - out]} inputs for {whole} units before")
            shape[1 - out] = shape[1 - out] // whole * inputs
        shape[out] = kept
        inputs, whole = kept, units
        found += [Segment(segments[i].name, tuple(shape)), Segment(segments[i + 1].name, (kept,))]
    return found


def block(schema: Schema, width: float) -> NDArray[np.int64]:
    """The coordinates of a slice, ascending."""
    out, at = [], 0
    for s, small in zip(schema.travelling, at_width(schema, width), strict=True):
        places = np.arange(s.size).reshape(s.shape)[tuple(slice(n) for n in small.shape)]
        out.append(places.ravel() + at)
        at += s.size
    return np.concatenate(out)
