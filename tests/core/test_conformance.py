"""Every registered policy and codec, in every setting that can be tried, passes the suite of its level."""

from typing import ClassVar

import numpy as np
import pytest
from msgspec import Struct

from hocket.codec import Float32
from hocket.errors import InvalidInput
from hocket.matching import Uniform
from hocket.merge import MeanByCount
from hocket.optimizer import SGD
from hocket.pacing import InFlight
from hocket.policies import Due
from hocket.strategy import LEVELS, registry
from hocket.testing import (
    SUITES,
    CodecConformance,
    MatchingConformance,
    MergeConformance,
    OptimizerConformance,
    PacingConformance,
)
from hocket.testing.moments import empty_view, moments
from tests.core import composition


def suite(base: type, method: str, value: object) -> type:
    return type("Test", (base,), {method: lambda self: value})


def cases():
    for level in LEVELS:
        for value in composition.axes()[level]:
            yield f"{level}:{composition.name(value)}", suite(SUITES[level], "policy", value)
    for tag in sorted(registry["codec"]):
        for value in composition.variants(registry["codec"][tag]):
            yield f"codec:{composition.name(value)}", suite(CodecConformance, "codec", value)


CASES = {name: cls for name, cls in cases()}
TESTS = [(name, test) for name, cls in CASES.items() for test in sorted(dir(cls)) if test.startswith("test_")]


@pytest.mark.parametrize(("name", "test"), TESTS)
def test_shipped(name, test):
    getattr(CASES[name](), test)()


def test_there_is_a_suite_for_every_level():
    assert set(SUITES) == set(LEVELS)
    assert {name.split(":")[0] for name in CASES} == {*LEVELS, "codec"}


def test_the_moments_are_consistent_and_varied():
    seen = list(moments(0))
    assert [now for _, now in seen] == sorted(now for _, now in seen)
    for view, _ in seen:
        for c in range(view.clients):
            assert (c in view.idle) == (c in view.online and not view.busy[c])
            assert view.busy[c] == sum(x.client == c for x in view.leases.values())
        for t in view.tasks.values():
            assert t.open == sum(x.task == t.name for x in view.leases.values())
    states = {(t.status, t.stepping, bool(t.buffer)) for view, _ in seen for t in view.tasks.values()}
    assert len(states) >= 8
    assert any(not len(view.online) for view, _ in seen) and any(len(view.idle) > 4 for view, _ in seen)


# --- a suite that never fails proves nothing: policies with one fault each -------------------------------


class Forgetful(Struct, frozen=True, tag="forgetful", tag_field="kind"):
    """An optimizer that writes into the model it was given."""

    def init(self, schema):
        return None

    def apply(self, state, x, step):
        x += step.astype(np.float32)
        return x


class Shy(Struct, frozen=True, tag="shy", tag_field="kind"):
    """A merge that keeps its sum outside its memory."""

    total: list = []

    def init(self, schema, clients):
        return None

    def add(self, state, contribution):
        self.total.append(contribution.delta)
        return {}

    def take(self, state, x, weigh):
        return np.sum(self.total, axis=0, dtype=np.float64)


class Eager(Struct, frozen=True, tag="eager", tag_field="kind"):
    """A pacing that steps with nothing in the buffer."""

    timeout: float | None = None
    refill_first: bool = False
    observes = ()

    def init(self, view):
        return None

    def due(self, state, view, now):
        return next((Due(t.name) for t in view.tasks.values() if not t.stepping), None)

    def room(self, state, view, now):
        return {t: -1 for t in view.tasks}


class Loose(Struct, tag="loose", tag_field="kind"):
    """Not frozen."""

    def init(self, schema):
        return None

    def apply(self, state, x, step):
        return (x + step).astype(np.float32)


class Blind(Struct, frozen=True, tag="blind", tag_field="kind"):
    """A matching that picks clients whether or not they are there."""

    observes = ()

    def init(self, view):
        return None

    def match(self, state, slots, view, key):
        return Uniform("queue").match(None, slots, empty_view_with_everybody(view), key)

    def ahead(self, state, slots, view, key):
        return []


def empty_view_with_everybody(view):
    out = empty_view(view.clients)
    for c in range(view.clients):
        out.online.add(c)
    return out


class Padded(Struct, frozen=True, tag="padded", tag_field="kind"):
    """A codec that promises too little and checks nothing."""

    lossless: bool = True
    unbiased: bool = True
    merges: bool = True
    id: ClassVar[int] = 200

    def size(self, schema):
        return schema.nbytes, True

    def distortion(self, schema):
        return 0.0

    def encode(self, x, schema, key):
        return x.tobytes() + b"\0"

    def decode(self, data, schema):
        return np.frombuffer(data, np.float32, schema.size) * np.float32(1.0000001)


class Skewed(Struct, frozen=True, tag="skewed", tag_field="kind"):
    """A codec that claims more than it does."""

    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = True
    merges: ClassVar[bool] = True
    id: ClassVar[int] = 201

    def size(self, schema):
        return schema.nbytes, True

    def distortion(self, schema):
        return 1e-6

    def encode(self, x, schema, key):
        return np.round(x, 2).tobytes()

    def decode(self, body, schema):
        return np.frombuffer(body, np.float32)


@pytest.mark.parametrize(
    ("base", "value", "test", "error"),
    [
        (OptimizerConformance, Forgetful(), "test_apply", ValueError),
        (OptimizerConformance, Loose(), "test_frozen", AssertionError),
        (MergeConformance, Shy(), "test_resets", None),
        (MergeConformance, Shy(), "test_resumes", AssertionError),
        (PacingConformance, Eager(), "test_room", AssertionError),
        (PacingConformance, Eager(), "test_due", AssertionError),
        (MatchingConformance, Blind(), "test_picks", AssertionError),
        (MatchingConformance, Blind(), "test_nobody", AssertionError),
        (CodecConformance, Padded(), "test_size_promise", AssertionError),
        (CodecConformance, Padded(), "test_round_trip", InvalidInput),
        (CodecConformance, Padded(), "test_malformed_bodies", ValueError),
        (CodecConformance, Skewed(), "test_unbiased", AssertionError),
        (CodecConformance, Skewed(), "test_error_bound", AssertionError),
        (CodecConformance, Skewed(), "test_merges", AssertionError),
    ],
)
def test_a_fault_is_found(base, value, test, error):
    method = "codec" if base is CodecConformance else "policy"
    run = getattr(suite(base, method, value)(), test)
    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()


def test_a_suite_without_a_subject_says_so():
    for base in {*SUITES.values(), CodecConformance}:
        with pytest.raises(NotImplementedError):
            base().test_malformed() if base is CodecConformance else base().test_frozen()


def test_shipped_policies_stand_on_their_own():
    """The suites can be inherited as they are documented."""

    class TestMine(MergeConformance):
        def policy(self):
            return MeanByCount("free")

    TestMine().test_resumes()
    with pytest.raises(InvalidInput, match="in_flight = 0: must be 1 or more"):
        InFlight(0)
    assert SGD() == SGD(1.0) and Float32().lossless
