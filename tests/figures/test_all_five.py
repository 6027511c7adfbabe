"""Five systems in one run: budgets over tasks, routed jobs, prefetched downloads, a hidden state, pruned sub-models."""

from pathlib import Path

import numpy as np
import pytest

import hocket as hk
from hocket.experiment import load
from hocket.lease import WHOLE
from hocket.record.log import KINDS
from hocket.simulation.run import prepare

FILE = Path(__file__).parents[2] / "examples" / "all_five.toml"


@pytest.fixture(scope="module")
def experiment():
    return load(FILE, ["until.updates=600"])


def test_each_of_the_five_is_at_work(experiment) -> None:
    engine = prepare(experiment.setup(), experiment.fleet, log=True).engine
    seen, lengths = set(), set()
    while not engine.run(20):
        leases = engine.server.state.leases.values()
        seen |= {(x.client, round(x.probability, 9), round(x.weight, 9)) for x in leases}
        lengths |= {x.cover.length for x in leases if x.task == "pruned"}
    state, holds = engine.server.state, engine.world.holds
    assert all(state.tasks[t].accepted > 100 for t in ("full", "quantized", "pruned")), "one fleet, three models"
    assert {n.kind for n in holds["quantized"] if n} == {"hidden"}
    assert {n.kind for n in holds["full"] if n} == {"model"}
    assert len(lengths - {WHOLE}) >= 3, "parts of several sizes"
    assert len({p for _, p, _ in seen}) > 1 and all(p * w * 12 == pytest.approx(1, rel=1e-6) for _, p, w in seen)
    table = engine.log.table().to_pydict()
    ahead = [k for k, lease in zip(table["kind"], table["lease"], strict=True) if KINDS[k] == "fetched" and lease < 0]
    assert len(ahead) > 20, "fetched before they were routed"


def test_one_at_a_time_and_together_are_the_same_run(experiment) -> None:
    lazy, eager = (
        hk.simulate(experiment.tasks, experiment.fleet, experiment.strategy, experiment.until, seed=0, eager=way)
        for way in (False, True)
    )
    assert lazy.summary == eager.summary and lazy.summary["bytes"]["prefetched"] > 0
    for name in lazy.models:
        assert np.array_equal(lazy.models[name], eager.models[name])
