"""The devices: how fast each one is, how it is linked, when it is there, what the server can send."""

from hocket.fleet.availability import Always, Availability
from hocket.fleet.diurnal import Diurnal
from hocket.fleet.egress import Egress
from hocket.fleet.fleet import Fleet
from hocket.fleet.intervals import Intervals
from hocket.fleet.law import (
    Deterministic,
    Empirical,
    Exponential,
    HalfNormal,
    Law,
    LogNormal,
    ShiftedExponential,
)
from hocket.fleet.links import ten_links
from hocket.fleet.renewal import Renewal
from hocket.fleet.timing import Timing
from hocket.fleet.toggles import Changes, Toggles
from hocket.fleet.trace import Trace

__all__ = [
    "Always",
    "Availability",
    "Changes",
    "Deterministic",
    "Diurnal",
    "Egress",
    "Empirical",
    "Exponential",
    "Fleet",
    "HalfNormal",
    "Intervals",
    "Law",
    "LogNormal",
    "Renewal",
    "ShiftedExponential",
    "Timing",
    "Toggles",
    "Trace",
    "ten_links",
]
