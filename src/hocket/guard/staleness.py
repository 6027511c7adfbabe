"""Staleness: what an update that is tau versions old weighs, and when it is too old.

| decay | weight s(tau) | source |
|---|---|---|
| constant | 1 | FedAsync |
| hinge | 1 if tau <= b else 1/(a (tau - b) + 1) | FedAsync (Xie et al. 2019, section 5.2) |
| polynomial | ((1 + average)/(1 + tau))^a | FedAsync; FedBuff is a = 1/2; FLSim divides by its value at average 1 |
| windowed | tau + 1 | FedFix (Fraboni et al. 2022): a client that delivers every tau+1 windows counts that often |

An update whose tau is above ``limit`` is refused; the client keeps the node and the slot is filled anew.
"""

from typing import ClassVar

from msgspec import Struct

from hocket.errors import InvalidInput
from hocket.lease import Lease
from hocket.policies import Facts
from hocket.strategy import policy


class Constant(Struct, frozen=True, tag="constant", tag_field="kind", forbid_unknown_fields=True):
    """Age does not matter."""

    def weight(self, staleness: int) -> float:
        """The factor for an update that is so many versions old."""
        return 1.0


class Hinge(Struct, frozen=True, tag="hinge", tag_field="kind", forbid_unknown_fields=True):
    """Full weight up to ``grace`` (b) versions, then 1/(slope (tau - b) + 1), ``slope`` is a.

    >>> [round(Hinge(slope=0.6, grace=2).weight(t), 4) for t in (0, 3, 8)]
    [1.0, 0.625, 0.2174]
    """

    slope: float = 10.0
    grace: int = 4

    def __post_init__(self) -> None:
        if not self.slope > 0 or self.grace < 0:
            raise InvalidInput(f"hinge: slope = {self.slope}, grace = {self.grace}; slope > 0, grace 0 or more")

    def weight(self, staleness: int) -> float:
        """The factor for an update that is so many versions old."""
        return 1.0 if staleness <= self.grace else 1.0 / (self.slope * (staleness - self.grace) + 1.0)


class Polynomial(Struct, frozen=True, tag="polynomial", tag_field="kind", forbid_unknown_fields=True):
    """((1 + average)/(1 + tau))^exponent; ``average`` 0 is the raw weight, 1 is FLSim's normalised one.

    >>> Polynomial().weight(3), round(Polynomial(average=1).weight(1), 3)
    (0.5, 1.0)
    """

    exponent: float = 0.5
    average: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.exponent <= 10 or not 0 <= self.average <= 1e6:
            raise InvalidInput(
                f"polynomial: exponent = {self.exponent}, average = {self.average}; both must be 0 or more, the "
                "exponent at most 10, the average at most 1e6"
            )

    def weight(self, staleness: int) -> float:
        """The factor for an update that is so many versions old."""
        return float(((1.0 + self.average) / (1.0 + staleness)) ** self.exponent)


class Windowed(Struct, frozen=True, tag="windowed", tag_field="kind", forbid_unknown_fields=True):
    """tau + 1: the number of windows the work took, so that slow clients count as much as fast ones."""

    def weight(self, staleness: int) -> float:
        """The factor for an update that is so many versions old."""
        return staleness + 1.0


Decay = Constant | Hinge | Polynomial | Windowed


@policy("guard")
class Staleness(Struct, frozen=True, tag="staleness", tag_field="kind", forbid_unknown_fields=True):
    """Weigh by ``decay``, refuse above ``limit`` versions (None: never)."""

    decay: Decay = Constant()
    limit: int | None = None
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 0:
            raise InvalidInput(f"staleness.limit = {self.limit}: must be 0 or more versions, or left out")

    def admit(self, lease: Lease, facts: Facts) -> str | None:
        if self.limit is not None and facts.staleness > self.limit:
            return f"stale by {facts.staleness} versions, limit {self.limit}"
        return None

    def weigh(self, lease: Lease, staleness: int) -> float:
        return self.decay.weight(staleness)
