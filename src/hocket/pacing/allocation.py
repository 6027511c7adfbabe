"""How budgets move between tasks: not at all, in turn, by heterogeneity (FedAST), by marginal progress.

By heterogeneity, R_m is in proportion to h_m^exponent, where h_m^2 is the ``spread`` of the task's updates:

    paper      exponent 1: minimises sum_m h_m^2 / R_m under sum_m R_m = R; the deal replaces the one before
    released   exponent 2: what the authors' program does, a slip of precedence having removed the root
    robust     exponent 1, and half of each deal's claims, on a logarithmic scale, are those of the deal before

By marginal progress, with buffers b_m = R_m / rho: task m makes v_m versions per second, whatever its budget, since
buffers grow with it. A step that averages b updates D along a gradient gains 1 / (1 + n_m / b) of what one without
noise does, with n_m = E|D - E D|^2 / |E D|^2 the ``noise`` by the ``signal`` (the best step along a noisy gradient).
The predicted time of a step's worth of loss decrease is then

    T_m(R_m) = (1 + rho n_m / R_m) / v_m,

convex in R_m, so handing out quanta of rho one after the other to the task whose T_m falls most minimises sum_m T_m:
R_m is in proportion to sqrt(n_m / v_m), and a slow task, whose every version counts, gets more than a fast one of the
same noise. How steep a task's loss is now plays no part: tasks are to arrive, not to fall fast. The signal is known
from U / V windows of the U updates since the last deal, so n_m / v_m has a relative standard error e_m, and budgets
move from R to R' only if the predicted gain sum_m (n_m / v_m) (1 / R_m - 1 / R'_m) is above its own standard error,
the root of the sum of the squares of its terms times e_m.

Askin, Sharma, Joe-Wong, Joshi, "FedAST: federated asynchronous simultaneous training", UAI 2024 (arXiv 2406.00302).
The rule by progress is hocket's own.
"""

from collections.abc import Mapping
from math import floor, hypot, sqrt
from typing import ClassVar

from msgspec import Struct

from hocket.errors import InvalidInput

LEAST_SIGNAL = 0.01
"""Of the noise: below it a window of a few updates cannot tell a signal from none."""


class Seen(Struct):
    """Of one task since the last deal: its steps, updates that were measured, and sums over those.

    ``square``: the sum of the signal's squares.
    """

    steps: int = 0
    updates: int = 0
    spread: float = 0.0
    signal: float = 0.0
    noise: float = 0.0
    square: float = 0.0

    def doubt(self, window: int) -> float:
        """Standard error of the mean signal: a window of updates counts once."""
        mean = self.signal / self.updates
        return sqrt(max(0.0, self.square / self.updates - mean * mean) / max(1.0, self.updates / window - 1))


class Static(Struct, frozen=True, tag="static", tag_field="kind", forbid_unknown_fields=True):
    """Budgets stay as they are until a task comes or goes."""

    measures: ClassVar[tuple[str, ...]] = ()


class InTurn(Struct, frozen=True, tag="in_turn", tag_field="kind", forbid_unknown_fields=True):
    """The first task that goes on has the whole budget: tasks one after the other."""

    measures: ClassVar[tuple[str, ...]] = ()


class ByHeterogeneity(Struct, frozen=True, tag="by_heterogeneity", tag_field="kind", forbid_unknown_fields=True):
    """R_m in proportion to h_m^exponent, h_m^2 the mean ``spread`` that the task's merge measured since the last deal.

    Args:
        exponent: 1 for the standard deviation, 2 for the variance.
        period: a deal comes after ``period`` x R arrivals per task that goes on.
        after: steps of every task that goes on before the first deal.
        memory: how much of the claims, on a logarithmic scale, is that of the deal before (0: nothing).
        over_too: tasks that are over must have made so many steps as well, as in the authors' program; one that ended
            sooner then keeps the others from ever being dealt.
    """

    exponent: float = 1.0
    period: float = 0.75
    after: int = 8
    memory: float = 0.5
    over_too: bool = False
    measures: ClassVar[tuple[str, ...]] = ("spread",)

    def __post_init__(self) -> None:
        _check(self, "by_heterogeneity", exponent=(self.exponent, 0, 8), memory=(self.memory, 0, 0.99))

    def deal(
        self,
        budget: Mapping[str, int],
        quantum: int,
        seen: Mapping[str, Seen],
        claims: dict[str, float],
        seconds: float,
    ) -> dict[str, int]:
        """New budgets of the same sum; ``claims`` are those of the last deal, and become those of this one."""
        own = {n: (s.spread / s.updates) ** (self.exponent / 2) for n, s in seen.items()}
        whole = sum(own.values()) or 1.0
        own = {n: c / whole for n, c in own.items()}
        if self.memory and all(claims.get(n) and own[n] for n in own):
            before = sum(claims[n] for n in own)
            own = {n: (claims[n] / before) ** self.memory * c ** (1 - self.memory) for n, c in own.items()}
        claims.clear()
        claims.update(own)
        return quanta(sum(budget.values()), quantum, own)


class ByProgress(Struct, frozen=True, tag="by_progress", tag_field="kind", forbid_unknown_fields=True):
    """Quanta go where they shorten the predicted time of a step's worth of loss decrease most, if that is certain.

    Args:
        period: a deal comes after ``period`` x R arrivals per task that goes on.
        after: steps of every task that goes on before the first deal.
        memory: how much of n_m / v_m, on a logarithmic scale, is that of the deal before (0: nothing).
        window: V, updates that the merge measures at once.
    """

    period: float = 0.75
    after: int = 8
    memory: float = 0.5
    window: int = 8
    measures: ClassVar[tuple[str, ...]] = ("signal", "noise")

    def __post_init__(self) -> None:
        _check(self, "by_progress", memory=(self.memory, 0, 0.99), window=(self.window, 1, 1e9))

    def deal(
        self,
        budget: Mapping[str, int],
        quantum: int,
        seen: Mapping[str, Seen],
        claims: dict[str, float],
        seconds: float,
    ) -> dict[str, int]:
        """New budgets of the same sum, or those there are; the last deal took place so many ``seconds`` ago.

        ``claims`` are n_m / v_m of the last deal, and become those of this one.
        """
        own, error = {}, {}
        for n, s in seen.items():
            signal = max(s.signal, LEAST_SIGNAL * s.noise)
            own[n] = s.noise / signal * max(seconds, 1e-9) / s.steps if s.noise else 0.0
            error[n] = s.doubt(self.window) * s.updates / signal if s.noise else 0.0
            if claims.get(n) and own[n]:
                own[n] = claims[n] ** self.memory * own[n] ** (1 - self.memory)
        claims.clear()
        claims.update(own)
        new = dict.fromkeys(seen, quantum)
        rest = sum(budget.values()) - quantum * len(seen)
        while rest > 0:
            given = min(quantum, rest)
            n = max(new, key=lambda n: own[n] / new[n] - own[n] / (new[n] + given))
            new[n] += given
            rest -= given
        gains = {n: own[n] * (1 / budget[n] - 1 / new[n]) for n in new}
        certain = sum(gains.values()) > hypot(*(gains[n] * error[n] for n in new))
        return new if certain else dict(budget)


Allocation = Static | InTurn | ByHeterogeneity | ByProgress


def _check(rule: ByHeterogeneity | ByProgress, name: str, **ranges: tuple[float, float, float]) -> None:
    ranges = {**ranges, "period": (rule.period, 1e-6, 1e6), "after": (rule.after, 0, 1e9)}
    for field, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise InvalidInput(f"{name}.{field} = {value}: must be from {low:g} to {high:g}")


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
