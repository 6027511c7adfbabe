"""Nobody fetches anything before it has a lease."""

from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct

from hocket.actions import Request
from hocket.events import Event
from hocket.policies import Estimate, Pick
from hocket.strategy import policy
from hocket.view import View


@policy("prefetch")
class NoPrefetch(Struct, frozen=True, tag="none", tag_field="kind", forbid_unknown_fields=True):
    """No prefetching."""

    observes: ClassVar[tuple[type[Event], ...]] = ()

    def init(self, view: View) -> None:
        return None

    def starts(
        self, state: None, picks: Sequence[Pick], view: View, estimate: Estimate
    ) -> list[tuple[int, str, int, int]]:
        return []

    def observe(self, state: None, fact: Event, view: View, now: int) -> Sequence[Request]:
        return ()
