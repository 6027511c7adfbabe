"""A hidden state per band of a nested sub-model: clients with different sub-models share what they have in common.

    m_k = encode(x_{t+1}[B_k] - h_t[B_k]),   h_{t+1}[B_k] = h_t[B_k] + decode(m_k)          for every band B_k

x is the server's model, h the hidden state that clients train from, B_k the coordinates between two cuts of the ranking
in force. Every band is encoded on its own, with its own scales and its own digest: a client holds h on the bands of its
cover, and all clients that hold a band hold the same bits. The difference of a band is published once per version,
whoever needs it. Bands that nobody fetches are followed by the server all the same, so h is one state of the model.

A new ranking begins an epoch: bands have other coordinates then, no difference spans two epochs, and a client takes
lists and exact values of its bands once. Within an epoch it replays differences while that is cheaper than those
values, and takes the values of bands that it did not have. What a client trains from is h, so a merge of models
averages h + delta, a merge of updates moves x. Without sub-models there is one band, the model.

Hidden state: Ortega, Jafarkhani, "Quantized and asynchronous federated learning", IEEE Transactions on Communications
73(4), 2025 (arXiv 2410.00242). Bands: Ma, "Federated learning based on pruning and recovery", 2024 (arXiv 2403.15439).
"""

from typing import ClassVar

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from hocket.codec import Coded, Float32
from hocket.downlink.bands import REMEMBERED, Epoch, band_schema, lists, rings
from hocket.downlink.frame import DIFFERENCE, FRAME, FULL, digest, frame, snapshot, successor
from hocket.downlink.hidden_state import check_contraction, watch
from hocket.errors import InvalidInput
from hocket.keyed import mix
from hocket.lease import ALL, WHOLE, Cover, Edge, Node
from hocket.ranking import Positions, Ranking
from hocket.schema import Schema, Vector
from hocket.strategy import policy

NO_EPOCH = -1
"""Of steps before anything was ranked."""


class Difference(Struct, array_like=True):
    """What was published of one band; ``data`` is framed, and empty in a run without arrays."""

    size: int
    exact: bool
    data: bytes = b""


class Step(Struct, array_like=True):
    """The differences from one node to the next, by band of an epoch."""

    epoch: int
    source: Node
    target: Node
    bands: list[Difference]


class HiddenBanded(Struct):
    """The newest hidden state float32[size] (None without arrays), its node, the ranking in force, the newest steps by
    target version, and relative errors of the last messages."""

    schema: Schema
    epoch: int = 0
    ranking: Ranking | None = None
    epochs: dict[int, Epoch] = {}
    value: np.ndarray | None = None
    node: Node | None = None
    log: dict[int, Step] = {}
    errors: list[float] = []


