"""The next routes of an asynchronous method, drawn ahead so that their clients can fetch ahead.

A queue of routes per task is kept full; a slot takes the first of them whose client takes work, and another is drawn. A
route is drawn as the sampler would draw it then and keeps the probability and the weight it was drawn with, so with a
sampler that draws with replacement its law is the sampler's own. One that draws idle clients draws them a little early:
who is in the queue is not drawn again, who left is passed over.
"""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event, Joined, Left
from hocket.keyed import mix
from hocket.matching.uniform import Uniform, deal
from hocket.matching.weighted import Table, Weighted
from hocket.policies import Matching, Pick, Slots
from hocket.strategy import FullStrategy, FullTask, policy
from hocket.view import View


class Queue(Struct):
    """Routes by task, first come first served; the sampler's own memory."""

    sampler: Table | None
    routes: dict[str, list[Pick]] = {}


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
        members = view.online if self.busy == "queue" else view.idle
        picks: list[Pick] = []
        taken: set[int] = set()
        for task, count in Counter(deal(slots, view)).items():
            queue, waiting, given = state.routes.get(task, []), list[Pick](), 0
            for p in queue:
                free = p.client in members and (self.busy == "queue" or p.client not in taken)
                if given < count and free:
                    picks.append(p)
                    taken.add(p.client)
                    given += 1
                elif p.client in view.online and (given == count or self.busy == "queue"):
                    waiting.append(p)
            state.routes[task] = waiting
            if given < count:
                without = taken if self.busy == "skip" else set[int]()
                drawn = self._sampler.match(state.sampler, {task: count - given + len(without)}, view, mix(key))
                new = [p for p in drawn if p.client not in without][: count - given]
                picks += new
                taken.update(p.client for p in new)
        return picks

    def ahead(self, state: Queue, slots: Slots, view: View, key: int) -> list[Pick]:
        out: list[Pick] = []
        for t in view.tasks.values():
            queue = state.routes.setdefault(t.name, [])
            missing = self.routes - len(queue)
            if t.status != "active" or missing <= 0:
                continue
            without = {p.client for p in queue} if self.busy == "skip" else set[int]()
            drawn = self._sampler.match(state.sampler, {t.name: missing + len(without)}, view, key)
            new = [replace(p, for_version=t.version) for p in drawn if p.client not in without][:missing]
            queue += new
            out += new
        return out

    def observe(self, state: Queue, fact: Event, view: View, now: int) -> Sequence[Request]:
        if type(fact) in self.sampler.observes:
            self._sampler.observe(state.sampler, fact, view, now)
        if isinstance(fact, Left):
            for task, queue in state.routes.items():
                state.routes[task] = [p for p in queue if p.client != fact.client]
        return ()

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """Rounds draw their cohorts at once."""
        kind = strategy.pacing.__struct_config__.tag  # type: ignore[attr-defined]
        if kind in ("rounds", "sticky_rounds", "joint_rounds"):
            return f"matching route_ahead draws single routes, pacing {kind} draws cohorts; use presample"
        return None
