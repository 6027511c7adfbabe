"""Clients fetch an anchor early and a quantized correction when they start (DoCoFL).

    A_a = Q_a(x_a)  for every E-th version a,   h_v = A_a + Q_c(x_v - A_a),   a the oldest of the newest ``keep``

The anchor is most of what a client needs and is known long before its round, so it can be fetched ahead; only the
correction, of about the same size, has to be fetched in time. Both are far smaller than the model, and their size does
not depend on how long a client was away. What a client trains from is h_v, not x_v: the method loses a little.

``follow`` is what FedFetch makes of it: an anchor is the freshest there is and corrections go on from one another,

    h_v = A_v + Q_c(x_v - A_v)  if v is a multiple of E,  else  h_{v-1} + Q_c(x_v - h_{v-1})

so that a client fetches the anchor and what followed whenever its schedule says so, and the last correction in its
round. Everybody who is up to date holds the same bits (the released code starts such a chain for each cohort).

Dorfman, Vargaftik, Ben-Itzhak, Levy, "DoCoFL: downlink compression for cross-device federated learning", ICML 2023
(arXiv 2302.00543); Yan et al., FedFetch, INFOCOM 2025 (arXiv 2504.15366).
"""

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from hocket.codec import ECUQ, EDEN, Coded
from hocket.downlink.frame import DIFFERENCE, FRAME, FULL, digest, frame, snapshot, successor
from hocket.downlink.hidden_state import Message
from hocket.errors import InvalidInput
from hocket.keyed import mix
from hocket.lease import Edge, Node
from hocket.schema import Schema, Vector
from hocket.strategy import FullStrategy, FullTask, policy

ANCHOR = "anchor"
"""Kind of the nodes whose value is an anchor; the ``variant`` of a node is the version of its anchor."""


class Anchor(Struct, array_like=True):
    """One anchor: its node, the bytes of its edge and how many they are; ``data`` is empty in a run without arrays."""

    node: Node
    size: int
    exact: bool
    data: bytes = b""


class Anchored(Struct):
    """The newest value (None without arrays) and its node; anchors, their values, and corrections, by version.

    ``full``: bytes of a snapshot.
    """

    schema: Schema
    full: int
    value: np.ndarray | None = None
    node: Node | None = None
    anchors: dict[int, Anchor] = {}
    values: dict[int, np.ndarray] = {}
    log: dict[int, Message] = {}


