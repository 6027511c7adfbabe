"""Swarm testing: each seed draws which classes of faults are on, and how strong; one in ten has none.

Runs with everything on hide what a few faults alone would show, so classes are left out at random
(Groce et al., "Swarm testing", ISSTA 2012).
"""

from collections.abc import Mapping

from msgspec import Struct

from hocket.faults import devices, network
from hocket.keyed import below, key, uniform

CRASHES = tuple(
    f"crash before {step}"
    for step in (
        "new segment", "write", "sync", "note", "acknowledge", "send", "checkpoint: write", "checkpoint: sync",
        "checkpoint: rename", "checkpoint: sync folder", "checkpoint: drop", "cut", "take term", "recovered",
    )
)  # fmt: skip
RATES: Mapping[str, Mapping[str, float]] = {
    "network": dict(zip(network.KINDS, (0.15, 0.15, 0.15, 0.1, 0.06, 0.05), strict=True)),
    "server": {**dict.fromkeys(CRASHES, 0.015), "crash before send": 0.004, "server paused": 0.05},
    "recovery": dict.fromkeys(("crash before cut", "crash before take term", "crash before recovered"), 0.4),
    "disk": {"disk full": 0.03, "sync fails": 0.03, "bit flip": 0.5},
    "devices": dict(zip(devices.KINDS, (0.04, 0.04, 0.05, 0.01, 0.1), strict=True)),
    "liars": dict.fromkeys(devices.LIES, 0.08),
}
"""Class to kinds of faults, with the chance of each occasion at full strength."""


class Plan(Struct, frozen=True):
    """What the world of a seed does: chances by kind, classes that are on, updates between two checkpoints."""

    seed: int
    rates: dict[str, float]
    classes: tuple[str, ...]
    checkpoint: int


def plan(seed: int) -> Plan:
    """Draw the world of a seed."""
    k = key(seed, "swarm")
    checkpoint = 3 + below(key(k, "checkpoint"), 30)
    if below(key(k, "calm"), 10) == 0:
        return Plan(seed, {}, (), checkpoint)
    rates: dict[str, float] = {}
    on = [name for name in RATES if below(key(k, "class", name), 2)] or ["network", "server"]
    if "recovery" in on and not {"server", "disk"} & set(on):
        on.append("server")
    for name in on:
        strength = 2.0 ** -(2 * uniform(key(k, "strength", name)))
        for kind, rate in RATES[name].items():
            if below(key(k, "kind", kind), 4):
                rates[kind] = max(rates.get(kind, 0.0), rate * strength)
    return Plan(seed, rates, tuple(on), checkpoint)


def everything(seed: int) -> Plan:
    """Every class at full strength."""
    return Plan(seed, {k: max(r[k] for r in RATES.values() if k in r) for r in RATES.values() for k in r},
                tuple(RATES), 10)  # fmt: skip
