"""The server applies its own compressed update; who missed several gets one message instead of all (FedFetch).

    m_t = encode(y_t - x_t),   x_{t+1} = x_t + decode(m_t)              y_t: x_t after the round's step

so that x is the same, bit for bit, on the server and on every client that is up to date. From version a to b travels
whatever is smallest: with a codec that names coordinates and gives their values exactly (top-k, rand-k, GlueFL), the
new values at the coordinates that any of the updates changed; else the chain of the messages, as they were, since a sum
of floats in another order is another number; else the whole model. The message of a client that missed k updates is
made when it is asked for and is the same for all of them.

Yan et al., "FedFetch: faster federated learning with adaptive downstream prefetching", INFOCOM 2025 (arXiv 2504.15366);
Sattler et al., "Robust and communication-efficient federated learning from non-iid data", 2019 (arXiv 1903.02891).
"""

from functools import lru_cache
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.codec import Coded, Glue, TopK, positions
from hocket.codec.sparse import largest
from hocket.downlink.frame import DIFFERENCE, FRAME, FULL, VALUES, digest, frame, snapshot, successor
from hocket.downlink.overlap import masked
from hocket.errors import InvalidInput
from hocket.lease import Edge, Node
from hocket.schema import Schema, Vector
from hocket.strategy import FullStrategy, FullTask, policy


class Message(Struct, array_like=True):
    """The update to a version: its bytes (``data``, framed) for a chain, or a bitmap of what it ``changed``.

    Both are empty in a run without arrays.
    """

    source: Node
    target: Node
    size: int
    exact: bool
    data: bytes = b""
    changed: bytes = b""


class Published(Struct):
    """The newest value (None without arrays) and its node, the newest messages by target version.

    ``full``: bytes of the whole model; ``shared``: bitmap of GlueFL's shared mask, empty if there is none.
    """

    schema: Schema
    full: int
    value: np.ndarray | None = None
    node: Node | None = None
    log: dict[int, Message] = {}
    shared: bytes = b""


