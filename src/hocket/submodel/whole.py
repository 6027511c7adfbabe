"""Every client trains the whole model."""

from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct

from hocket.actions import Request
from hocket.events import Event
from hocket.lease import ALL, Cover
from hocket.strategy import policy
from hocket.view import View


@policy("submodel")
class Whole(Struct, frozen=True, tag="whole", tag_field="kind", forbid_unknown_fields=True):
    """The whole model for everybody."""

    observes: ClassVar[tuple[type[Event], ...]] = ()

    def init(self, view: View, task: str) -> None:
        return None

    def cover(self, state: None, client: int) -> Cover:
        return ALL

    def observe(self, state: None, fact: Event, view: View, now: int) -> Sequence[Request]:
        return ()
