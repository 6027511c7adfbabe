"""Sticky groups: most of a cohort comes from a group that trained lately, so it has little to catch up on (GlueFL).

Of a group of S clients, K - C train in a round, with C newcomers from outside; then the C newcomers that trained take
the places of C members at random. So that everybody counts alike on average, an update of a member weighs
K S / (N (K - C)), one of a newcomer K (N - S) / (N C), in a mean over K (N clients).

With over-commitment C and ``newcomer_share`` of the clients asked beyond K are newcomers.

He, Yan, et al., "GlueFL: reconciling client sampling and model masking for bandwidth efficient federated learning",
MLSys 2023 (arXiv 2212.01523).
"""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct

from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Closed, Event, Stepped
from hocket.index_set import IndexSet
from hocket.keyed import below, mix
from hocket.keyed import key as derive
from hocket.matching.uniform import deal, draw
from hocket.policies import Pick, Slots
from hocket.strategy import policy
from hocket.view import View

STICKY, NEWCOMER = "sticky", "newcomer"


class Members(Struct, tag=True):
    """Who is in each task's group, and the newcomers whose updates were accepted in this round."""

    groups: dict[str, IndexSet]
    fresh: dict[str, list[int]] = {}


@policy("matching")
class Sticky(Struct, frozen=True, tag="sticky", tag_field="kind", forbid_unknown_fields=True):
    """Groups of ``group`` (S) clients, ``newcomers`` (C) of the ``cohort`` (K) from outside.

    ``newcomer_share``: how much of the clients asked beyond K are newcomers. The first group is drawn at random.
    """

    group: int = 120
    cohort: int = 30
    newcomers: int = 6
    newcomer_share: float = 0.88
    observes: ClassVar[tuple[type[Event], ...]] = (Closed, Stepped)

    def __post_init__(self) -> None:
        if not 0 < self.newcomers < self.cohort <= self.group:
            raise InvalidInput(
                f"sticky: newcomers = {self.newcomers}, cohort = {self.cohort}, group = {self.group}; must be "
                "0 < newcomers < cohort <= group"
            )
        if not 0 <= self.newcomer_share <= 1:
            raise InvalidInput(f"sticky.newcomer_share = {self.newcomer_share}: must be from 0 to 1")

    def init(self, view: View) -> Members:
        return Members({t: IndexSet.empty(view.clients) for t in view.tasks})

    def asked(self, count: int) -> int:
        """How many of so many clients are newcomers.

        >>> Sticky().asked(39)
        14
        """
        surplus = max(0, count - self.cohort)
        return min(count, round(self.newcomer_share * surplus + self.newcomers * min(1, count / self.cohort)))

    def match(self, state: Members, slots: Slots, view: View, key: int) -> list[Pick]:
        picks: list[Pick] = []
        n = view.clients
        for task, count in Counter(deal(slots, view)).items():
            group = state.groups[task]
            if not len(group):
                for c in draw(view.online, min(self.group, max(1, n - 1)), mix(key)):
                    group.add(c)
            taken = {p.client for p in picks}
            free = [c for c in draw(view.idle, len(view.idle), key) if c not in taken]
            outside = [c for c in free if c not in group]
            inside = [c for c in free if c in group]
            new = min(len(outside), max(self.asked(count), count - len(inside)))
            inside, outside = inside[: count - new], outside[:new]
            size = len(group)
            member = self.cohort * size / (n * (self.cohort - self.newcomers))
            stranger = self.cohort * (n - size) / (n * self.newcomers)
            picks += (Pick(task, c, 1.0 / n, member, STICKY) for c in inside)
            picks += (Pick(task, c, 1.0 / n, stranger, NEWCOMER) for c in outside)
        return picks

    def ahead(self, state: Members, slots: Slots, view: View, key: int) -> list[Pick]:
        return []

    def observe(self, state: Members, fact: Event, view: View, now: int) -> Sequence[Request]:
        if isinstance(fact, Closed) and fact.outcome == "accepted" and fact.lease.group == NEWCOMER:
            state.fresh.setdefault(fact.lease.task, []).append(fact.lease.client)
        elif isinstance(fact, Stepped):
            group = state.groups[fact.task]
            new = [c for c in dict.fromkeys(state.fresh.pop(fact.task, [])) if c not in group][: self.newcomers]
            at = derive("sticky", fact.task, fact.node.version)
            for i in range(len(new)):
                group.discard(group.items[below(mix(at ^ i), len(group))])
            for c in new:
                group.add(c)
        return ()
