"""The next routes of an asynchronous method, drawn ahead so that their clients can fetch ahead.

A queue of routes per task is kept full; a slot takes the first of them whose client takes work, the others before it
are passed over, and as many are drawn anew. Routes are drawn independently of one another and of what happens
meanwhile, and keep the probability and the weight they were drawn with. So however long the queue, the law is the
sampler's own: with replacement, trivially; among idle clients, because a draw among all that is passed over when its
client is busy is a draw among the idle ones. Only who comes online after a draw cannot be in it.
"""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event, Joined, Left
from hocket.keyed import key as derive
from hocket.keyed import mix
from hocket.matching.uniform import Uniform, deal
from hocket.matching.weighted import Table, Weighted
from hocket.policies import Matching, Pick, Slots
from hocket.strategy import FullStrategy, FullTask, policy
from hocket.view import View


class Queue(Struct):
    """Routes by task, first come first served, and how many were ever drawn; the sampler's own memory.

    ``base``: what all draws are keyed from (-1: nothing was drawn), so that route s is the same however long the queue.
    """

    sampler: Table | None
    routes: dict[str, list[Pick]] = {}
    drawn: dict[str, int] = {}
    base: int = -1


@policy("matching")
class RouteAhead(Struct, frozen=True, tag="route_ahead", tag_field="kind", forbid_unknown_fields=True):
    """``sampler`` draws; ``routes`` are kept drawn ahead for each task."""

    sampler: Uniform | Weighted = Uniform()
    routes: int = 10
    observes: ClassVar[tuple[type[Event], ...]] = (Joined, Left)
    looks_ahead: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.routes < 1:
            raise InvalidInput(f"route_ahead.routes = {self.routes}: must be 1 or more")
        if isinstance(self.sampler, Uniform) and (self.sampler.once or self.sampler.distinct is not None):
            raise InvalidInput(
                "route_ahead.sampler: once and distinct depend on who is at work when a route is taken; leave them out"
            )

    @property
    def busy(self) -> str:
        """What the sampler does with busy clients."""
        return self.sampler.busy

    @property
    def _sampler(self) -> Matching:
        return self.sampler  # each takes the memory that its own init made

    def init(self, view: View) -> Queue:
        return Queue(self._sampler.init(view))

    def match(self, state: Queue, slots: Slots, view: View, key: int) -> list[Pick]:
        queues = self.busy == "queue"
        members = view.online if queues else view.idle
        picks: list[Pick] = []
        taken: set[int] = set()
        for task, count in Counter(deal(slots, view)).items():
            queue, at, given = state.routes.get(task, []), 0, 0
            while given < count and at < len(queue):
                p = queue[at]
                at += 1
                if p.client in members and (queues or p.client not in taken):
                    picks.append(p)
                    taken.add(p.client)
                    given += 1
            del queue[:at]
            if given < count:
                without = set[int]() if queues else taken
                drawn = self._sampler.match(state.sampler, {task: count - given + len(without)}, view, mix(key))
                new = [p for p in drawn if p.client not in without][: count - given]
                picks += new
                taken.update(p.client for p in new)
        return picks

    def ahead(self, state: Queue, slots: Slots, view: View, key: int) -> list[Pick]:
        if state.base < 0:
            state.base = key
        out: list[Pick] = []
        everybody = None
        for t in view.tasks.values():
            queue = state.routes.setdefault(t.name, [])
            missing = self.routes - len(queue)
            if t.status != "active" or missing <= 0 or self._too_early(t.version):
                continue
            everybody = everybody or replace(view, idle=view.online)
            first = state.drawn.get(t.name, 0)
            base = derive(state.base, "route", t.name)
            new: list[Pick] = []
            for i in range(first, first + missing):
                new += self._sampler.match(state.sampler, {t.name: 1}, everybody, mix(base ^ i))
            state.drawn[t.name] = first + len(new)
            new = [replace(p, for_version=t.version) for p in new]
            queue += new
            out += new
        return out

    def _too_early(self, version: int) -> bool:
        """The sampler has another law for the first jobs, which these are not."""
        return version == 0 and isinstance(self.sampler, Weighted) and self.sampler.first == "uniform"

    def observe(self, state: Queue, fact: Event, view: View, now: int) -> Sequence[Request]:
        if type(fact) in self.sampler.observes:
            self._sampler.observe(state.sampler, fact, view, now)
        return ()

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """Rounds draw their cohorts at once."""
        kind = strategy.pacing.__struct_config__.tag  # type: ignore[attr-defined]
        if kind in ("rounds", "sticky_rounds", "joint_rounds"):
            return f"matching route_ahead draws single routes, pacing {kind} draws cohorts; use presample"
        return None
