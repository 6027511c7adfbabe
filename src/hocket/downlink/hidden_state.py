"""A hidden state that server and clients share bit for bit; only its encoded differences travel (QAFeL).

With x the server's model, h the hidden state that clients train from, Q_s the codec and (x, h) after version t:

    m_t = encode(x_{t+1} - h_t),   h_{t+1} = h_t + decode(m_t),   h_0 = x_0

The server applies the decoded message exactly as every client does, so what Q_s leaves out is part of the next
difference and does not add up. That holds while Q_s is a contraction, E||Q_s(v) - v||^2 <= (1 - delta_s) ||v||^2 with
delta_s > 0. A client that missed messages replays them while that is cheaper than a snapshot of h in full precision.

Each message is framed: format, codec, sequence (the version it leads to), digests of the state before and after it,
length and checksum of the body. A client applies it to that very state only, and keeps the result only if its digest is
right.

Ortega, Jafarkhani, "Quantized and asynchronous federated learning", IEEE Transactions on Communications 73(4), 2025
(arXiv 2410.00242).
"""

from statistics import fmean

import numpy as np
from msgspec import Struct

from hocket.codec import Coded, Float32
from hocket.downlink.frame import DIFFERENCE, FRAME, FULL, digest, frame, snapshot, successor
from hocket.errors import Diverged, InvalidInput
from hocket.lease import Edge, Node
from hocket.schema import Schema, Vector
from hocket.strategy import FullStrategy, FullTask, policy

WATCHED = 20  # messages over which the relative error is averaged


class Message(Struct, array_like=True):
    """One published difference; ``data`` is framed, and empty in a run without arrays."""

    source: Node
    target: Node
    size: int
    exact: bool
    data: bytes = b""


class Hidden(Struct):
    """The newest hidden state (None without arrays) and its node, the newest messages by target version.

    ``full``: bytes of a snapshot; ``errors``: relative errors ||Q(v) - v||^2 / ||v||^2 of the last messages.
    """

    schema: Schema
    full: int
    value: np.ndarray | None = None
    node: Node | None = None
    log: dict[int, Message] = {}
    errors: list[float] = []


@policy("downlink")
class HiddenState(Struct, frozen=True, tag="hidden_state", tag_field="kind", forbid_unknown_fields=True):
    """Publish differences of the hidden state through ``codec``.

    Args:
        codec: Q_s. One whose ``distortion`` (the largest share of a difference that it may leave out) is not below 1
            on the task's schema is refused.
        monitor: take such a codec all the same, and stop once its mean error over 20 messages is 1 or more.
        log: messages kept for clients that missed some; who missed more takes a snapshot.

    Raises:
        InvalidInput: the codec is not known to be a contraction.
        Diverged: it showed that it is none.
    """

    codec: Coded = Float32()
    monitor: bool = False
    log: int = 64

    def __post_init__(self) -> None:
        if self.log < 1:
            raise InvalidInput(f"hidden_state.log = {self.log}: must be 1 or more messages")

    def init(self, schema: Schema) -> Hidden:
        check_contraction("hidden_state", self.codec, schema, self.monitor)
        return Hidden(schema, FRAME.size + FULL.size(schema)[0])

    def commit(
        self, state: Hidden, task: str, before: Vector | None, after: Vector | None, version: int, key: int
    ) -> tuple[Vector | None, Vector | None, Node]:
        old, hidden, body, value = state.node, state.value, b"", None
        if after is not None and hidden is not None:
            difference = after - hidden
            body = self.codec.encode(difference, state.schema, key)
            message = self.codec.decode(body, state.schema)
            state.errors = watch(state.errors, task, self.codec, difference, message)
            value = hidden + message
        elif after is not None:
            value = after.copy()
        node = Node(task, version, "hidden", digest="" if value is None else digest(value).hex())
        if old is not None:
            size, exact = self.codec.size(state.schema)
            data = b"" if value is None else frame(DIFFERENCE, self.codec, node, old.digest, body)
            state.log[version] = Message(old, node, len(data) or FRAME.size + size, bool(data) or exact, data)
            if len(state.log) > self.log:
                del state.log[next(iter(state.log))]
        state.value, state.node = value, node
        return after, value, node

    def path(self, state: Hidden, have: Node | None, want: Node, schema: Schema) -> tuple[Edge, ...]:
        if have == want:
            return ()
        edges: list[Edge] = []
        size, at = 0, want
        while have is not None and at.version > have.version and size <= state.full:
            message = state.log.get(at.version)
            if message is None or message.target != at:
                break
            edges.append(Edge(at, message.source, message.size, message.exact))
            size, at = size + message.size, message.source
        if at == have and size <= state.full:
            return tuple(reversed(edges))
        return (Edge(want, None, state.full),)

    def open(self, state: Hidden, edge: Edge, value: Vector | None, schema: Schema) -> bytes:
        if edge.source is None:
            return snapshot(edge.target, value, schema)
        message = state.log.get(edge.target.version)
        if message is None or message.target != edge.target:
            raise InvalidInput(f"the difference to {edge.target} is gone; take a snapshot")
        return message.data

    def apply(self, held: Vector | None, edge: Edge, data: bytes, schema: Schema) -> Vector:
        where = f"hidden state, message to version {edge.target.version}"
        return successor(self.codec, held, data, edge.target, schema, where)

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """One hidden state covers the whole model."""
        kind = None if task is None else task.submodel.__struct_config__.tag  # type: ignore[attr-defined]
        if kind not in (None, "whole"):
            return (
                f"downlink hidden_state keeps one state of the whole model, submodel {kind} needs parts of it; use "
                "downlink hidden_bands, or bands"
            )
        return None


def check_contraction(name: str, codec: Coded, schema: Schema, monitor: bool) -> None:
    """Raise :class:`InvalidInput` for a codec that is not known to leave less than all of a difference out."""
    bound = codec.distortion(schema)
    if bound >= 1 and not monitor:
        raise InvalidInput(
            f"{name}: codec {codec} may leave {bound:.3g} of a difference out on {schema.size} coordinates, and what "
            "is left out adds up unless that is below 1; use smaller buckets or more bits, or set monitor"
        )


def watch(errors: list[float], task: str, codec: Coded, difference: Vector, message: Vector) -> list[float]:
    """Relative errors ||Q(v) - v||^2 / ||v||^2 of the last messages, this one included; raises :class:`Diverged` if
    their mean says that the codec is no contraction."""
    energy = float(np.dot(difference, difference))
    left = difference - message
    errors = [*errors, float(np.dot(left, left)) / energy if energy else 0.0][-WATCHED:]
    if len(errors) == WATCHED and not fmean(errors) < 1:
        raise Diverged(
            f"task {task!r}: codec {codec} leaves {fmean(errors):.3g} of each difference of the hidden state out, so "
            "its error grows; use smaller buckets or more bits"
        )
    return errors
