"""Clients whose route was drawn ahead fetch before it is their turn: prefetch for asynchronous methods.

Routes are taken from the queue in order, one every 1/lambda seconds (an exponential mean). Client i needs
f_i = min(full, s(age)) / B_i seconds for what it lacks (B_i its rate, s(age) the newest message times the versions it
is behind). While it fetches about lambda f_i routes are taken, with a standard deviation of its root. So each client
has a horizon of its own: it begins when

    k_i = 1 + lambda f_i + margin sqrt(lambda f_i)

routes are left before its own, and from then on is offered every version, so that at its turn only the newest message,
or nothing, is left to fetch. A fast client begins a few routes ahead, a slow one as far ahead as there are routes. A
client that was not seen is taken to be as slow as the slowest tenth.

A message of a share s of the model every T seconds cannot be followed by who needs f_i > T/s seconds for the model:
whenever such a client begins, as much as the whole model is left to fetch at its turn. With ``hold`` it fetches one
version in time and trains from that in its turn, f_i/T versions old or a little more, and at most ``hold``. Who is
drawn does not change; its lease says what it started from, so its update is weighed as old as it is.
"""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from math import inf, sqrt
from typing import ClassVar, Literal

import numpy as np
from msgspec import Struct

from hocket.actions import Offer, Request
from hocket.errors import InvalidInput
from hocket.events import Event, Fetched, Joined, Restored, Stepped
from hocket.guard.chain import Chain
from hocket.guard.staleness import Staleness
from hocket.lease import Node
from hocket.policies import Estimate, Pick
from hocket.prefetch.estimate import moving
from hocket.strategy import FullStrategy, FullTask, policy
from hocket.until import SECOND
from hocket.view import TaskState, View

_RECENT = 0.01  # weight of the newest gap between routes in their mean


class Line(Struct):
    """The queue of one task as this policy sees it.

    ``clients``: of the routes in it, the next one first; ``taken``: how many were taken before them. ``begins``: heap
    of (``taken`` at which a route begins, its number), estimated when ``planned`` had been taken. ``begun``: routes in
    the queue that have, by client. ``pace``: seconds from one route to the next, -1 unknown; ``since``: when the last
    one was taken (ns). ``message``: bytes of the newest step. ``length``: seconds from one step to the next, -1
    unknown; ``stepped``: when the last one was (ns). ``bases``: what leases of clients that cannot follow start from.
    """

    clients: list[int] = []
    taken: int = 0
    begins: list[tuple[int, int]] = []
    planned: int = 0
    begun: dict[int, int] = {}
    pace: float = -1.0
    since: int = 0
    message: int = 0
    length: float = -1.0
    stepped: int = 0
    bases: dict[int, Node] = {}


class Timetable(Struct):
    """``rates``: float64[clients], bytes per second, 0 unknown; the queues by task. ``now``: time of the last fact."""

    rates: np.ndarray
    lines: dict[str, Line]
    now: int = 0


