"""Secure aggregation is refused, here, by name.

It would have the server see sums of updates only, masked by pairs of clients that must then stay to the end of their
round (Bonawitz et al., CCS 2017). hocket's server looks at every update before it counts: finite, shape, norm,
staleness, clipping; none of that can be done with masked ones. Sums of masked updates would be handed over where
updates are handed to the book now, :class:`hocket.received.Received`, per group of clients.
"""

from msgspec import Struct

from hocket.errors import InvalidInput
from hocket.strategy import policy


@policy("privacy")
class SecureAggregation(Struct, frozen=True, tag="secure_aggregation", tag_field="kind", forbid_unknown_fields=True):
    """Not to be had.

    Raises:
        InvalidInput: always; the sentence says why.
    """

    def __post_init__(self) -> None:
        raise InvalidInput(
            "secure aggregation: not there; the server must see updates to check, weigh and clip them. Use "
            'privacy = {kind = "gaussian"}, which trusts the server and nobody else'
        )
