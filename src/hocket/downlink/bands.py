"""Nested sub-models in bands: each ring is published once, and a client collects the innermost ones up to its own.

With covers of lengths n_1 < n_2 < ... of one ranking, band k is the values of the coordinates n_{k-1} to n_k of it. A
client with cover n_i fetches bands 1 to i, in that order; together they are its sub-model, bit for bit. So an origin
with a relay or cache behind it sends the largest sub-model once per version, however many clients there are; each
client still receives all of its own.

A list of the coordinates of a band (a bitmap of the model) is an edge of its own, sent once per epoch to a client,
unless clients make the ranking themselves.

Ma, "Federated learning based on pruning and recovery", 2024 (arXiv 2403.15439), differential sub-model distribution.
"""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from hocket import wire
from hocket.codec.float32 import Float32
from hocket.errors import InvalidInput
from hocket.lease import INDEX, WHOLE, Cover, Edge, Node
from hocket.ranking import Ranking, listing_size
from hocket.schema import Schema, Segment, Vector
from hocket.strategy import policy

_CODEC = Float32()
REMEMBERED = 64


class Epoch(Struct):
    """Where bands end, whether clients need lists, and the version at which the epoch began."""

    cuts: tuple[int, ...]
    listed: bool
    version: int


class Published(Struct):
    """The newest epochs, and the paths to the newest node by where they begin and end."""

    epochs: dict[int, Epoch] = {}
    version: int = -1
    paths: dict[tuple[int, int, int], tuple[Edge, ...]] = {}


@policy("downlink")
class Bands(Struct, frozen=True, tag="bands", tag_field="kind", forbid_unknown_fields=True):
    """One node per version; an edge per band of it, in full precision, and the whole model for whoever trains that."""

    covers: ClassVar[bool] = True

    def init(self, schema: Schema) -> Published:
        return Published()

    def ranked(self, state: Published, epoch: int, ranking: Ranking, listed: bool, version: int) -> None:
        """A new epoch begins."""
        state.epochs[epoch] = Epoch(ranking.cuts, listed, version)
        if len(state.epochs) > REMEMBERED:
            del state.epochs[next(iter(state.epochs))]

    def commit(
        self, state: Published, task: str, before: Vector | None, after: Vector | None, version: int, key: int
    ) -> tuple[Vector | None, Vector | None, Node]:
        return after, after, Node(task, version)

    def path(self, state: Published, have: Node | None, want: Node, schema: Schema) -> tuple[Edge, ...]:
        if have == want:
            return ()
        if state.version != want.version:
            state.version, state.paths = want.version, {}
        known = 0
        if have is not None and have.cover.epoch == want.cover.epoch and have.cover.length != WHOLE:
            epoch = state.epochs.get(want.cover.epoch)  # a device may say that it has what never was
            known = have.cover.length if epoch is not None and have.cover.length in epoch.cuts else 0
        name = (want.cover.epoch, want.cover.length, known)
        if name not in state.paths:
            state.paths[name] = _path(state, known, want, schema)
        return state.paths[name]

    def open(self, state: Published, edge: Edge, value: Vector | None, schema: Schema) -> bytes:
        if value is None:
            raise InvalidInput(f"{edge.target} is gone; a newer one has been published")
        if edge.target.cover.length == WHOLE:
            return wire.encode(_CODEC, value, schema, 0)
        begin = 0 if edge.source is None else edge.source.cover.length
        return wire.encode(_CODEC, value[begin:], band_schema(edge.band, len(value) - begin), 0)

    def apply(self, held: Vector | None, edge: Edge, data: bytes, schema: Schema) -> Vector:
        if edge.target.cover.length == WHOLE:
            return wire.decode(_CODEC, data, schema)
        begin = 0 if edge.source is None else edge.source.cover.length
        values = wire.decode(_CODEC, data, band_schema(edge.band, edge.target.cover.length - begin))
        if not begin:
            return values
        if held is None or len(held) != begin:
            raise InvalidInput(f"{edge.target}: band {edge.band} belongs outside {begin} values; fetch those first")
        return np.concatenate([held, values])


def _path(state: Published, known: int, want: Node, schema: Schema) -> tuple[Edge, ...]:
    cover = want.cover
    if cover.length == WHOLE:
        return (Edge(want, None, wire.size(_CODEC, schema)[0]),)
    epoch = state.epochs.get(cover.epoch)
    if epoch is None or cover.length not in epoch.cuts:
        raise InvalidInput(f"{want}: no band of epoch {cover.epoch} ends at {cover.length}; Rank with that cut first")
    values = rings(epoch, want, lambda band, length: wire.size(_CODEC, band_schema(band, length))[0])
    return (*lists(epoch, known, want, schema), *values)


def lists(epoch: Epoch, known: int, want: Node, schema: Schema) -> list[Edge]:
    """Edges with the coordinates of the bands of a node, but those of the innermost ``known``."""
    name, size = want.cover.epoch, listing_size(schema.size)
    return [
        Edge(Node(want.task, epoch.version, INDEX, cover=Cover(name, cut)), None, size, band=-1 - band)
        for band, cut in enumerate(epoch.cuts)
        if epoch.listed and known < cut <= want.cover.length
    ]


def rings(epoch: Epoch, want: Node, size: Callable[[int, int], int]) -> list[Edge]:
    """Edges with the values of the bands of a node; ``size``: bytes of a band of some number and length."""
    out: list[Edge] = []
    at: Node | None = None
    for band, cut in enumerate(c for c in epoch.cuts if c <= want.cover.length):
        inner = 0 if at is None else at.cover.length
        node = replace(want, cover=Cover(want.cover.epoch, cut))
        out.append(Edge(node, at, size(band, cut - inner), band=band))
        at = node
    return out


def band_schema(band: int, length: int) -> Schema:
    """The values of a band as a schema of their own."""
    return Schema((Segment(f"band{band}", (length,)),))
