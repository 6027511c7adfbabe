"""Who is drawn ahead begins to fetch at once, and fetches once: for what does not age until its round (DoCoFL)."""

from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct

from hocket.actions import Request
from hocket.events import Event
from hocket.policies import Estimate, Pick
from hocket.strategy import policy
from hocket.view import View


@policy("prefetch")
class Once(Struct, frozen=True, tag="once", tag_field="kind", forbid_unknown_fields=True):
    """One fetch, when drawn."""

    observes: ClassVar[tuple[type[Event], ...]] = ()

    def init(self, view: View) -> None:
        return None

    def starts(
        self, state: None, picks: Sequence[Pick], view: View, estimate: Estimate
    ) -> list[tuple[int, str, int, int]]:
        return [(p.client, p.task, view.tasks[p.task].version, 0) for p in picks]

    def observe(self, state: None, fact: Event, view: View, now: int) -> Sequence[Request]:
        return ()
