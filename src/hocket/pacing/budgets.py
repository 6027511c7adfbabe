"""Budgets: requests in circulation, dealt over the tasks, and buffers that follow them (FedAST).

R_m requests of task m are outstanding, sum R_m = R, and task m steps whenever b_m updates are in, with
b_m = max(1, ceil(outstanding_m / rho)). The mean staleness of a task is then (R_m - 1)/b_m, about rho - 1, however slow
its work is. A budget that shrinks is not refilled and one that grows takes what the others leave, so both move
gradually. A task that ends or is paused hands its budget to those that go on, in proportion to theirs; one that comes
(back) gets its share of what all have.

| symbol | field |
|---|---|
| R | ``in_flight``, in all tasks together |
| R_m at the start | ``shares``; equal if not given |
| rho | ``ratio`` |
| b_m | ``buffer``, where it is to stay fixed (1: FedAST-NoBuffer) |
"""

from collections.abc import Mapping, Sequence
from math import floor
from typing import ClassVar

from msgspec import Struct

from hocket import events as on
from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.pacing.allocation import Allocation, ByHeterogeneity, ByProgress, InTurn, Seen, Static, proportional
from hocket.pacing.in_flight import PerTask, check_timeout, of, positive
from hocket.policies import Due, Slots
from hocket.strategy import FullStrategy, FullTask, policy
from hocket.until import SECOND
from hocket.view import TaskState, View


class Dealt(Struct):
    """The budget of each task (0: it takes no work), and what was seen since the last deal at time ``since`` (ns).

    ``claims``: what the last deal was in proportion to. ``short``: tasks whose budget is not what they have, and that
    got nothing when they were looked at.
    """

    budget: dict[str, int]
    seen: dict[str, Seen] = {}
    claims: dict[str, float] = {}
    arrivals: int = 0
    since: int = 0
    short: list[str] = []