@policy("prefetch")
class NextRoutes(Struct, frozen=True, tag="next_routes", tag_field="kind", forbid_unknown_fields=True):
    """Fetch in time for routes drawn ahead (matching route_ahead).

    Args:
        margin: how many standard deviations earlier than it should take; more of it costs bytes and saves time.
        rates: "measured" from transfers, or "known" from the driver.
        hold: versions by which what a client trains from may be older than the newest if its link cannot follow; 0:
            everybody trains from the newest.
    """

    margin: float = 2.0
    rates: Literal["measured", "known"] = "measured"
    hold: int = 0
    observes: ClassVar[tuple[type[Event], ...]] = (Fetched, Stepped, Joined, Restored)

    def __post_init__(self) -> None:
        if not 0 <= self.margin < inf:
            raise InvalidInput(f"next_routes.margin = {self.margin}: must be 0 or more and finite")
        if self.hold < 0:
            raise InvalidInput(f"next_routes.hold = {self.hold}: must be 0 or more versions")

    def init(self, view: View) -> Timetable:
        return Timetable(np.zeros(view.clients), {t: Line() for t in view.tasks})

    # --- who starts when ---------------------------------------------------------------------------------

    def starts(
        self, state: Timetable, picks: Sequence[Pick], view: View, estimate: Estimate
    ) -> list[tuple[int, str, int, int]]:
        out = []
        for name in dict.fromkeys(p.task for p in picks):
            line, t, new = state.lines[name], view.tasks[name], [p.client for p in picks if p.task == name]
            left = self._take(line, len(new), state.now, t) if line.clients else []
            first = line.taken + len(line.clients)
            line.clients += new
            for begins in self._plan(state, line, range(first, first + len(new)), t, estimate):
                heappush(line.begins, begins)
            if line.taken - line.planned > len(line.clients) // 10:  # what was estimated then is out of date
                line.begins = self._plan(state, line, [number for _, number in line.begins], t, estimate)
                line.planned = line.taken
                heapify(line.begins)
            begin = [c for c in (*left, *self._due(line)) if c not in line.bases]
            if self.hold:
                line.bases.update(dict.fromkeys(self._behind(state, line, begin, t, estimate), t.node))
            out += [(c, name, t.version, 0) for c in begin]
        return out

    def bases(self, state: Timetable, task: str) -> dict[int, Node] | None:
        """What the next lease of a client starts from, if not the newest node; None: that never is."""
        return state.lines[task].bases if self.hold else None

    def _behind(self, state: Timetable, line: Line, clients: list[int], t: TaskState, estimate: Estimate) -> list[int]:
        """Those that can fetch a version in time for its age, but not the messages as fast as they come."""
        if line.length <= 0:
            return []
        rates = zip(clients, self._rates(state, clients, estimate), strict=True)
        return [c for c, r in rates if line.message > r * line.length and estimate.full <= r * line.length * self.hold]

    def _take(self, line: Line, count: int, now: int, t: TaskState) -> list[int]:
        """So many routes were taken from the front, one for each that was drawn anew; clients that used their base and
        need another."""
        again = []
        for c in line.clients[:count]:
            left = line.begun.get(c, 0) - 1
            if left > 0:
                line.begun[c] = left
            elif c in line.begun:
                del line.begun[c]
            base = line.bases.get(c)
            if base is not None and (left <= 0 or t.given[c] == base.version):
                del line.bases[c]
                again += [c] if left > 0 else []
        del line.clients[:count]
        gap = (now - line.since) / SECOND / count
        for _ in range(count):
            line.taken += 1
            line.pace = moving(line.pace, gap, max(_RECENT, 1 / line.taken))
        line.since = now
        return again

    def _plan(
        self, state: Timetable, line: Line, numbers: Sequence[int], t: TaskState, estimate: Estimate
    ) -> list[tuple[int, int]]:
        """When routes of these numbers begin, in routes taken; just before their turn while the pace is not known."""
        waiting = [n for n in numbers if n >= line.taken]
        clients = [line.clients[n - line.taken] for n in waiting]
        rates = self._rates(state, clients, estimate)
        out = []
        for n, c, rate in zip(waiting, clients, rates, strict=True):
            age = t.version - t.held[c] if t.held[c] >= 0 else inf
            size = min(estimate.full, age * line.message) if line.message else estimate.full
            routes = size / rate / line.pace if line.pace > 0 else 0.0
            out.append((n - 1 - round(min(routes + self.margin * sqrt(routes), 2.0**60)), n))
        return out

    def _due(self, line: Line) -> list[int]:
        """Clients whose time has come."""
        out = []
        while line.begins and line.begins[0][0] <= line.taken:
            at = heappop(line.begins)[1] - line.taken
            if at >= 0:
                c = line.clients[at]
                line.begun[c] = line.begun.get(c, 0) + 1
                out.append(c)
        return out

    def _rates(self, state: Timetable, clients: list[int], estimate: Estimate) -> list[float]:
        if self.rates == "known":
            if estimate.down is None:
                raise InvalidInput("next_routes.rates = 'known': this driver does not know them; use 'measured'")
            known: list[float] = estimate.down[clients].tolist()
            return known
        rates = state.rates[clients]
        if not rates.all():
            seen = state.rates[state.rates > 0]
            rates[rates == 0] = np.quantile(seen, 0.1) if seen.size else inf
        out: list[float] = rates.tolist()
        return out

    # --- what is seen ------------------------------------------------------------------------------------

    def observe(self, state: Timetable, fact: Event, view: View, now: int) -> Sequence[Request]:
        state.now = now
        if isinstance(fact, Fetched):
            if fact.took > 0 and fact.size > 0 and 0 <= fact.client < view.clients:
                rate = fact.size * SECOND / fact.took
                state.rates[fact.client] = moving(state.rates[fact.client] or -1.0, rate, 0.5)
        elif isinstance(fact, Stepped):
            line = state.lines[fact.task]
            line.message = fact.size
            line.length = moving(line.length, (now - line.stepped) / SECOND, max(_RECENT, 1 / fact.node.version))
            line.stepped = now
            for c in [c for c, base in line.bases.items() if fact.node.version - base.version > self.hold]:
                del line.bases[c]
            return [Offer(c, fact.node) for c in line.begun if c in view.online and c not in line.bases]
        elif isinstance(fact, Joined):
            back, out = set(fact.clients), list[Request]()
            for t in view.tasks.values():
                line = state.lines[t.name]
                for c in line.begun:
                    if c in back and not (c in line.bases and t.held[c] == line.bases[c].version):
                        line.bases.update({c: t.node} if c in line.bases else {})
                        out.append(Offer(c, t.node))
            return out
        elif isinstance(fact, Restored):
            state.lines[fact.task].bases.clear()
        return ()

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """What clients hold is the whole model, and what they send is not refused for its age."""
        for part in strategy.tasks.values() if self.hold else ():
            kind = part.submodel.__struct_config__.tag  # type: ignore[attr-defined]
            if kind != "whole":
                return f"prefetch next_routes holds whole models, submodel {kind} needs parts; leave out hold"
            for guard in part.guard.guards if isinstance(part.guard, Chain) else (part.guard,):
                if isinstance(guard, Staleness) and guard.limit is not None and guard.limit < self.hold:
                    return (
                        f"prefetch next_routes may hold a model for {self.hold} versions, the guard refuses updates "
                        f"older than {guard.limit}; hold it for fewer"
                    )
        return None
