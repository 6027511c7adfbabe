"""Service-time laws: how much one transfer or one training differs from the mean of its device.

A law draws a factor of mean one that multiplies a base duration. A draw is a pure function of a 64-bit
key (:mod:`hocket.keyed`), so the same lease takes the same time in every run, whatever runs beside it.
"""

from collections.abc import Iterable
from math import exp, fsum, isfinite, pi, sqrt

from msgspec import Struct

from hocket import keyed
from hocket.errors import InvalidInput

_HALF_NORMAL = sqrt(pi / 2.0)
_SIGMA_MAX = 3.0  # keyed.normal stays below 6.8: beyond this the tail it lacks is felt in the mean


class Deterministic(Struct, frozen=True, tag="deterministic", tag_field="kind", forbid_unknown_fields=True):
    """Always one: every duration is its mean."""

    def draw(self, k: int) -> float:
        """The factor for key ``k``: 1."""
        return 1.0


class Exponential(Struct, frozen=True, tag="exponential", tag_field="kind", forbid_unknown_fields=True):
    """Memoryless: the law of the queueing papers (2502.08206), variance 1."""

    def draw(self, k: int) -> float:
        """The factor for key ``k``, in (0, 37)."""
        return keyed.exponential(k)


class ShiftedExponential(Struct, frozen=True, tag="shifted_exponential", tag_field="kind", forbid_unknown_fields=True):
    """A constant part and an exponential part: ``shift + (1 - shift) Exp(1)``.

    ``shift`` is the constant share of the mean, 0 (exponential) to 1 (deterministic); FedAST (2406.00302)
    uses 1/3.

    Raises:
        InvalidInput: ``shift`` is outside 0 to 1.

    >>> ShiftedExponential(1.0).draw(7)
    1.0
    """

    shift: float = 1.0 / 3.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.shift <= 1.0:
            raise InvalidInput(f"shifted_exponential: shift={self.shift} is not a share of the mean; give 0 to 1")

    def draw(self, k: int) -> float:
        """The factor for key ``k``, at least ``shift``."""
        return self.shift + (1.0 - self.shift) * keyed.exponential(k)


class HalfNormal(Struct, frozen=True, tag="half_normal", tag_field="kind", forbid_unknown_fields=True):
    """``|N(0, 1)|`` scaled to mean one: QAFeL's and FedBuff's training times (2106.06639), variance 0.571."""

    def draw(self, k: int) -> float:
        """The factor for key ``k``, at least 0."""
        return abs(keyed.normal(k)) * _HALF_NORMAL


class LogNormal(Struct, frozen=True, tag="lognormal", tag_field="kind", forbid_unknown_fields=True):
    """Heavy-tailed: ``exp(sigma z - sigma^2 / 2)`` with z standard normal.

    Raises:
        InvalidInput: ``sigma`` is outside 0 to 3 (at 3 the 95th percentile is 139 medians).
    """

    sigma: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.sigma <= _SIGMA_MAX:
            raise InvalidInput(
                f"lognormal: sigma={self.sigma} is out of range; give 0 to {_SIGMA_MAX:g} (0 = deterministic)"
            )

    def draw(self, k: int) -> float:
        """The factor for key ``k``, above 0."""
        return exp(self.sigma * (keyed.normal(k) - 0.5 * self.sigma))


class Empirical(Struct, frozen=True, tag="empirical", tag_field="kind", forbid_unknown_fields=True):
    """Factors measured on real devices, each drawn with the same chance.

    Build it with :meth:`from_trace`, which divides durations by their mean.

    Raises:
        InvalidInput: no factors, one that is not positive and finite, or a mean other than one.

    >>> Empirical.from_trace([2.0, 4.0, 6.0]).factors
    (0.5, 1.0, 1.5)
    """

    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.factors:
            raise InvalidInput("empirical: no factors; give at least one measured duration")
        _all_positive("factors", self.factors)
        mean = fsum(self.factors) / len(self.factors)
        if abs(mean - 1.0) > 1e-9:
            raise InvalidInput(f"empirical: the factors have mean {mean:g}, not 1; use Empirical.from_trace(durations)")

    @classmethod
    def from_trace(cls, durations: Iterable[float]) -> "Empirical":
        """The law of a trace of durations (any unit, positive and finite)."""
        trace = tuple(float(d) for d in durations)
        _all_positive("durations", trace)
        mean = fsum(trace) / len(trace) if trace else 1.0
        return cls(tuple(d / mean for d in trace))

    def draw(self, k: int) -> float:
        """The factor for key ``k``: one of ``factors``."""
        return self.factors[keyed.below(k, len(self.factors))]


def _all_positive(name: str, values: tuple[float, ...]) -> None:
    for at, value in enumerate(values):
        if not (isfinite(value) and value > 0.0):
            raise InvalidInput(f"empirical: {name}[{at}]={value}; durations must be positive and finite")


Law = Deterministic | Exponential | ShiftedExponential | HalfNormal | LogNormal | Empirical
"""Any service-time law."""
