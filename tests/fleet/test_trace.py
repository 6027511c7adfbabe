"""Links that follow a trace: transfers end when the rates have carried them, parts are counted exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hocket as hk
from hocket.errors import InvalidInput
from hocket.experiment import document
from hocket.fleet import Trace
from hocket.fleet.trace import Links

rates = st.lists(st.floats(0, 50), min_size=1, max_size=12).filter(lambda r: sum(r) > 0.1)


def naive(trace: list[float], phase: float, begin: float, work: float, step: float) -> float:
    """When so much work is done, by going through the trace step by step; in ns."""
    shape = np.array(trace) / np.mean(trace)
    at = (phase * len(trace) + begin / step) % len(trace)
    start, left = at, work / step
    while True:
        i = int(at) % len(trace)
        room = (int(at) + 1 - at) * shape[i]
        if room >= left:
            return (at - start + (left / shape[i] if shape[i] > 0 else 0.0)) * step
        left -= room
        at = float(int(at) + 1)


@given(rates, st.floats(0, 0.999), st.integers(0, 10**11), st.floats(1e3, 3e10), st.sampled_from([1e9, 2.5e8]))
def test_a_transfer_ends_when_its_bytes_are_through(trace, phase, begin, work, step):
    links = Links(Trace((tuple(trace),))._sums, step, np.array([phase]))
    took = links.end(0, begin, work)
    assert took == pytest.approx(naive(trace, phase, begin, work, step), abs=2e4, rel=1e-9) or links.done(
        0, begin, begin + took
    ) == pytest.approx(work, rel=1e-6, abs=2e4)
    assert links.done(0, begin, begin + took) == pytest.approx(work, rel=1e-6, abs=2e4)
    half = links.done(0, begin, begin + took // 2)
    assert -1e-3 <= half <= work * (1 + 1e-6) + 2e4


def test_the_mean_rate_is_the_devices_own():
    links = Trace(((0.5, 4.0, 1.0, 3.0),), step=2.0).links(50, seed=3)
    for c in range(50):
        assert links.end(c, 0, 80e9) == 80 * 10**9, "whole laps take what they take at the mean rate"
    begun = {links.end(c, 0, 1e9) for c in range(50)}
    assert len(begun) > 10, "each begins at a moment of its own"


def fleet(**fields) -> hk.Fleet:
    return hk.Fleet(compute=np.full(20, 0.02), down=np.full(20, 1e4), up=np.full(20, 1e4), **fields)


TASK = hk.Task.sized(parameters=20_000, clients=20, local=hk.LocalSGD(lr=0.1, batch_size=10, steps=3))


def run(devices: hk.Fleet, **more) -> hk.Run:
    return hk.simulate(TASK, devices, hk.strategies.fedavg(6, 1.5), hk.Until(steps=20), log=True, **more)


def test_a_trace_of_one_rate_changes_nothing():
    even = Trace(((7.0, 7.0, 7.0),))
    plain, traced = run(fleet()), run(fleet(down_trace=even, up_trace=even))
    assert plain.log.table().equals(traced.log.table())
    assert plain.summary == traced.summary


def test_bytes_add_up_when_transfers_are_cut_off_under_a_trace():
    trace = Trace(((0.2, 3.0, 0.0, 1.0),))
    found = run(fleet(down_trace=trace, up_trace=trace))
    b = found.summary["bytes"]
    assert b["down"] == b["critical"] + b["prefetched"] + b["overcommitted"] + b["wasted"]
    assert b["overcommitted"] > 0
    assert found.summary == run(fleet(down_trace=trace, up_trace=trace)).summary
    assert found.summary["virtual_time_s"] != run(fleet()).summary["virtual_time_s"]


def test_an_experiment_file_names_an_archive_and_keeps_a_copy(tmp_path):
    np.savez(tmp_path / "links.npz", **{"a.down": np.array([1.0, 2.0]), "a.up": np.array([3, 1], np.float32)})
    text = """
        name = "t"
        [tasks.a]
        kind = "sized"
        parameters = 1000
        [fleet]
        kind = "equal"
        clients = 5
        compute = 0.1
        down = 1e4
        up = 1e4
        down_trace = { path = "links.npz", only = ".down", step = 2.0 }
        up_trace = { rates = [[1.0, 3.0]] }
        [strategy]
        use = "fedavg"
        cohort = 2
        [until]
        steps = 2
    """
    (tmp_path / "x.toml").write_text(text)
    read = document.load(tmp_path / "x.toml")
    assert read.fleet.down_trace == Trace(((1.0, 2.0),), 2.0)
    assert read.fleet.up_trace == Trace(((1.0, 3.0),))
    assert read.files["down_trace.npz"] == tmp_path / "links.npz"
    assert 'path = "down_trace.npz"' in read.toml()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Trace(()), "no rates"),
        (lambda: Trace(((),)), "trace 0: 0 rates"),
        (lambda: Trace(((1.0,), (0.0, 0.0))), "trace 1: 2 rates"),
        (lambda: Trace(((1.0,),), step=0.0), "step = 0.0"),
        (lambda: Trace.read("no/such.npz"), "no archive of traces"),
        (lambda: Trace.read(__file__), "damaged npz"),
        (lambda: fleet(egress=1e6, down_trace=Trace(((1.0,),))), "egress and down_trace"),
        (lambda: fleet(up_trace=3), "up_trace=3"),
    ],
)
def test_traces_that_make_no_sense_are_refused(make, words):
    with pytest.raises(InvalidInput, match=words):
        make()
