"""Cohorts drawn R rounds before they train, around any sampler (FedFetch).

At the start of round t the cohort of round t + R is drawn as the sampler would draw it then, among the clients that are
online, busy or not; each round is drawn on its own, so a client may be in several. Who leaves before its round is
replaced, in the same group, by another draw. In its round a cohort gets the work; what it lacks is drawn on the spot.
With R = 0 nothing is drawn ahead and the sampler alone decides.

Yan et al., "FedFetch: faster federated learning with adaptive downstream prefetching", INFOCOM 2025 (arXiv 2504.15366).
"""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event, Left
from hocket.keyed import mix
from hocket.matching.sticky import Members, Sticky
from hocket.matching.uniform import Uniform, deal
from hocket.policies import Matching, Pick, Slots
from hocket.strategy import FullStrategy, FullTask, policy
from hocket.view import View

_ROUNDS = ("rounds", "sticky_rounds", "joint_rounds")


class Cohorts(Struct):
    """Per task: clients asked for in a round, the round that was seen to begin, the last one drawn, and the cohorts.

    ``gone``: groups of those who left, to be replaced, by round.
    """

    sampler: Members | None
    asked: dict[str, int] = {}
    begun: dict[str, int] = {}
    drawn: dict[str, int] = {}
    cohorts: dict[str, dict[int, list[Pick]]] = {}
    gone: dict[str, dict[int, list[str]]] = {}


@policy("matching")
class Presample(Struct, frozen=True, tag="presample", tag_field="kind", forbid_unknown_fields=True):
    """``sampler`` draws, ``rounds`` (R) ahead; without ``replace`` who left is not replaced before the round begins."""

    sampler: Uniform | Sticky = Uniform()
    rounds: int = 3
    replace: bool = True
    observes: ClassVar[tuple[type[Event], ...]] = (Left, *Sticky.observes)

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise InvalidInput(f"presample.rounds = {self.rounds}: must be 0 or more")

    @property
    def _sampler(self) -> Matching:
        return self.sampler  # each takes the memory that its own init made

    @property
    def looks_ahead(self) -> bool:
        """Whether there is anything to draw ahead."""
        return self.rounds > 0

    def init(self, view: View) -> Cohorts:
        return Cohorts(self.sampler.init(view))

    def match(self, state: Cohorts, slots: Slots, view: View, key: int) -> list[Pick]:
        if not self.rounds:
            return self._sampler.match(state.sampler, slots, view, key)
        picks: list[Pick] = []
        for task, count in Counter(deal(slots, view)).items():
            taken = {p.client for p in picks}
            version = view.tasks[task].version
            if state.begun.get(task) != version:
                state.begun[task], state.asked[task] = version, count
                state.cohorts[task] = {v: x for v, x in state.cohorts.get(task, {}).items() if v >= version}
            cohort = state.cohorts[task].get(version, [])
            ready = [p for p in cohort if p.client in view.idle and p.client not in taken][:count]
            given = {p.client for p in ready}
            state.cohorts[task][version] = [p for p in cohort if p.client not in given]
            picks += ready
            if len(ready) < count:
                picks += self._draw(state, task, count - len(ready), taken | given, view, mix(key ^ len(picks)))
        return picks

    def _draw(self, state: Cohorts, task: str, count: int, without: set[int], view: View, key: int) -> list[Pick]:
        """So many clients, none of them in ``without``."""
        drawn = self._sampler.match(state.sampler, {task: count + len(without)}, view, key)
        return [p for p in drawn if p.client not in without][:count]

    def ahead(self, state: Cohorts, slots: Slots, view: View, key: int) -> list[Pick]:
        everybody = None
        picks: list[Pick] = []
        for task, count in state.asked.items():
            t = view.tasks[task]
            last = max(state.drawn.get(task, 0), t.version)
            if t.status != "active" or t.version != state.begun[task]:
                continue
            if last >= t.version + self.rounds and not (self.replace and state.gone.get(task)):
                continue
            everybody = everybody or replace(view, idle=view.online)
            for version in range(last + 1, t.version + self.rounds + 1):
                made = self._draw(state, task, count, set(), everybody, mix(key ^ version))
                picks += self._keep(state, task, version, made)
            state.drawn[task] = t.version + self.rounds
            if self.replace:
                picks += self._replace(state, task, everybody, mix(key))
        return picks

    def _keep(self, state: Cohorts, task: str, version: int, made: list[Pick]) -> list[Pick]:
        picks = [replace(p, for_version=version) for p in made]
        state.cohorts[task].setdefault(version, []).extend(picks)
        return picks

    def _replace(self, state: Cohorts, task: str, view: View, key: int) -> list[Pick]:
        """Others for those who left before their round."""
        out: list[Pick] = []
        for version, groups in state.gone.pop(task, {}).items():
            if version <= view.tasks[task].version:
                continue
            cohort = state.cohorts[task][version]
            for i, group in enumerate(groups):
                drawn = self._draw(state, task, view.clients, {p.client for p in cohort}, view, mix(key ^ i))
                same = [p for p in drawn if p.group == group][:1]
                out += self._keep(state, task, version, same)
        return out

    def observe(self, state: Cohorts, fact: Event, view: View, now: int) -> Sequence[Request]:
        if type(fact) in self.sampler.observes:
            self._sampler.observe(state.sampler, fact, view, now)
        if isinstance(fact, Left):
            for task, cohorts in state.cohorts.items():
                for version, cohort in cohorts.items():
                    if lost := [p for p in cohort if p.client == fact.client]:
                        cohorts[version] = [p for p in cohort if p.client != fact.client]
                        groups = state.gone.setdefault(task, {}).setdefault(version, [])
                        groups.extend(p.group for p in lost)
        return ()

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """Only rounds have cohorts."""
        kind = strategy.pacing.__struct_config__.tag  # type: ignore[attr-defined]
        if kind not in _ROUNDS:
            return f"matching presample draws the cohorts of rounds, pacing {kind} has none; use rounds, or route_ahead"
        return None
