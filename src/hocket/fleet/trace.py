"""Links whose rate follows a recorded trace: fast here, slow there, gone in a tunnel.

A trace is a list of rates, one per ``step``; only its shape counts. Client i follows trace i mod n from a moment of its
own, over and over, at its own mean rate times the trace's rate over the trace's mean. A transfer of b bytes that begins
at s ends at the first t with

    integral from s to t of r(u) du = b,      r(u) = (bytes per second of the device) x trace(u)/mean(trace)

found exactly from the running sum of the trace.
"""

from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket import keyed, npz
from hocket.errors import InvalidInput

Floats = NDArray[np.float64]


class Trace(Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """Rates over time.

    Attributes:
        rates: for each trace its rates in any one unit, 0 or more, not all 0.
        step: seconds that each rate lasts.

    Raises:
        InvalidInput: no trace, an empty one, a rate that is negative or not finite, or one that is 0 throughout.

    >>> link = Trace(rates=((1.0, 3.0, 0.0, 4.0),)).links(clients=1, seed=0)
    >>> link.end(0, begin=0, work=10**9) > 0
    True
    """

    rates: tuple[tuple[float, ...], ...]
    step: float = 1.0

    def __post_init__(self) -> None:
        if not self.rates:
            raise InvalidInput("trace: no rates; give one list of them, or several")
        if not 1e-6 <= self.step <= 1e6:
            raise InvalidInput(f"trace: step = {self.step} s; must be from 1e-6 to 1e6")
        for i, rates in enumerate(self.rates):
            values = np.array(rates, np.float64)
            if not values.size or not np.isfinite(values).all() or (values < 0).any() or not values.any():
                raise InvalidInput(f"trace {i}: {len(rates)} rates; must be finite, 0 or more, and not all 0")

    @classmethod
    def read(cls, path: str | PathLike[str], only: str = "", step: float = 1.0) -> "Trace":
        """Traces from a NumPy archive (``.npz``), one array each; ``only`` those whose names contain this.

        Raises:
            InvalidInput: no such file, no archive, or no array of such a name.
        """
        try:
            raw = Path(path).read_bytes()
        except OSError as error:
            raise InvalidInput(f"{path}: no archive of traces ({error}); give an .npz file of one array each") from None
        named = {name: a for name, a in sorted(npz.arrays(raw, str(path)).items()) if only in name}
        if not named:
            raise InvalidInput(f"{path}: no trace whose name contains {only!r}")
        if wrong := [name for name, a in named.items() if a.ndim != 1 or a.dtype.kind not in "fiu"]:
            raise InvalidInput(
                f"{path}: array {wrong[0]} is {named[wrong[0]].dtype}{named[wrong[0]].shape}; give rates"
            )
        return cls(tuple(tuple(a.astype(np.float64).tolist()) for a in named.values()), step)

    @cached_property
    def _sums(self) -> list[Floats]:
        """For each trace the running sum of its rates over their mean, float64[steps + 1], from 0 to its length."""
        each = (np.array(rates, np.float64) for rates in self.rates)
        return [np.concatenate(([0.0], np.cumsum(r / r.mean()))) for r in each]

    def links(self, clients: int, seed: int, name: str = "down") -> "Links":
        """The links of so many clients; where each one begins is keyed by (seed, client)."""
        mine = np.arange(clients, dtype=np.uint64) ^ np.uint64(keyed.key(seed, "fleet", "trace", name))
        return Links(self._sums, self.step * 1e9, keyed.uniform_array(keyed.mix_array(mine)))


class Links:
    """What a trace carries for each client; times in integer nanoseconds."""

    __slots__ = ("_phase", "_step", "_sums")

    def __init__(self, sums: list[Floats], step: float, phase: Floats) -> None:
        self._sums, self._step, self._phase = sums, step, phase

    def end(self, client: int, begin: int, work: float) -> int:
        """How long a transfer takes that takes ``work`` ns at the mean rate, if it begins at a time."""
        sums = self._sums[client % len(self._sums)]
        at = self._at(client, begin, sums)
        goal = self._sum(sums, at) + work / self._step
        period = len(sums) - 1
        laps, rest = divmod(goal, float(period))
        i = max(1, int(np.searchsorted(sums, rest, side="left")))
        if rest > sums[-1]:  # the last step, after rounding
            i = period
        rate = sums[i] - sums[i - 1]
        within = i - 1 + (min(1.0, (rest - sums[i - 1]) / rate) if rate > 0 else 0.0)
        return max(0, round((laps * period + within - at) * self._step))

    def done(self, client: int, begin: int, now: int) -> float:
        """How much work, in ns at the mean rate, is done between two times."""
        sums = self._sums[client % len(self._sums)]
        at = self._at(client, begin, sums)
        return (self._sum(sums, at + (now - begin) / self._step) - self._sum(sums, at)) * self._step

    def _at(self, client: int, time: int, sums: Floats) -> float:
        """Steps into the trace."""
        period = len(sums) - 1
        return float((self._phase[client] * period + time / self._step) % period)

    def _sum(self, sums: Floats, at: float) -> float:
        laps, rest = divmod(at, float(len(sums) - 1))
        i = min(int(rest), len(sums) - 2)
        return laps * (len(sums) - 1) + float(sums[i] + (rest - i) * (sums[i + 1] - sums[i]))
