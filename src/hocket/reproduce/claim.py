"""What is claimed, where it comes from, between which bounds it must lie, and the function that measures it."""

import time
from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct

from hocket.errors import InvalidInput, MissingData, MissingExtra

Tier = Literal["ci", "soak", "release"]
Measure = Callable[[bool], float]
"""Measures the figure; with True it may take a smaller run of at most ten minutes on two cores."""


class Claim(Struct, frozen=True):
    """One figure of a paper, or one that follows from it.

    ``figure`` is the published or derived one, ``low`` and ``high`` the band (both included) that a measurement
    must fall into, ``tier`` when it is checked in full.
    """

    name: str
    source: str
    what: str
    figure: float
    low: float
    high: float
    tier: Tier
    measure: Measure


class Verdict(Struct, frozen=True):
    """What came out: ``value`` and whether it is inside the band; ``missing`` says what data were not there."""

    name: str
    source: str
    what: str
    figure: float
    low: float
    high: float
    tier: Tier
    quick: bool
    value: float | None
    missing: str | None
    wall_s: float

    @property
    def inside(self) -> bool:
        """Whether the band holds the value (never if there is none)."""
        return self.value is not None and self.low <= self.value <= self.high

    @property
    def word(self) -> str:
        """``inside``, ``outside`` or ``no data``."""
        return "no data" if self.missing is not None else "inside" if self.inside else "outside"


def claim(
    source: str, what: str, figure: float, low: float, high: float, *, tier: Tier = "ci"
) -> Callable[[Measure], Claim]:
    """Make a claim of the function that measures it; its name is the function's, with dashes.

    >>> @claim("arithmetic", "two and two", 4, 4, 4)
    ... def sum_of_two(quick):
    ...     return 2 + 2
    >>> check(sum_of_two).word
    'inside'

    Raises:
        InvalidInput: the band is empty or does not hold the figure.
    """

    def made(measure: Measure) -> Claim:
        name = measure.__name__.replace("_", "-")
        if not low <= figure <= high:
            raise InvalidInput(f"claim {name}: the band {low:g} to {high:g} does not hold its figure {figure:g}")
        return Claim(name, source, what, figure, low, high, tier, measure)

    return made


def check(claim: Claim, quick: bool = False) -> Verdict:
    """Measure a claim; data or an extra that are missing are a verdict, any other error is raised."""
    began = time.perf_counter()
    value, missing = None, None
    try:
        value = float(claim.measure(quick))
    except (MissingData, MissingExtra) as error:
        missing = str(error)
    about: dict[str, Any] = {f: getattr(claim, f) for f in Claim.__struct_fields__ if f != "measure"}
    return Verdict(**about, quick=quick, value=value, missing=missing, wall_s=time.perf_counter() - began)