@policy("downlink")
class Anchors(Struct, frozen=True, tag="anchors", tag_field="kind", forbid_unknown_fields=True):
    """Publish anchors and corrections.

    Args:
        anchor, correction: Q_a and Q_c.
        every: E, versions from one anchor to the next.
        keep: anchors in use at once; clients use the oldest.
        window: versions ahead of its round that a client fetches its anchor.
        follow: corrections go on from one another, see above; ``keep`` and ``window`` then mean nothing.
        log: corrections kept for clients that are late; who is later takes a snapshot.
    """

    anchor: Coded = ECUQ(2.0)
    correction: Coded = EDEN(2)
    every: int = 10
    keep: int = 3
    window: int = 3
    follow: bool = False
    log: int = 64

    def __post_init__(self) -> None:
        for name in ("every", "keep", "log"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"anchors.{name} = {getattr(self, name)}: must be 1 or more")
        if self.window < 0 or (not self.follow and self.window > (self.keep - 1) * self.every):
            raise InvalidInput(
                f"anchors.window = {self.window}: the anchor of a round is {(self.keep - 1) * self.every} versions old "
                "at least, so that is how early it can be fetched at most; keep more, or publish them less often"
            )

    def init(self, schema: Schema) -> Anchored:
        return Anchored(schema, FRAME.size + FULL.size(schema)[0])

    # --- publishing --------------------------------------------------------------------------------------

    def commit(
        self, state: Anchored, task: str, before: Vector | None, after: Vector | None, version: int, key: int
    ) -> tuple[Vector | None, Vector | None, Node]:
        if version % self.every == 0:
            self._publish(state, task, after, version, mix(key))
        a = self._of(version)
        anchor, value = state.anchors[a], None
        on = anchor.node if not self.follow or a == version or state.node is None else state.node
        body, size, exact = b"", *self.correction.size(state.schema)
        if after is not None:
            base = state.values[a] if on is anchor.node else state.value
            assert base is not None, "a run has arrays from its beginning"
            body = self.correction.encode(after - base, state.schema, key)
            value = base + self.correction.decode(body, state.schema)
        node = Node(task, version, "anchored", a, digest="" if value is None else digest(value).hex())
        data = b"" if value is None else frame(DIFFERENCE, self.correction, node, on.digest, body)
        state.log[version] = Message(on, node, len(data) or FRAME.size + size, bool(data) or exact, data)
        self._forget(state, version)
        state.value, state.node = value, node
        return after, value, node

    def _publish(self, state: Anchored, task: str, x: Vector | None, version: int, key: int) -> None:
        """Make an anchor of the model."""
        if x is None:
            size, exact = self.anchor.size(state.schema)
            expected = getattr(self.anchor, "expected", None)
            size = size if expected is None else expected(state.schema)
            node = Node(task, version, ANCHOR, version)
            state.anchors[version] = Anchor(node, FRAME.size + size, exact and expected is None)
            return
        body = self.anchor.encode(x, state.schema, key)
        value = self.anchor.decode(body, state.schema)
        node = Node(task, version, ANCHOR, version, digest=digest(value).hex())
        data = frame(DIFFERENCE, self.anchor, node, "", body)
        state.anchors[version], state.values[version] = Anchor(node, len(data), True, data), value

    def _of(self, version: int) -> int:
        """The anchor that a version is corrected from."""
        newest = version - version % self.every
        return newest if self.follow else max(0, newest - (self.keep - 1) * self.every)

    def _forget(self, state: Anchored, version: int) -> None:
        """Drop what nobody will ask for."""
        state.log.pop(version - self.log, None)
        oldest = self._of(max(0, version - self.log))
        state.anchors = {v: a for v, a in state.anchors.items() if v >= oldest}
        state.values = {v: x for v, x in state.values.items() if v >= self._of(version)}

    def ahead(self, state: Anchored, node: Node) -> Node:
        """What to fetch ahead of a round, ``window`` versions after this one: its anchor."""
        if self.follow or node.kind == ANCHOR:
            return node
        anchor = state.anchors.get(self._of(node.version + self.window))
        return node if anchor is None else replace(anchor.node, version=node.version)

    # --- catching up -------------------------------------------------------------------------------------

    def path(self, state: Anchored, have: Node | None, want: Node, schema: Schema) -> tuple[Edge, ...]:
        snapshot = (Edge(want, None, state.full),)
        edges: list[Edge] = []
        at = want
        while not _same(have, at):
            if at.kind == ANCHOR:
                anchor = state.anchors.get(at.variant)
                if anchor is None:
                    return snapshot
                edges.append(Edge(anchor.node, None, anchor.size, anchor.exact))
                break
            message = state.log.get(at.version)
            if message is None or message.target != at:
                return snapshot
            edges.append(Edge(at, message.source, message.size, message.exact))
            at = message.source
        shorter = sum(e.size for e in edges) < state.full
        return tuple(reversed(edges)) if shorter or want.kind == ANCHOR else snapshot  # there is none of an anchor

    def open(self, state: Anchored, edge: Edge, value: Vector | None, schema: Schema) -> bytes:
        if edge.target.kind == ANCHOR:
            anchor = state.anchors.get(edge.target.variant)
            if anchor is None:
                raise InvalidInput(f"{edge.target} is gone; fetch a newer one")
            return anchor.data
        if edge.source is None:
            return snapshot(edge.target, value, schema)
        message = state.log.get(edge.target.version)
        if message is None or message.target != edge.target:
            raise InvalidInput(f"the correction to {edge.target} is gone; take a snapshot")
        return message.data

    # --- on the device -----------------------------------------------------------------------------------

    def apply(self, held: Vector | None, edge: Edge, data: bytes, schema: Schema) -> Vector:
        target = edge.target
        where, alone = f"{target.kind} of version {target.version}", target.kind == ANCHOR
        return successor(self.anchor if alone else self.correction, held, data, target, schema, where, alone=alone)

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """One anchor for all."""
        kind = None if task is None else task.submodel.__struct_config__.tag  # type: ignore[attr-defined]
        if kind not in (None, "whole"):
            return f"downlink anchors publishes the whole model, submodel {kind} needs parts; use downlink bands"
        return None


def _same(have: Node | None, node: Node) -> bool:
    """Whether a client that holds one holds the other: anchors are named anew by every version that uses them."""
    if have is None or have == node:
        return have is not None
    return have.kind == node.kind == ANCHOR and have.variant == node.variant
