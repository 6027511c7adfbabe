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
    "check",
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


def check(suite: type) -> int:
    """Run all tests of a suite without pytest, in a notebook for example; how many they were.

    Raises:
        AssertionError: the first that fails; its message says what is wrong.

    >>> from hocket.matching import Uniform
    >>> class TestMine(MatchingConformance):
    ...     def policy(self):
    ...         return Uniform()
    >>> check(TestMine) > 4
    True
    """
    made = suite()
    names = [name for name in dir(suite) if name.startswith("test_")]
    for name in names:
        getattr(made, name)()
    return len(names)
