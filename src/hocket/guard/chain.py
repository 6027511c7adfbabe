"""Several guards in a row: the first refusal counts, weights multiply."""

from math import prod

from msgspec import Struct

from hocket.errors import InvalidInput
from hocket.guard.norm import NormBound
from hocket.guard.staleness import Staleness
from hocket.lease import Lease
from hocket.policies import Facts
from hocket.strategy import policy


@policy("guard")
class Chain(Struct, frozen=True, tag="chain", tag_field="kind", forbid_unknown_fields=True):
    """Guards that all must admit an update."""

    guards: tuple[Staleness | NormBound, ...] = (Staleness(), NormBound())

    def __post_init__(self) -> None:
        if not self.guards:
            raise InvalidInput("chain: no guards; name at least one")

    @property
    def needs(self) -> tuple[str, ...]:
        """What the guards need, each once."""
        return tuple(dict.fromkeys(n for g in self.guards for n in g.needs))

    def admit(self, lease: Lease, facts: Facts) -> str | None:
        for g in self.guards:
            if (reason := g.admit(lease, facts)) is not None:
                return reason
        return None

    def weigh(self, lease: Lease, staleness: int) -> float:
        return prod(g.weigh(lease, staleness) for g in self.guards)
