"""QAFeL: what its paper and its acceptance list say, on a stand-in of the shape of the mushrooms data.

The runs of hundreds of steps are here; the longer ones, over seeds, are ``hocket reproduce qafel_...``.
"""

import numpy as np
import pytest

import hocket as hk
from hocket import wire
from hocket.codec import QSGD, Float32, TopK
from hocket.downlink import HiddenState
from hocket.downlink.frame import FRAME
from hocket.downlink.hidden_state import Hidden
from hocket.errors import Diverged, InvalidInput
from hocket.reproduce import qafel
from hocket.schema import Schema, Segment
from hocket.service.clock import ScriptedClock
from hocket.service.loopback import run_loopback


def test_four_bits_take_as_many_steps_as_full_precision():
    for method in ("4 bits", "top 10%"):
        assert qafel.steps_ratio(method, quick=True) == pytest.approx(1, abs=0.05)


def test_an_upload_is_7_4_times_smaller_and_so_is_a_broadcast():
    assert qafel.bodies("4 bits", "up") == 61 == qafel.bodies("4 bits", "down")
    assert qafel.bodies("fedbuff", "up") == 452 == qafel.bodies("fedbuff", "down")
    assert FRAME.size <= 64 and wire.FRAME.size <= 64


def test_without_a_memory_it_stays_behind_and_a_biased_upload_stalls():
    ours, direct, biased = (
        qafel.run(m, 400).curve.points[-1].metrics["gap"] for m in ("4 bits", "direct", "biased up")
    )
    assert direct > 2 * ours and biased > 2 * ours, "and the distance grows: 300 and 13 times after 3,000 steps"


def test_the_edge_of_stability():
    """Error 1.0 at s = 4 on 113 values: refused, watched and stopped, and divergent if nobody watches."""
    with pytest.raises(InvalidInput, match="adds up unless that is below 1"):
        qafel.simulated(hk.strategies.qafel(down=qafel.one_norm(4)), 1, 0)
    with pytest.raises(Diverged, match="of each difference of the hidden state out"):
        qafel.run("s = 4", 100)

    class Unwatched(HiddenState, frozen=True, tag="test_unwatched"):
        def _watch(self, state, task, difference, message):
            pass

    far = hk.compose(
        hk.strategies.fedbuff(decay=hk.guard.Constant(), **qafel.SETTING),
        hk.Strategy("far", task=hk.TaskPart(downlink=Unwatched(QSGD(levels=3, bucket=None), monitor=True))),
    )
    try:
        end = qafel.simulated(far, 400, 0)
    except Diverged:
        return
    assert end.curve.points[-1].metrics["gap"] > 1e3


def test_a_biased_upload_is_refused_unless_corrected():
    with pytest.raises(InvalidInput, match="top_k is biased and nothing corrects"):
        hk.strategies.qafel(up=TopK(0.1))
    for extra in ({"biased": True}, {"error_feedback": True}):
        assert hk.strategies.qafel(up=TopK(0.1), **extra).name == "qafel"


def test_error_feedback_removes_the_stall():
    method = hk.strategies.qafel(up=TopK(0.1), down=Float32(), error_feedback=True, **qafel.SETTING)
    done = qafel.simulated(method, 400, 0)
    stalled = qafel.run("biased up", 400).curve.points[-1].metrics["gap"]
    assert done.curve.points[-1].metrics["gap"] < 0.5 * stalled


def test_staleness_and_broadcast_bytes():
    done = qafel.run("4 bits", 400)
    assert done.summary["staleness"]["mean"] == pytest.approx(10.0, rel=0.04)
    assert done.summary["bytes"]["broadcast"] == 400 * (56 + 61)
    assert done.summary["bytes"]["down"] > done.summary["bytes"]["broadcast"], "per receiver, and never mixed"


@pytest.mark.parametrize("codec", [QSGD(), QSGD(bits=8, bucket=None), TopK(0.1), TopK(0.1, QSGD())], ids=str)
def test_replicas_decode_what_is_published_themselves(codec):
    """25 devices with copies of their own; each start is checked against its digest, all as in the simulator."""
    task = hk.reference_tasks.mushrooms(clients=25, samples=500)
    fleet = hk.Fleet.synthetic(25, seed=2, compute_law=hk.fleet.HalfNormal())
    method, until = hk.strategies.qafel(5, 12, up=QSGD(), down=codec), hk.Until(updates=300)
    real = run_loopback(task, fleet, method, until, seed=1, clock=ScriptedClock(fleet, 1))
    simulated = hk.simulate(task, fleet, method, until, seed=1, log=True)
    assert real.models["mushrooms"].tobytes() == simulated.models["mushrooms"].tobytes()
    assert real.log.table().equals(simulated.log.table())


def test_a_late_joiner_pays_for_what_it_missed_or_for_a_snapshot():
    """Whoever missed j messages pays min(j B_s, B_full) and has the same bits as the rest."""
    schema, policy = Schema((Segment("w", (5000,)),)), HiddenState(QSGD())
    state: Hidden = policy.init(schema)
    rng, x, nodes, values = np.random.default_rng(0), np.zeros(5000, np.float32), [], []
    for v in range(16):
        _, value, node = policy.commit(state, "a", None if v == 0 else x, x, v, v)
        nodes.append(node), values.append(value)
        x = x + rng.standard_normal(5000).astype(np.float32)
    message = FRAME.size + QSGD().size(schema)[0]
    for missed in range(1, 15):
        edges = policy.path(state, nodes[15 - missed], nodes[15], schema)
        assert sum(e.size for e in edges) == min(missed * message, FRAME.size + 20_000)
        held = values[15 - missed]
        for edge in edges:
            held = policy.apply(held, edge, policy.open(state, edge, values[15], schema), schema)
        assert held.tobytes() == values[15].tobytes()
    assert [len(policy.path(state, nodes[15 - j], nodes[15], schema)) for j in (7, 8)] == [7, 1]
