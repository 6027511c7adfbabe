"""Clients of a later round fetch early, each from the last round that still lets it be ready in time (FedFetch).

The start of every client comes from :mod:`hocket.prefetch.estimate`, with what was seen so far: the length of rounds
(an exponential mean), the bytes of an update over k versions (means of those that were sent), and each client's rate
(an exponential mean over its transfers; the median of all for a client that was never seen). From its start on a
client is offered every new version until its round comes. ``naive`` lets everybody start a number of
rounds before instead.

Yan et al., "FedFetch: faster federated learning with adaptive downstream prefetching", INFOCOM 2025 (arXiv 2504.15366).
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.actions import Offer, Request
from hocket.errors import InvalidInput
from hocket.events import Closed, Event, Fetched, Left, Stepped
from hocket.policies import Estimate, Pick
from hocket.prefetch.estimate import fetch_times, limit, moving, spans, starts, useful
from hocket.strategy import FullStrategy, FullTask, policy
from hocket.until import SECOND
from hocket.view import View

Start = tuple[int, str, int, int]


class Seen(Struct):
    """What is known of one task, and who of its later cohorts fetches ahead.

    ``length``: seconds of a round, -1 unknown; ``stepped``: when the last one ended (ns). ``sizes``, ``counts``: mean
    bytes of an update over k versions (-1: not seen) and how many were seen. ``held``: int32[clients], the version a
    client holds. ``work``: float64[clients], seconds from its download to its update's arrival, -1 unknown.
    ``limits``: T_limit of each version's cohort by what it is on; ``running``: version to the clients of its cohort and
    the version from which they fetch.
    """

    sizes: np.ndarray
    counts: np.ndarray
    held: np.ndarray
    work: np.ndarray
    length: float = -1.0
    stepped: int = 0
    limits: dict[int, dict[str, float]] = {}
    running: dict[int, dict[int, int]] = {}


class Diary(Struct):
    """Rates of clients in bytes per second (0: not seen), float64[clients], and what is known of each task."""

    rates: np.ndarray
    tasks: dict[str, Seen]


@policy("prefetch")
class Calendar(Struct, frozen=True, tag="calendar", tag_field="kind", forbid_unknown_fields=True):
    """Prefetch on a schedule.

    Args:
        overcommit: clients asked per update wanted (OC); that of the pacing.
        slack: beta, up to 1: how far towards the slowest client the limit is moved; fewer bytes, less speed. Below 0,
            down to -1, the limit is tighter than the paper's.
        weight: alpha, of the newest round length in their mean.
        warm_up: rounds before anybody is scheduled, so that lengths and sizes are known.
        reach: who cannot make it in time starts at once, as in the paper, unless it would take more than ``reach``
            times the limit: that client does not fetch ahead. None: everybody does.
        by: the limit is on the "download", as in the paper, or on when a client will "finish": its download, and what
            it was seen to take from there until its update arrived (who was not seen is judged by the download). The
            slowest are then those that are cut off, and who has time to spare does not fetch early.
        tail: who cannot make it in time starts in the "first" round there is, as in the paper, or in the last "useful"
            one: the last that does not cost it more than a twentieth of the shortest wait that it can have. With that
            a window may be long.
        naive: everybody starts so many rounds early; None schedules.
        rates: "measured" from transfers, or "known" from the driver.
        code_compat: who is exactly at the limit does not meet it, catching up is taken to span a version more, and a
            fetch under way to be finished in any case.
        longest: versions up to which sizes are remembered.
    """

    overcommit: float = 1.0
    slack: float = 0.0
    weight: float = 0.125
    warm_up: int = 5
    reach: float | None = None
    by: Literal["download", "finish"] = "download"
    tail: Literal["first", "useful"] = "first"
    naive: int | None = None
    rates: Literal["measured", "known"] = "measured"
    code_compat: bool = False
    longest: int = 64
    observes: ClassVar[tuple[type[Event], ...]] = (Stepped, Fetched, Closed, Left)

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("overcommit", self.overcommit, 1, 1e6),
            ("slack", self.slack, -1, 1),
            ("weight", self.weight, 0, 1),
            ("warm_up", self.warm_up, 0, 10**9),
            ("reach", self.reach or 1, 1, float("inf")),
            ("naive", self.naive or 0, 0, 10**6),
            ("longest", self.longest, 1, 4096),
        ):
            if not least <= value <= most:
                raise InvalidInput(f"calendar.{name} = {value}: must be from {least:g} to {most:g}")

    def init(self, view: View) -> Diary:
        def seen() -> Seen:
            sizes = np.full(self.longest + 1, -1.0)
            sizes[0] = 0.0
            return Seen(
                sizes,
                np.zeros(self.longest + 1, np.int64),
                np.full(view.clients, -1, np.int32),
                np.full(view.clients, -1.0),
            )

        return Diary(np.zeros(view.clients), {t: seen() for t in view.tasks})

    # --- who starts when ---------------------------------------------------------------------------------

    def starts(self, state: Diary, picks: Sequence[Pick], view: View, estimate: Estimate) -> list[Start]:
        out: list[Start] = []
        for task in dict.fromkeys(p.task for p in picks):
            now = view.tasks[task].version
            cohorts: dict[int, list[int]] = {}
            for p in picks:
                if p.task == task and p.for_version > now >= self.warm_up:
                    cohorts.setdefault(p.for_version, []).append(p.client)
            for version, clients in cohorts.items():
                seen = state.tasks[task]
                at = self._plan(state, seen, np.array(clients), now, version, estimate)
                begin = {c: now + int(a) for c, a in zip(clients, at, strict=True) if now + a < version}
                seen.running.setdefault(version, {}).update(begin)
                out += ((c, task, start, 0) for c, start in begin.items())
        return out

    def _plan(
        self, state: Diary, seen: Seen, clients: NDArray[np.int64], now: int, version: int, estimate: Estimate
    ) -> NDArray[np.int64]:
        """Rounds from now in which these clients begin to fetch; as many as there are until ``version``: never."""
        window = version - now
        if self.naive is not None:
            return np.full(len(clients), max(0, window - self.naive))
        if seen.length <= 0:
            return np.full(len(clients), window)
        times = self._times(state, seen, clients, now, window, estimate)
        limits = seen.limits.setdefault(version, {})
        at = self._late(times, limits, "download")
        if self.by == "finish":
            work, known = seen.work[clients], seen.work[seen.work >= 0]
            usual = float(np.median(known)) if known.size else 0.0
            finish = times + np.where(work >= 0, work, usual)[:, None]
            at = np.where(work >= 0, self._late(finish, limits, "finish"), at)
        return at

    def _late(self, times: NDArray[np.float64], limits: dict[str, float], name: str) -> NDArray[np.int64]:
        """The last rounds that meet the limit, which is that of the whole cohort for who is drawn in later."""
        most = limits.setdefault(name, limit(times[:, 0], self.overcommit, self.slack))
        at = starts(times, most, self.code_compat)
        hopeless = times[:, 0] > most * (np.inf if self.reach is None or name != self.by else self.reach)
        tail = useful(times) if self.tail == "useful" else 0
        return np.where(at < 0, np.where(hopeless, times.shape[1] - 1, tail), at)

    def _times(
        self, state: Diary, seen: Seen, clients: NDArray[np.int64], now: int, window: int, estimate: Estimate
    ) -> NDArray[np.float64]:
        sizes = spans(seen.sizes, float(estimate.full))
        held = seen.held[clients][:, None]
        behind = now + np.arange(window + 1) - held + self.code_compat
        base = np.where(held < 0, estimate.full, sizes[np.clip(behind, 0, self.longest)])
        short = np.minimum(np.arange(window + 1), self.longest)
        rates = self._rates(state, clients, estimate)
        return fetch_times(base, sizes[short], rates, seen.length, not self.code_compat)

    def _rates(self, state: Diary, clients: NDArray[np.int64], estimate: Estimate) -> NDArray[np.float64]:
        if self.rates == "known":
            if estimate.down is None:
                raise InvalidInput("calendar.rates = 'known': this driver does not know them; use 'measured'")
            return estimate.down[clients]
        rates = state.rates[clients]
        known = state.rates[state.rates > 0]
        return np.where(rates > 0, rates, np.median(known) if known.size else np.inf)

    # --- what is seen ------------------------------------------------------------------------------------

    def observe(self, state: Diary, fact: Event, view: View, now: int) -> Sequence[Request]:
        if isinstance(fact, Fetched):
            task = view.tasks.get(fact.node.task)
            if task is not None and 0 <= fact.client < view.clients and 0 <= fact.node.version <= task.version:
                self._fetched(state, state.tasks[task.name], fact)
        elif isinstance(fact, Stepped):
            return self._stepped(state.tasks[fact.task], fact, view, now)
        elif isinstance(fact, Closed):
            self._closed(state.tasks[fact.lease.task], fact, now)
        elif isinstance(fact, Left):
            for seen in state.tasks.values():
                for clients in seen.running.values():
                    clients.pop(fact.client, None)
        return ()

    def _fetched(self, state: Diary, seen: Seen, e: Fetched) -> None:
        before = int(seen.held[e.client])
        span = e.node.version - before
        if before >= 0 and 0 < span <= self.longest and e.size > 0:
            seen.counts[span] += 1
            mean = max(seen.sizes[span], 0.0)
            seen.sizes[span] = mean + (e.size - mean) / seen.counts[span]
        seen.held[e.client] = e.node.version
        if e.took > 0 and e.size > 0:
            rate = e.size * SECOND / e.took
            state.rates[e.client] = moving(state.rates[e.client] or -1.0, rate, 0.5)

    def _closed(self, seen: Seen, e: Closed, now: int) -> None:
        """A client took so long from its download to its update's arrival, or longer if it was cut off before."""
        if e.lease.started >= 0:
            took, before = (now - e.lease.started) / SECOND, float(seen.work[e.lease.client])
            late = e.outcome != "accepted"
            seen.work[e.lease.client] = max(before, took) if late else moving(before, took, 0.5)

    def _stepped(self, seen: Seen, e: Stepped, view: View, now: int) -> list[Request]:
        seen.length = moving(seen.length, (now - seen.stepped) / SECOND, self.weight)
        seen.stepped, version = now, e.node.version
        if seen.counts[1] == 0:
            seen.sizes[1] = e.size
        for over in [v for v in seen.running if v <= version]:
            del seen.running[over]
        seen.limits = {v: each for v, each in seen.limits.items() if v > version}
        online = view.online
        again = {c for clients in seen.running.values() for c, start in clients.items() if start < version}
        return [Offer(c, e.node) for c in sorted(again) if c in online]

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """Both ends of over-commitment agree."""
        asked = getattr(strategy.pacing, "overcommit", None)
        if asked is not None and asked != self.overcommit and self.naive is None:
            kind = strategy.pacing.__struct_config__.tag  # type: ignore[attr-defined]
            return (
                f"prefetch calendar plans for overcommit = {self.overcommit:g}, pacing {kind} asks "
                f"{asked:g}; use the same for both"
            )
        return None
