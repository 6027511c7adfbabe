"""Conformance suites: inherit one in a test class, say what to test, and pytest runs it."""

from hocket.testing.codec import CodecConformance
from hocket.testing.control_plane import (
    GuardConformance,
    MatchingConformance,
    PacingConformance,
    PrefetchConformance,
    SubmodelConformance,
)
from hocket.testing.data_plane import DownlinkConformance, MergeConformance, OptimizerConformance, UplinkConformance
from hocket.testing.learner import LearnerConformance
from hocket.testing.policy import Conformance

__all__ = [
    "SUITES",
    "CodecConformance",
    "DownlinkConformance",
    "GuardConformance",
    "LearnerConformance",
    "MatchingConformance",
    "MergeConformance",
    "OptimizerConformance",
    "PacingConformance",
    "PrefetchConformance",
    "SubmodelConformance",
    "UplinkConformance",
]

SUITES: dict[str, type[Conformance]] = {
    "pacing": PacingConformance,
    "matching": MatchingConformance,
    "prefetch": PrefetchConformance,
    "submodel": SubmodelConformance,
    "downlink": DownlinkConformance,
    "uplink": UplinkConformance,
    "merge": MergeConformance,
    "optimizer": OptimizerConformance,
    "guard": GuardConformance,
}
"""Level to the suite that its policies must pass."""
