"""Refuse updates whose Euclidean norm is above a bound."""

from typing import ClassVar

from msgspec import Struct

from hocket.errors import InvalidInput
from hocket.lease import Lease
from hocket.policies import Facts
from hocket.strategy import policy


@policy("guard")
class NormBound(Struct, frozen=True, tag="norm_bound", tag_field="kind", forbid_unknown_fields=True):
    """Refuse above ``limit``; needs the norm, so a simulation trains before the step."""

    limit: float = 1e6
    needs: ClassVar[tuple[str, ...]] = ("norm",)

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise InvalidInput(f"norm_bound.limit = {self.limit}: must be above 0")

    def admit(self, lease: Lease, facts: Facts) -> str | None:
        norm = facts.measured.get("norm")
        if norm is not None and not norm <= self.limit:
            return f"norm {norm:.4g}, limit {self.limit:.4g}"
        return None

    def weigh(self, lease: Lease, staleness: int) -> float:
        return 1.0
