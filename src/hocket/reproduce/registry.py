"""All claims, in the order in which they are checked."""

from hocket.errors import InvalidInput
from hocket.experiment.strict import unknown
from hocket.reproduce import (
    async_queueing,
    async_queueing_images,
    baselines,
    fedast,
    fedfetch,
    fedfetch_ahead,
    prfl,
    qafel,
    staleness,
    submodels,
)
from hocket.reproduce.claim import Claim

MODULES = (
    async_queueing,
    async_queueing_images,
    baselines,
    fedast,
    fedfetch,
    fedfetch_ahead,
    prfl,
    qafel,
    staleness,
    submodels,
)
"""Modules whose claims are known; a new one is added here."""


def _collect() -> dict[str, Claim]:
    found: dict[str, Claim] = {}
    for module in MODULES:
        for made in vars(module).values():
            if isinstance(made, Claim) and found.setdefault(made.name, made) is not made:
                raise InvalidInput(f"claim {made.name}: there are two of this name; rename one")
    return found


CLAIMS = _collect()


def named(name: str) -> list[Claim]:
    """The claim of a name, all of a method (``qafel``, ``async-queueing``: names that begin so), or all there are.

    Raises:
        InvalidInput: there is none; the nearest is suggested.
    """
    if name == "all":
        return list(CLAIMS.values())
    found = [CLAIMS[name]] if name in CLAIMS else [c for n, c in CLAIMS.items() if n.startswith(f"{name}-")]
    if not found:
        raise unknown(f"reproduce = {name!r}", ["all", *CLAIMS], "no such claim")
    return found
