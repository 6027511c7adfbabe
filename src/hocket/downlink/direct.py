"""Direct quantization: the model itself is encoded, once per version; what is lost is lost (the control for QAFeL).

Clients train from decode(encode(x_t)). Nothing remembers the error, which is of the size of the model rather than of a
step, so training stalls at it.
"""

from msgspec import Struct

from hocket import wire
from hocket.codec import Coded, Float32
from hocket.errors import InvalidInput
from hocket.lease import Edge, Node
from hocket.schema import Schema, Vector
from hocket.strategy import policy


class Encoded(Struct):
    """The newest encoded models by version; ``size`` in bytes as the codec promises it."""

    schema: Schema
    size: int
    exact: bool
    models: dict[int, bytes] = {}


@policy("downlink")
class Direct(Struct, frozen=True, tag="direct", tag_field="kind", forbid_unknown_fields=True):
    """Publish each version through ``codec``; the encoded models of the last ``log`` versions can be fetched."""

    codec: Coded = Float32()
    log: int = 256

    def __post_init__(self) -> None:
        if self.log < 1:
            raise InvalidInput(f"direct.log = {self.log}: must be 1 or more versions")

    def init(self, schema: Schema) -> Encoded:
        return Encoded(schema, *wire.size(self.codec, schema))

    def commit(
        self, state: Encoded, task: str, before: Vector | None, after: Vector | None, version: int, key: int
    ) -> tuple[Vector | None, Vector | None, Node]:
        node = Node(task, version, "direct")
        if after is None:
            return None, None, node
        state.models[version] = data = wire.encode(self.codec, after, state.schema, key)
        if len(state.models) > self.log:
            del state.models[next(iter(state.models))]
        return after, wire.decode(self.codec, data, state.schema), node

    def path(self, state: Encoded, have: Node | None, want: Node, schema: Schema) -> tuple[Edge, ...]:
        if have == want:
            return ()
        data = state.models.get(want.version)
        return (Edge(want, None, state.size, state.exact) if data is None else Edge(want, None, len(data)),)

    def open(self, state: Encoded, edge: Edge, value: Vector | None, schema: Schema) -> bytes:
        if edge.target.version not in state.models:
            raise InvalidInput(f"{edge.target} is gone; a newer one has been published")
        return state.models[edge.target.version]

    def apply(self, held: Vector | None, edge: Edge, data: bytes, schema: Schema) -> Vector:
        return wire.decode(self.codec, data, schema)