@policy("downlink")
class HiddenBands(Struct, frozen=True, tag="hidden_bands", tag_field="kind", forbid_unknown_fields=True):
    """Publish differences of the hidden state, band by band, through ``codec``.

    Args:
        codec: of the differences; one whose ``distortion`` is not below 1 is refused.
        monitor: take such a codec all the same, and stop once its mean error over 20 messages is 1 or more.
        log: versions whose differences are kept for clients that missed some.

    Raises:
        InvalidInput: the codec is not known to be a contraction.
        Diverged: it showed that it is none.
    """

    codec: Coded = Float32()
    monitor: bool = False
    log: int = 64
    covers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.log < 1:
            raise InvalidInput(f"hidden_bands.log = {self.log}: must be 1 or more versions")

    def init(self, schema: Schema) -> HiddenBanded:
        check_contraction("hidden_bands", self.codec, schema, self.monitor)
        return HiddenBanded(schema)

    def ranked(self, state: HiddenBanded, epoch: int, ranking: Ranking, listed: bool, version: int) -> None:
        """A new epoch begins."""
        for band, length in enumerate(_lengths(ranking.cuts)):
            check_contraction("hidden_bands", self.codec, band_schema(band, length), self.monitor)
        state.epoch, state.ranking = epoch, ranking
        state.epochs[epoch] = Epoch(ranking.cuts, listed, version)
        if len(state.epochs) > REMEMBERED:
            del state.epochs[next(iter(state.epochs))]

    def commit(
        self, state: HiddenBanded, task: str, before: Vector | None, after: Vector | None, version: int, key: int
    ) -> tuple[Vector | None, Vector | None, Node]:
        old, ranking = state.node, state.ranking
        if old is None:
            value = None if after is None else after.copy()
            state.value, state.node = value, _node(task, version, value)
            return after, value, state.node
        bands: list[Difference] = []
        value = None if after is None or state.value is None else state.value.copy()
        difference = None if after is None or value is None else after - value
        for band, length in enumerate(_lengths(_cuts(ranking, state.schema))):
            schema = band_schema(band, length)
            if value is None or difference is None:
                size, exact = self.codec.size(schema)
                bands.append(Difference(FRAME.size + size, exact))
                continue
            where: slice | Positions = slice(None) if ranking is None else ranking.band(band)
            body = self.codec.encode(difference[where], schema, mix(key ^ (band + 1)))
            parent = digest(value[where]).hex()
            value[where] += self.codec.decode(body, schema)
            target = Node(task, version, digest=digest(value[where]).hex())
            data = frame(DIFFERENCE, self.codec, target, parent, body)
            bands.append(Difference(len(data), True, data))
        if after is not None and value is not None and difference is not None:
            state.errors = watch(state.errors, task, self.codec, difference, difference - (after - value))
        state.value, state.node = value, _node(task, version, value)
        state.log[version] = Step(NO_EPOCH if ranking is None else state.epoch, old, state.node, bands)
        if len(state.log) > self.log:
            del state.log[next(iter(state.log))]
        return after, value, state.node

    # --- paths -------------------------------------------------------------------------------------------

    def path(self, state: HiddenBanded, have: Node | None, want: Node, schema: Schema) -> tuple[Edge, ...]:
        if have == want:
            return ()
        if want.cover.length == WHOLE:
            return self._whole(state, have, want, schema)
        epoch = state.epochs.get(want.cover.epoch)
        if epoch is None or want.cover.length not in epoch.cuts:
            raise InvalidInput(
                f"{want}: no band of epoch {want.cover.epoch} ends at {want.cover.length}; Rank with that cut first"
            )
        known = 0 if have is None or have.cover.epoch != want.cover.epoch else have.cover.length
        values = rings(epoch, want, lambda band, length: FRAME.size + FULL.size(band_schema(band, length))[0])
        if have is not None and 0 < known <= want.cover.length:
            inner = [e for e in values if e.target.cover.length <= known]
            replayed = self._replayed(state, have, want, len(inner), epoch.cuts)
            if replayed is not None and sum(e.size for e in replayed) <= sum(e.size for e in inner):
                values = [*replayed, *values[len(inner) :]]
        return (*lists(epoch, known, want, schema), *values)

    def _whole(self, state: HiddenBanded, have: Node | None, want: Node, schema: Schema) -> tuple[Edge, ...]:
        """With sub-models nobody trains all of it: this is what is fetched ahead, and what a broadcast takes."""
        if state.ranking is not None:
            every = Cover(state.epoch, schema.size)
            if have is not None and have.cover == ALL and have.version >= _since(state):
                have = replace(have, cover=every)
            return self.path(state, have, replace(want, cover=every), schema)
        values = Edge(want, None, FRAME.size + FULL.size(schema)[0])
        replayed = None if have is None else self._replayed(state, have, want, 1, ())
        return (values,) if replayed is None or sum(e.size for e in replayed) > values.size else (*replayed,)

    @staticmethod
    def _replayed(state: HiddenBanded, have: Node, want: Node, bands: int, cuts: tuple[int, ...]) -> list[Edge] | None:
        """The differences of the innermost bands from one node to another, None if some are gone."""
        epoch = want.cover.epoch if cuts else NO_EPOCH
        out: list[Edge] = []
        for version in range(have.version + 1, want.version + 1):
            step = state.log.get(version)
            if step is None or step.epoch != epoch:
                return None
            for band, difference in enumerate(step.bands[:bands]):
                source = replace(step.source, cover=Cover(epoch, cuts[band - 1] if band else 0) if cuts else ALL)
                target = replace(step.target, cover=Cover(epoch, cuts[band]) if cuts else ALL)
                out.append(Edge(target, source, difference.size, difference.exact, band))
        return out if have.version <= want.version else None

    def open(self, state: HiddenBanded, edge: Edge, value: Vector | None, schema: Schema) -> bytes:
        if _replays(edge):
            step = state.log.get(edge.target.version)
            if step is None or step.epoch != (NO_EPOCH if edge.target.cover == ALL else edge.target.cover.epoch):
                raise InvalidInput(f"the difference to {edge.target} is gone; take its values")
            return step.bands[edge.band].data
        if value is None:
            raise InvalidInput(f"{edge.target} is gone; a newer one has been published")
        own = value[_begin(edge) :]
        target = replace(edge.target, digest=digest(own).hex())
        return snapshot(target, own, band_schema(edge.band, len(own)))

    def apply(self, held: Vector | None, edge: Edge, data: bytes, schema: Schema) -> Vector:
        begin, end = _begin(edge), schema.size if edge.target.cover == ALL else edge.target.cover.length
        part, where = band_schema(edge.band, end - begin), f"band {edge.band} of {edge.target}"
        if begin and (held is None or len(held) < begin):
            raise InvalidInput(f"{where}: it belongs outside {begin} values; fetch those first")
        inner, known, outer = (np.empty(0, np.float32),) * 3 if held is None else np.split(held, (begin, end))
        band = successor(self.codec, known if len(known) == end - begin else None, data, edge.target, part, where)
        return np.concatenate([inner, band, outer] if _replays(edge) else [inner, band])


def _since(state: HiddenBanded) -> int:
    """The first version whose whole is in the order of the newest epoch for sure: a ranking comes after a version."""
    return state.epochs[state.epoch].version + (state.epoch > 0)


def _node(task: str, version: int, value: Vector | None) -> Node:
    return Node(task, version, "hidden", digest="" if value is None else digest(value).hex())


def _cuts(ranking: Ranking | None, schema: Schema) -> tuple[int, ...]:
    return (schema.size,) if ranking is None else ranking.cuts


def _lengths(cuts: tuple[int, ...]) -> list[int]:
    return [b - a for a, b in zip((0, *cuts), cuts, strict=False)]


def _begin(edge: Edge) -> int:
    """Where the band of an edge begins: its source is named by the cover inside it."""
    return 0 if edge.source is None or edge.source.cover == ALL else edge.source.cover.length


def _replays(edge: Edge) -> bool:
    return edge.source is not None and edge.source.version != edge.target.version