@policy("downlink")
class Combined(Struct, frozen=True, tag="combined", tag_field="kind", forbid_unknown_fields=True):
    """Publish updates through ``codec``, and their combinations over up to ``log`` versions.

    Args:
        overlap: without arrays, how alike the masks of updates in a row are (:mod:`hocket.downlink.overlap`); None:
            independent.
        shared: with codec glue, the share of coordinates that the next update changes in any case, those that this
            one changed most; 0: none.
        regenerate: every so many versions an update is free of the shared mask.
    """

    codec: Coded = TopK(0.2)
    log: int = 49
    overlap: float | None = 1.6
    shared: float = 0.0
    regenerate: int = 10

    def __post_init__(self) -> None:
        if self.log < 1:
            raise InvalidInput(f"combined.log = {self.log}: must be 1 or more versions")
        if self.overlap is not None and not 0 < self.overlap < float("inf"):
            raise InvalidInput(f"combined.overlap = {self.overlap}: must be above 0, or left out for independent masks")
        if self.shared and not (isinstance(self.codec, Glue) and 0 < self.shared < self.codec.share):
            raise InvalidInput(f"combined.shared = {self.shared}: needs codec glue, and is above 0 and below its share")
        if self.regenerate < 1:
            raise InvalidInput(f"combined.regenerate = {self.regenerate}: must be 1 or more versions")

    def init(self, schema: Schema) -> Published:
        return Published(schema, FRAME.size + FULL.size(schema)[0])

    # --- publishing --------------------------------------------------------------------------------------

    def commit(
        self, state: Published, task: str, before: Vector | None, after: Vector | None, version: int, key: int
    ) -> tuple[Vector | None, Vector | None, Node]:
        value, data, changed = after, b"", np.empty(0, np.bool_)
        if after is not None and before is not None:
            data, update = self._encode(state, after - before, version, key)
            value = before + update
            changed = value.view(np.uint32) != before.view(np.uint32)
        elif after is not None:
            value = after.copy()
        node = Node(task, version, digest="" if value is None else digest(value).hex())
        if state.node is not None:
            state.log[version] = self._message(state, node, data, changed)
            if len(state.log) > self.log:
                del state.log[next(iter(state.log))]
        state.value, state.node = value, node
        return value, value, node

    def _encode(self, state: Published, update: Vector, version: int, key: int) -> tuple[bytes, Vector]:
        codec, schema = self.codec, state.schema
        if not self.shared or not isinstance(codec, Glue):
            data = codec.encode(update, schema, key)
            return data, codec.decode(data, schema)
        free = version % self.regenerate == 1 or not state.shared
        mask = None if free else _unpack(state.shared, update.size)
        data = codec.encode(update, schema, key, mask)
        sent = codec.decode(data, schema, mask)
        kept = np.zeros(update.size, np.bool_)
        kept[largest(sent, max(1, int(self.shared * update.size)))] = True
        state.shared = np.packbits(kept).tobytes()
        return data, sent

    def _message(self, state: Published, node: Node, body: bytes, changed: NDArray[np.bool_]) -> Message:
        assert state.node is not None, "an update starts from a node"
        if self.codec.merges:
            bitmap = np.packbits(changed).tobytes()
            return Message(state.node, node, 0, bool(bitmap), changed=bitmap)
        size, exact = self.codec.size(state.schema)
        data = frame(DIFFERENCE, self.codec, node, state.node.digest, body) if body else b""
        return Message(state.node, node, len(data) or FRAME.size + size, bool(data) or exact, data)

    # --- catching up -------------------------------------------------------------------------------------

    def path(self, state: Published, have: Node | None, want: Node, schema: Schema) -> tuple[Edge, ...]:
        if have == want:
            return ()
        chain = self._chain(state, have, want)
        if chain and self.codec.merges:
            edge = Edge(want, have, *self._combined(schema, chain))
            if edge.size < state.full:
                return (edge,)
        elif chain and sum(m.size for m in chain) < state.full:
            return tuple(Edge(m.target, m.source, m.size, m.exact) for m in chain)
        return (Edge(want, None, state.full),)

    def _chain(self, state: Published, have: Node | None, want: Node) -> list[Message]:
        """The messages from one node to the other; none if some are gone."""
        if have is None or want.version - have.version > len(state.log):
            return []
        chain = [state.log.get(v) for v in range(have.version + 1, want.version + 1)]
        known = [m for m in chain if m is not None]
        if not known or len(known) < len(chain) or known[0].source != have or known[-1].target != want:
            return []
        return known

    def _combined(self, schema: Schema, chain: list[Message]) -> tuple[int, bool]:
        """Bytes of the new values on all that these updates changed, and whether that is exact."""
        n = schema.size
        if not chain[0].changed:
            kept = getattr(self.codec, "kept", lambda n: n)(n)
            return FRAME.size + 4 + masked(n, kept / n, len(chain), self.overlap), False
        at = _coded(_union(chain), n)
        return FRAME.size + 4 + len(at[0]) + 4 * at[1], True

    def open(self, state: Published, edge: Edge, value: Vector | None, schema: Schema) -> bytes:
        if edge.source is None:
            return snapshot(edge.target, value, schema)
        chain = self._chain(state, edge.source, edge.target)
        if not chain:
            raise InvalidInput(f"the update from {edge.source} to {edge.target} is gone; take a snapshot")
        if not self.codec.merges:
            return chain[0].data
        if value is None:
            raise InvalidInput(f"{edge.target} is gone; a newer one has been published")
        union = _union(chain)
        at, count = _coded(union, schema.size)
        new = value[_unpack(union, schema.size)].astype("<f4").tobytes()
        return frame(VALUES, self.codec, edge.target, edge.source.digest, count.to_bytes(4, "little") + at + new)

    # --- on the device -----------------------------------------------------------------------------------

    def apply(self, held: Vector | None, edge: Edge, data: bytes, schema: Schema) -> Vector:
        target = edge.target

        def values(held: Vector, body: memoryview) -> Vector:
            value = held.copy()
            at, new = _values(body, schema.size, target)
            value[at] = new
            return value

        where = f"update to version {target.version}"
        return successor(self.codec, held, data, target, schema, where, values=values)

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """One model for all."""
        kind = None if task is None else task.submodel.__struct_config__.tag  # type: ignore[attr-defined]
        if kind not in (None, "whole"):
            return f"downlink combined publishes updates of the whole model, submodel {kind} needs parts; use another"
        return None


def _unpack(bitmap: bytes, n: int) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(bitmap, np.uint8), count=n).view(np.bool_)


def _union(chain: list[Message]) -> bytes:
    """Bitmap of what any of these changed."""
    union: NDArray[np.uint8] = np.bitwise_or.reduce([np.frombuffer(m.changed, np.uint8) for m in chain])
    return union.tobytes()


@lru_cache(maxsize=64)
def _coded(bitmap: bytes, n: int) -> tuple[bytes, int]:
    """Positions as they travel, and how many."""
    at = np.flatnonzero(_unpack(bitmap, n))
    return positions.encode(at, n), len(at)


def _values(body: Any, n: int, target: Node) -> tuple[NDArray[np.int64], Vector]:
    """Positions and values of a combined update."""
    view = memoryview(body)
    count = int.from_bytes(view[:4], "little")
    if len(view) < 4 or count > n:
        raise InvalidInput(f"{target}: {count} coordinates of {n}; fetch it again")
    at, end = positions.decode(view[4:], n, count)
    if len(view) - 4 - end != 4 * count:
        raise InvalidInput(f"{target}: {len(view) - 4 - end} bytes of values; {count} take {4 * count}")
    return at, np.frombuffer(view[4 + end :], "<f4").astype(np.float32)
