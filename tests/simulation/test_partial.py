"""Downloads that end when their device leaves go on when it is back."""

import numpy as np
import pytest

import hocket as hk
from hocket.codec import LFL, TopK
from hocket.fleet import Intervals, Renewal
from hocket.record.log import KINDS
from hocket.setup import Setup
from hocket.simulation.run import prepare
from hocket.simulation.world import World
from hocket.snapshot import pack, unpack

TASK = hk.Task.sized(parameters=25_000, clients=3, local=hk.LocalSGD(lr=0.1, batch_size=10, steps=1))


def fleet(on: float, off: float) -> hk.Fleet:
    """Three devices that need 50 s for the model."""
    there = Intervals(active=((0.0,),), inactive=((on,),), period=(on + off,))
    return hk.Fleet(compute=np.full(3, 0.01), down=np.full(3, 2e3), up=np.full(3, 1e6), availability=there)


def test_a_model_that_takes_longer_than_anybody_stays_arrives_all_the_same():
    run = hk.simulate(TASK, fleet(30, 10), hk.strategies.fedasync(2), hk.Until(updates=6), log=True)
    fetched = [r for r in run.log.table().to_pylist() if KINDS[r["kind"]] == "fetched"]
    assert fetched and all(r["value"] < 70_000 for r in fetched), "none came through in one go"
    b = run.summary["bytes"]
    assert b["down"] == b["critical"] + b["prefetched"] + b["overcommitted"] + b["wasted"]
    assert b["prefetched"] > 0, "what came through before counts as what became of it"


def test_what_is_left_is_what_was_not_through():
    """A whole download takes as many bytes as one that is cut in two."""
    whole = hk.simulate(TASK, fleet(1e6, 1), hk.strategies.fedasync(1), hk.Until(updates=1))
    cut = hk.simulate(TASK, fleet(30, 10), hk.strategies.fedasync(1), hk.Until(updates=1))
    assert cut.summary["bytes"]["down"] >= whole.summary["bytes"]["down"]
    assert cut.summary["virtual_time_s"] >= whole.summary["virtual_time_s"] + 10


@pytest.mark.parametrize("codec", [TopK(0.2), LFL(bits=4)])
def test_bytes_add_up_and_runs_resume_with_prefetch_and_churn(codec):
    task = hk.Task.sized(parameters=25_000, clients=40, local=hk.LocalSGD(lr=0.1, batch_size=10, steps=5))
    rates = np.geomspace(2e3, 2e5, 40)
    devices = hk.Fleet(compute=np.full(40, 0.05), down=rates, up=rates, availability=Renewal(120.0, 60.0))
    setup = Setup.of(task, hk.strategies.fedfetch(5, 1.4, 3, codec, deadline=300.0), hk.Until(steps=40), seed=1)
    engine, other = (prepare(setup, devices).engine for _ in range(2))
    for e in (engine, other):
        e.run(2000)
    assert engine.world.parts
    twin = unpack(pack(engine.freeze()), World)
    assert pack(twin) == pack(engine.world)
    while not engine.run(200):
        engine.server.validate()
    while not other.run(777):
        pass
    b = engine.totals()
    assert b == other.totals()
    assert b["down"] == b["critical"] + b["prefetched"] + b["overcommitted"] + b["wasted"] and min(b.values()) >= 0