@policy("pacing")
class Budgets(Struct, frozen=True, tag="budgets", tag_field="kind", forbid_unknown_fields=True):
    """``in_flight`` requests over all tasks, dealt by ``allocation``.

    Args:
        in_flight: requests outstanding in all tasks together.
        ratio: outstanding requests per update of a step.
        shares: requests per task at the start, ``in_flight`` in all; equal if left out.
        buffer: updates per step, where it is not to follow the budget (one number, or per task).
        allocation: how budgets move.
        timeout: seconds after which a lease expires and its slot is filled anew.
    """

    in_flight: int = 20
    ratio: int = 10
    shares: dict[str, int] | None = None
    buffer: PerTask | None = None
    allocation: Allocation = Static()
    timeout: float | None = None
    refill_first: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive(self.in_flight, "in_flight")
        positive(self.ratio, "ratio")
        check_timeout(self.timeout)
        if self.buffer is not None:
            positive(self.buffer, "buffer")
        if self.shares is not None:
            positive(self.shares, "shares")
            if sum(self.shares.values()) != self.in_flight:
                raise InvalidInput(
                    f"budgets: shares add up to {sum(self.shares.values())}, in_flight is {self.in_flight}; "
                    "make them equal"
                )

    @property
    def observes(self) -> tuple[type[Event], ...]:
        """Steps, if what they measure moves budgets."""
        return (on.Stepped,) if self.allocation.measures else ()

    def init(self, view: View) -> Dealt:
        names = list(view.tasks)
        if self.shares is not None:
            budget = {t: of(self.shares, t, "shares") for t in names}
        elif self.in_flight < len(names):
            raise InvalidInput(
                f"budgets: in_flight = {self.in_flight} for {len(names)} tasks; every task needs 1 or more"
            )
        else:
            budget = proportional(self.in_flight, dict.fromkeys(names, 1.0))
        if isinstance(self.allocation, InTurn):
            budget = {n: self.in_flight * (n == names[0]) for n in names}
        if self.buffer is not None:
            for t in names:
                of(self.buffer, t, "buffer")
        return Dealt(budget)

    def room(self, state: Dealt, view: View, now: int) -> Slots:
        free = spare = self.in_flight - len(view.leases)
        budget = state.budget
        slots: dict[str, int] = {}
        short: list[str] = []
        for t in view.moved(state.short):
            name = t.name
            own = budget[name]
            if t.status != "active" or not own:
                if self._misplaced(own, t, budget):
                    if spare > 0:
                        self._turnover(state, view)
                        return self.room(state, view, now)
                    short.append(name)
            elif (n := own - t.open) > 0:
                if free > 0 and not t.stepping:
                    slots[name] = given = min(n, free)
                    free -= given
                    n -= given
                if n:
                    short.append(name)
        state.short = short
        return slots

    def _misplaced(self, own: int, task: TaskState, budget: Mapping[str, int]) -> bool:
        """Whether a task left its budget behind, or has come and has none."""
        if task.status != "active":
            return own > 0
        return not (isinstance(self.allocation, InTurn) and any(budget.values()))

    def _turnover(self, state: Dealt, view: View) -> None:
        """Tasks came or went: deal the whole budget to those that take work."""
        budget, total = state.budget, self.in_flight
        state.short = list(budget)
        going = [n for n, t in view.tasks.items() if t.status == "active"]
        if not going:
            budget.update(dict.fromkeys(budget, 0))
            return
        if isinstance(self.allocation, InTurn):
            claims = dict.fromkeys(going[:1], 1.0)
        else:
            fair = {n: 1.0 if self.shares is None else float(self.shares[n]) for n in going}
            claims = {n: total * c / sum(fair.values()) for n, c in fair.items()}  # what a newcomer gets
            stay = {n: budget[n] for n in going if budget[n]}
            left = total - sum(c for n, c in claims.items() if n not in stay)
            claims.update((n, left * b / sum(stay.values())) for n, b in stay.items())
        budget.update(dict.fromkeys(budget, 0))
        budget.update(proportional(total, claims))
        for n in claims:
            if not budget[n]:  # every task that goes on has one request at least
                budget[max(budget, key=lambda m: budget[m])] -= 1
                budget[n] = 1

    def due(self, state: Dealt, view: View, now: int) -> Due | None:
        ratio, fixed = self.ratio, self.buffer
        for t in view.moved():
            n = len(t.buffer)
            if n and not t.stepping:
                # t.open + 1 were outstanding when the newest of the buffer arrived: b = ceil of that by the ratio
                full = n * ratio > t.open if fixed is None else n >= of(fixed, t.name, "buffer")
                if full:
                    return Due(t.name)
        return None

    def observe(self, state: Dealt, fact: Event, view: View, now: int) -> Sequence[Request]:
        assert isinstance(fact, on.Stepped)
        rule = self.allocation
        if isinstance(rule, Static | InTurn):
            return ()
        state.arrivals += fact.count
        seen = state.seen.setdefault(fact.task, Seen())
        seen.steps += 1
        if all(name in fact.facts for name in rule.measures):
            seen.updates += fact.count
            for name in rule.measures:
                setattr(seen, name, getattr(seen, name) + fact.facts[name] * fact.count)
            seen.square += fact.facts.get("signal", 0.0) ** 2 * fact.count
        self._deal(rule, state, view, now)
        return ()

    def _deal(self, rule: ByHeterogeneity | ByProgress, state: Dealt, view: View, now: int) -> None:
        going = [n for n, t in view.tasks.items() if t.status == "active"]
        over_too = isinstance(rule, ByHeterogeneity) and rule.over_too
        waited = [n for n, t in view.tasks.items() if t.status != "paused"] if over_too else going
        if (
            len(going) * self.ratio > self.in_flight
            or state.arrivals < floor(rule.period * self.in_flight) * len(going)
            or any(view.tasks[n].version <= rule.after for n in waited)
            or not all(n in state.seen and state.seen[n].updates for n in going)
        ):
            return
        seen = {n: state.seen[n] for n in going}
        own, span = {n: state.budget[n] for n in going}, (now - state.since) / SECOND
        state.budget.update(rule.deal(own, self.ratio, seen, state.claims, span))
        state.arrivals, state.since, state.short = 0, now, list(state.budget)
        state.seen.clear()

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """A budget that follows what updates are like needs a merge that measures it."""
        for name, part in strategy.tasks.items():
            if missing := set(self.allocation.measures) - set(getattr(part.merge, "measures", ())):
                return (
                    f"pacing budgets {self.allocation.__struct_config__.tag} needs the {min(missing)} of updates, and "
                    f"merge {part.merge.__struct_config__.tag} of task {name!r} does not measure it; "  # type: ignore[attr-defined]
                    "wrap it in merge spread, or use static budgets"
                )
        return None

    def largest(self, tasks: Mapping[str, object]) -> int:
        """Leases open at once over these tasks."""
        return self.in_flight
