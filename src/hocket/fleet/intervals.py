"""Availability read from a trace of intervals, in FedScale's format."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import isfinite
from typing import Any, NamedTuple, cast

import numpy as np
from msgspec import Struct

from hocket.errors import InvalidInput
from hocket.fleet.toggles import NEVER, Bools, Changes, Ints, Toggles, advance, begin, upcoming

_FIELDS = ("duration", "inactive", "finish_time", "active", "model")
_NEEDED = ("active", "inactive", "finish_time")


class _Compiled(NamedTuple):
    marks: Ints  # toggles of one period of each trace, ns in (0, period], one trace after the other
    start: Ints  # where each trace begins in marks
    size: Ints  # number of marks of each trace, even
    period: Ints  # ns
    up: Bools  # up at time 0


class Intervals(Struct, frozen=True, dict=True, tag="intervals", tag_field="kind", forbid_unknown_fields=True):
    """Each device is up from ``active[k]`` to ``inactive[k]``, again and again.

    Client i follows trace ``i mod len(active)`` as in FedScale; intervals are half open (down at the very
    instant ``inactive[k]``), those that touch are one, and time is taken modulo the trace's period.

    Attributes:
        active: for each trace the times it comes up, s, ascending.
        inactive: for each trace the times it goes down, s, one for each of ``active``.
        period: for each trace its length, s (FedScale: ``finish_time``).

    Raises:
        InvalidInput: lists of unequal length, times out of order or outside 0 to the period.

    >>> day = Intervals(active=((6.0,),), inactive=((8.0,),), period=(24.0,))
    >>> state = day.init(clients=1, seed=0)
    >>> times, _, up = day.until(state, 48 * 10**9)
    >>> [int(t) // 10**9 for t in times], up.tolist()
    ([6, 8, 30, 32], [True, False, True, False])
    """

    active: tuple[tuple[float, ...], ...]
    inactive: tuple[tuple[float, ...], ...]
    period: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.active) == len(self.inactive) == len(self.period) > 0:
            raise InvalidInput(
                f"intervals: active, inactive and period have {len(self.active)}, {len(self.inactive)} and "
                f"{len(self.period)} entries; give one of each for every client, at least one client"
            )
        for at, columns in enumerate(zip(self.active, self.inactive, self.period, strict=True)):
            _check(f"client {at}", *columns)

    @classmethod
    def from_fedscale(cls, trace: Mapping[Any, Any]) -> "Intervals":
        """From FedScale's ``{client: {'duration', 'inactive', 'finish_time', 'active', 'model'}}``.

        Times are seconds; ``duration`` and ``model`` may be absent and are not used; clients keep the order
        of the mapping. Give the decoded mapping (for example of a JSON file): FedScale ships it as a pickle,
        which hocket does not open because opening one runs code.

        Raises:
            InvalidInput: names the client and the field that is missing, unknown or wrong.
        """
        clients = _mapping("fedscale trace", trace, "client: {...}")
        rows = [_row(f"client {name}", entry) for name, entry in clients.items()]
        active, inactive, period = zip(*rows, strict=True)
        return cls(active, inactive, period)

    def init(self, clients: int, seed: int) -> Toggles:
        """The state at time 0; ``seed`` is not used, a trace has no chance in it."""
        made = self._compiled
        count = np.zeros(clients, np.int64)
        due = self._following(np.arange(clients), count)
        return begin(0, np.resize(made.up, clients), count, due)

    def until(self, state: Toggles, time: int) -> Changes:
        """All changes after the last time asked for, up to and with ``time`` (ns)."""
        return advance(state, time, lambda who: self._following(who, state.count[who]))

    def online(self, state: Toggles) -> Bools:
        """``bool[n]``: who is up at the last time asked for."""
        return state.up.copy()

    def upcoming(self, state: Toggles) -> int | None:
        """When the next change comes, ns; None if there is none."""
        return upcoming(state)

    def _following(self, who: Ints, count: Ints) -> Ints:
        made = self._compiled
        trace = who % len(made.size)
        size = made.size[trace]
        still = size == 0
        turn, place = np.divmod(count, np.maximum(size, 1))
        mark = made.marks[np.where(still, 0, made.start[trace] + place)]
        return np.where(still, NEVER, turn * made.period[trace] + mark)

    @cached_property
    def _compiled(self) -> _Compiled:
        rows = [_marks(*columns) for columns in zip(self.active, self.inactive, self.period, strict=True)]
        size = np.array([len(marks) for marks, _ in rows], np.int64)
        flat = [mark for marks, _ in rows for mark in marks]
        return _Compiled(
            np.array([*flat, 0], np.int64),
            np.cumsum(size) - size,
            size,
            np.array([_ns(p) for p in self.period], np.int64),
            np.array([up for _, up in rows], np.bool_),
        )


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _marks(active: Sequence[float], inactive: Sequence[float], period: float) -> tuple[list[int], bool]:
    end = _ns(period)
    marks: list[int] = []
    for on, off in zip(map(_ns, active), map(_ns, inactive), strict=True):
        if on == off:
            continue
        if marks and marks[-1] == on:
            marks[-1] = off
        else:
            marks += [on, off]
    up = bool(marks) and marks[0] == 0
    if up and marks[-1] == end:
        return marks[1:-1], up
    return ([*marks[1:], end] if up else marks), up


def _check(name: str, active: Sequence[float], inactive: Sequence[float], period: float) -> None:
    if not (isfinite(period) and period > 0.0):
        raise InvalidInput(f"intervals: {name} has period {period} s; it must be positive and finite")
    if not len(active) == len(inactive) > 0:
        raise InvalidInput(
            f"intervals: {name} has {len(active)} active and {len(inactive)} inactive times; "
            "give as many of one as of the other, at least one"
        )
    last = 0.0
    for k, (on, off) in enumerate(zip(active, inactive, strict=True)):
        if not last <= on <= off <= period:
            raise InvalidInput(
                f"intervals: {name}, interval {k} is {on} to {off} s; intervals must ascend without overlap "
                f"from 0 to the period, {period} s"
            )
        last = off


def _mapping(name: str, value: object, allowed: str) -> Mapping[object, object]:
    kind = type(value).__name__
    if not isinstance(value, Mapping) or not value:
        raise InvalidInput(f"{name} is {kind if value else 'empty'}; give a mapping with {allowed}")
    return cast("Mapping[object, object]", value)


def _row(name: str, entry: object) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    fields = _mapping(f"fedscale trace: {name}", entry, ", ".join(_FIELDS))
    if missing := [f for f in _NEEDED if f not in fields]:
        raise InvalidInput(f"fedscale trace: {name} lacks {', '.join(missing)}; needed: {', '.join(_NEEDED)}")
    if unknown := [str(f) for f in fields if f not in _FIELDS]:
        raise InvalidInput(f"fedscale trace: {name} has unknown {', '.join(unknown)}; allowed: {', '.join(_FIELDS)}")
    active, inactive = (_seconds(name, f, fields[f]) for f in ("active", "inactive"))
    return active, inactive, _seconds(name, "finish_time", [fields["finish_time"]])[0]


def _seconds(name: str, field: str, values: object) -> tuple[float, ...]:
    if not isinstance(values, list | tuple):
        raise InvalidInput(f"fedscale trace: {name} has {field}={values!r}; give a list of seconds")
    out: list[float] = []
    for value in cast("Sequence[object]", values):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidInput(f"fedscale trace: {name} has {value!r} in {field}; give numbers of seconds")
        out.append(float(value))
    return tuple(out)
