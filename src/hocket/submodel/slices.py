"""Structured sub-models: the first r of every layer's units (HeteroFL), or a width drawn anew for each job (FjORD).

At width r a layer keeps ceil(r units) outputs and as many of its inputs as the layer before has outputs; features and
classes stay. A slice is the leading block of every tensor, so slices are nested, and one order of the coordinates, by
the least width that has them, makes each of them a prefix. Clients know the shapes, so nothing is listed. A slice is a
smaller model: with :class:`hocket.learning.SlicedLearner` it is trained at its own size.

| symbol | argument | source |
|---|---|---|
| r | ``widths`` | Diao, Ding, Tarokh, "HeteroFL", ICLR 2021 (arXiv 2010.01264), without its scaler and masked loss |
| p ~ U | ``drawn`` | Horvath et al., "FjORD", NeurIPS 2021 (arXiv 2102.13451), without distillation |
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket import events as on
from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.keyed import below, key
from hocket.lease import Cover, Lease
from hocket.ranking import Positions
from hocket.schema import Schema, Vector
from hocket.strategy import FullStrategy, FullTask, policy
from hocket.submodel.pruning import needs_parts
from hocket.view import View
from hocket.width import at_width, block


class Widths(Struct):
    """Lengths of the covers by width, the width of each client, and jobs seen (``drawn`` depends on it)."""

    lengths: list[int]
    largest: list[int]
    jobs: list[int]


@policy("submodel")
class Slices(Struct, frozen=True, tag="slices", tag_field="kind", forbid_unknown_fields=True):
    """Width slices.

    Args:
        widths: shares of the units, falling; a fleet is divided into as many equal parts, the first the widest.
        drawn: each job has a width drawn from those up to the client's own.
    """

    widths: tuple[float, ...] = (1.0, 0.5, 0.25)
    drawn: bool = False
    observes: ClassVar[tuple[type[Event], ...]] = (on.Closed,)
    listed: ClassVar[bool] = False
    structured: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.widths or not all(0 < r <= 1 for r in self.widths) or sorted(self.widths)[::-1] != [*self.widths]:
            raise InvalidInput(f"slices: widths = {list(self.widths)}; give falling shares in (0, 1]")

    def cuts(self, schema: Schema) -> tuple[int, ...]:
        return tuple(sorted({sum(s.size for s in at_width(schema, r)) for r in self.widths}))

    def order(self, schema: Schema, x: Vector | None, importance: NDArray[np.float64] | None) -> Positions:
        level = np.zeros(schema.size, np.int32)
        for r in sorted(self.widths):
            level[block(schema, r)] += 1
        return np.argsort(-level, kind="stable").astype(np.int32)

    def squares(self, lease: Lease) -> bool:
        return False

    def init(self, view: View, task: str) -> Widths:
        n, k, schema = view.clients, len(self.widths), view.schemas[task]
        lengths = [sum(s.size for s in at_width(schema, r)) for r in self.widths]
        return Widths(lengths, [c * k // n for c in range(n)], [0] * n)

    def cover(self, state: Widths, client: int) -> Cover:
        at = state.largest[client]
        if self.drawn:
            at += below(key("width", client, state.jobs[client]), len(state.lengths) - at)
        return Cover(0, state.lengths[at])

    def observe(self, state: Widths, fact: Event, view: View, now: int) -> Sequence[Request]:
        if isinstance(fact, on.Closed):
            state.jobs[fact.lease.client] += 1
        return ()

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """Parts of a model need a downlink that sends parts."""
        return needs_parts("slices", task)
