"""Budgets: requests in circulation, dealt over the tasks, and buffers that follow them (FedAST).

R_m requests of task m are outstanding, sum R_m = R, and task m steps whenever b_m updates are in, with
b_m = max(1, ceil(outstanding_m / rho)). The mean staleness of a task is then (R_m - 1)/b_m, about rho - 1, however slow
its work is. A budget that shrinks is not refilled and one that grows takes what the others leave, so both move
gradually. A task that ends hands its budget to those that go on, in proportion to theirs.

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
from hocket.pacing.in_flight import PerTask, check_timeout, of, positive
from hocket.policies import Due, Slots
from hocket.strategy import FullStrategy, FullTask, policy
from hocket.view import View


class Static(Struct, frozen=True, tag="static", tag_field="kind", forbid_unknown_fields=True):
    """Budgets stay as they are until a task ends."""


class ByHeterogeneity(Struct, frozen=True, tag="by_heterogeneity", tag_field="kind", forbid_unknown_fields=True):
    """R_m in proportion to h_m^exponent, h_m^2 the mean ``spread`` that the task's merge measured since the last deal.

    Minimising sum_m h_m^2 / R_m under sum_m R_m = R gives exponent 1; the authors' program behaves as 2.

    Args:
        exponent: 1 for the standard deviation, 2 for the variance.
        period: a deal comes after ``period`` x R arrivals per task that goes on.
        after: steps of every task before the first deal.
    """

    exponent: float = 1.0
    period: float = 0.75
    after: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.exponent <= 8 or not 0 < self.period <= 1e6 or self.after < 0:
            raise InvalidInput(
                f"by_heterogeneity: exponent = {self.exponent} (0 to 8), period = {self.period} (above 0), "
                f"after = {self.after} (0 or more)"
            )


class Dealt(Struct):
    """Per task: its budget, and the spread measured since the last deal (sum, updates)."""

    budget: dict[str, int]
    spread: dict[str, float] = {}
    measured: dict[str, int] = {}
    arrivals: int = 0


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
    allocation: Static | ByHeterogeneity = Static()
    timeout: float | None = None
    refill_first: ClassVar[bool] = False
    observes: ClassVar[tuple[type[Event], ...]] = (on.Stepped,)

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
        if self.buffer is not None:
            for t in names:
                of(self.buffer, t, "buffer")
        return Dealt(budget)

    def room(self, state: Dealt, view: View, now: int) -> Slots:
        self._inherit(state, view)
        free = self.in_flight - sum(t.open for t in view.tasks.values())
        slots: dict[str, int] = {}
        for name, t in view.tasks.items():
            if t.stepping or t.status != "active":
                continue
            n = min(state.budget[name] - t.open, free)
            if n > 0:
                slots[name] = n
                free -= n
        return slots

    def _inherit(self, state: Dealt, view: View) -> None:
        """Deal what ended tasks held to those that go on."""
        ended = [n for n, t in view.tasks.items() if t.status == "ended" and state.budget[n]]
        heirs = {n: float(state.budget[n]) for n, t in view.tasks.items() if t.status != "ended"}
        if ended and heirs:
            state.budget.update(dict.fromkeys(ended, 0))
            state.budget.update(proportional(self.in_flight, heirs))

    def due(self, state: Dealt, view: View, now: int) -> Due | None:
        for name, t in view.tasks.items():
            if t.buffer and not t.stepping:
                # t.open + 1 were outstanding when the newest of the buffer arrived
                size = -(-(t.open + 1) // self.ratio) if self.buffer is None else of(self.buffer, name, "buffer")
                if len(t.buffer) >= size:
                    return Due(name)
        return None

    def observe(self, state: Dealt, fact: Event, view: View, now: int) -> Sequence[Request]:
        assert isinstance(fact, on.Stepped)
        state.arrivals += fact.count
        if (spread := fact.facts.get("spread")) is not None:
            state.spread[fact.task] = state.spread.get(fact.task, 0.0) + spread * fact.count
            state.measured[fact.task] = state.measured.get(fact.task, 0) + fact.count
        if isinstance(self.allocation, ByHeterogeneity):
            self._deal(self.allocation, state, view)
        return ()

    def _deal(self, rule: ByHeterogeneity, state: Dealt, view: View) -> None:
        going = [n for n, t in view.tasks.items() if t.status != "ended"]
        if (
            len(going) * self.ratio > self.in_flight
            or state.arrivals < floor(rule.period * self.in_flight) * len(going)
            or any(t.version <= rule.after for t in view.tasks.values())
            or not all(state.measured.get(n) for n in going)
        ):
            return
        claims = {n: (state.spread[n] / state.measured[n]) ** (rule.exponent / 2) for n in going}
        state.budget.update(quanta(self.in_flight, self.ratio, claims))
        state.arrivals = 0
        state.spread.clear()
        state.measured.clear()

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """A budget that follows the spread needs a merge that measures it."""
        if isinstance(self.allocation, ByHeterogeneity):
            for name, part in strategy.tasks.items():
                if "spread" not in getattr(part.merge, "measures", ()):
                    return (
                        f"pacing budgets by_heterogeneity needs the spread of updates, and merge "
                        f"{part.merge.__struct_config__.tag} of task {name!r} does not measure it; "  # type: ignore[attr-defined]
                        "wrap it in merge spread, or use static budgets"
                    )
        return None

    def largest(self, tasks: Mapping[str, object]) -> int:
        """Leases open at once over these tasks."""
        return self.in_flight


def proportional(total: int, claims: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers that add up to ``total``, in proportion to the claims, the largest remainders rounded up.

    >>> proportional(10, {"a": 1.0, "b": 1.0, "c": 1.0})
    {'a': 4, 'b': 3, 'c': 3}
    """
    whole = sum(claims.values()) or 1.0
    exact = {n: total * c / whole for n, c in claims.items()}
    out = {n: floor(x) for n, x in exact.items()}
    for n in sorted(out, key=lambda n: out[n] - exact[n])[: total - sum(out.values())]:
        out[n] += 1
    return out


def quanta(total: int, quantum: int, claims: Mapping[str, float]) -> dict[str, int]:
    """Whole budgets that add up to ``total``: a quantum each, the rest by quanta to the largest claim that is left.

    >>> quanta(160, 10, {"a": 1.0, "b": 1.0, "c": 3.0, "d": 3.0})
    {'a': 20, 'b': 20, 'c': 60, 'd': 60}
    """
    whole = sum(claims.values()) or 1.0
    left = {n: floor(total * c / whole) - quantum for n, c in claims.items()}
    out = dict.fromkeys(claims, quantum)
    rest = total - quantum * len(claims)
    while rest > 0:
        n = max(left, key=lambda n: left[n])
        given = min(quantum, rest)
        out[n] += given
        left[n] -= given
        rest -= given
    return out
