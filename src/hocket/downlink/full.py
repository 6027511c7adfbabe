"""The whole model, in full precision, to whoever does not hold the newest version."""

from msgspec import Struct

from hocket import wire
from hocket.codec.float32 import Float32
from hocket.errors import InvalidInput
from hocket.lease import Edge, Node
from hocket.schema import Schema, Vector
from hocket.strategy import policy

_CODEC = Float32()


class Newest(Struct):
    """Bytes of the one kind of edge there is, and the path to the newest node asked for."""

    nbytes: int
    path: tuple[Edge, ...] = ()


@policy("downlink")
class Full(Struct, frozen=True, tag="full", tag_field="kind", forbid_unknown_fields=True):
    """One node per version, one edge (from nothing) per node; what is kept is what is published."""

    def init(self, schema: Schema) -> Newest:
        return Newest(wire.size(_CODEC, schema)[0])

    def commit(
        self, state: Newest, task: str, before: Vector | None, after: Vector | None, version: int, key: int
    ) -> tuple[Vector | None, Vector | None, Node]:
        return after, after, Node(task, version)

    def path(self, state: Newest, have: Node | None, want: Node, schema: Schema) -> tuple[Edge, ...]:
        if have == want:
            return ()
        if not state.path or state.path[0].target != want:
            state.path = (Edge(want, None, state.nbytes),)
        return state.path

    def open(self, state: Newest, edge: Edge, value: Vector | None, schema: Schema) -> bytes:
        if value is None:
            raise InvalidInput(f"{edge.target} is gone; a newer one has been published")
        return wire.encode(_CODEC, value, schema, 0)

    def apply(self, held: Vector | None, edge: Edge, data: bytes, schema: Schema) -> Vector:
        return wire.decode(_CODEC, data, schema)
