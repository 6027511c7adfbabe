"""The server's decisions once its tables have changed: is a step due, may work start, when to look again?"""

from collections.abc import Mapping
from functools import partial
from math import inf

from hocket import actions as do
from hocket.errors import InvalidInput
from hocket.keyed import key, mix
from hocket.lease_table import Actions, LeaseTable
from hocket.policies import ANY, Due, Estimate, Holding, Pick, Slots
from hocket.server_state import ServerState
from hocket.strategy import FullStrategy
from hocket.task_table import TaskTable
from hocket.until import SECOND, Until
from hocket.view import TaskState, View


class Scheduler:
    """Asks pacing, matching and prefetch, and turns what they say into leases, steps, offers and wake-ups."""

    __slots__ = (
        "_ahead", "_bases", "_changed", "_due", "_end_time", "_estimate", "_key", "_leases", "_looks_ahead", "_match",
        "_max_bytes", "_max_updates", "_prefetch", "_refill_first", "_room", "_state", "_tasks", "_view",
    )  # fmt: skip

    def __init__(
        self,
        state: ServerState,
        view: View,
        leases: LeaseTable,
        tasks: TaskTable,
        strategy: FullStrategy,
        seed: int,
        until: Until | None,
        estimate: Mapping[str, Estimate],
    ) -> None:
        self._state, self._view, self._leases, self._tasks = state, view, leases, tasks
        self._changed = view.changed
        pacing, budget = strategy.pacing, state.memories["pacing"]
        matching, known = strategy.matching, state.memories["matching"]
        self._room, self._due = partial(pacing.room, budget, view), partial(pacing.due, budget, view)
        self._match, self._ahead = partial(matching.match, known), partial(matching.ahead, known)
        self._looks_ahead = bool(getattr(strategy.matching, "looks_ahead", False))
        self._prefetch, self._estimate = strategy.prefetch, estimate
        self._bases = strategy.prefetch.bases if isinstance(strategy.prefetch, Holding) else None
        self._refill_first = strategy.pacing.refill_first
        self._key = key(seed, "match")
        limits = {} if until is None else until.limits
        self._max_updates, self._max_bytes = limits.get("updates", inf), limits.get("bytes", inf)
        self._end_time = round(limits["time"] * SECOND) if "time" in limits else -1

    def decide(self, now: int, out: Actions) -> None:
        """Begin the steps that are due, hand out work, and ask to be woken for what is to come."""
        s = self._state
        over = s.updates >= self._max_updates or (self._max_bytes < inf and s.up + s.down >= self._max_bytes)
        short = self._refill(now, out) if self._refill_first and not over else {}
        due = self._due(now)
        while due is not None:
            if due.look_again_at is not None:
                self._look_again(due.look_again_at, now, out)
            if due.task is None:
                break
            self._step(due, s.tasks[due.task], out)
            due = self._due(now)
        if over:
            self._tasks.finish("updates" if s.updates >= self._max_updates else "bytes", out)
            return
        if s.freed:
            self._leases.send_waiting(now, out)
        if not self._refill_first:
            short = self._refill(now, out)
        if self._looks_ahead:
            self._look_ahead(now)
        self._changed.clear()
        if short:
            self._changed.update((n, None) for n in short if n != ANY)
        if s.offers:
            self._offer(now, out)
        if s.deadlines:
            self._wake(next(iter(s.deadlines.values())), out)
        if self._end_time >= 0:
            self._wake(self._end_time, out)

    def is_over(self, now: int) -> bool:
        """Whether the time limit has come."""
        return 0 <= self._end_time <= now

    def _look_again(self, time: int, now: int, out: Actions) -> None:
        if time <= now:
            raise InvalidInput(f"pacing asks to look again at {time} ns; it is {now} ns already")
        self._wake(time, out)

    def _wake(self, time: int, out: Actions) -> None:
        s = self._state
        if s.wake < 0 or time < s.wake:
            s.wake = time
            out.append(do.WakeAt(time))

    def _step(self, due: Due, task: TaskState, out: Actions) -> None:
        if due.accepted is not None:
            keep = set(due.accepted)
            out += (do.Release(i, task.name, "discarded") for i in task.buffer if i not in keep)
        task.buffer.clear()
        for lease_id in due.cancel or ():
            self._leases.cancel(self._state.leases[lease_id], "overcommitted", out)
        task.stepping = True
        out.append(self.step(task))

    def step(self, task: TaskState) -> do.Step:
        """A step of a task, which keeps what leases may still start from."""
        if self._bases is None:
            return do.Step(task.name)
        bases = self._bases(self._state.memories["prefetch"], task.name)
        if bases is None:
            return do.Step(task.name)
        return do.Step(task.name, tuple(sorted({task.version, *(node.version for node in bases.values())})))

    def _draw(self) -> int:
        s = self._state
        s.draws += 1
        return mix(self._key ^ s.draws)

    def _refill(self, now: int, out: Actions) -> Slots:
        """Hand out work; the slots that there were if not all of them found a client."""
        slots = self._room(now)
        if not slots:
            return slots
        route = self._leases.route
        picks = self._match(slots, self._view, self._draw())
        if self._bases is None:
            for pick in picks:
                route(pick, now, out)
        else:
            bases = {p.task: self._bases(self._state.memories["prefetch"], p.task) or {} for p in picks}
            for pick in picks:
                route(pick, now, out, bases[pick.task].get(pick.client))
        if self._state.offers:
            self._forget(picks)
        return slots if len(picks) < sum(slots.values()) else {}

    def _forget(self, picks: list[Pick]) -> None:
        """What was to be fetched ahead of these routes will not be offered any more."""
        s = self._state
        routed = {(p.client, p.task): s.tasks[p.task].version for p in picks}
        s.offers = [o for o in s.offers if o[2] > routed.get((o[0], o[1]), -1)]

    def _look_ahead(self, now: int) -> None:
        s, view = self._state, self._view
        slots = self._room(now)
        picks = self._ahead(slots, view, self._draw())
        for name in dict.fromkeys(p.task for p in picks):
            mine = [p for p in picks if p.task == name]
            s.offers += self._prefetch.starts(s.memories["prefetch"], mine, view, self._estimate[name])

    def _offer(self, now: int, out: Actions) -> None:
        s, later = self._state, []
        for offer in s.offers:
            client, name, version, time = offer
            if version > s.tasks[name].version or time > now:
                later.append(offer)
            elif client in s.online:
                out.append(do.Offer(client, s.tasks[name].node))
        s.offers = later
        if times := [time for *_, time in later if time > now]:
            self._wake(min(times), out)
