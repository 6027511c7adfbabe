"""PR-FL as a whole: in the simulator, through the journaled loopback, resumed, and in small trainings."""

import msgspec
import numpy as np
import pytest

import hocket as hk
from hocket import actions as do
from hocket.errors import Diverged
from hocket.experiment.strategy_table import build
from hocket.fleet import ten_links
from hocket.learning import MLP, NumpyLearner, SlicedLearner
from hocket.record.log import KINDS
from hocket.service.clock import ScriptedClock
from hocket.service.loopback import run_loopback
from hocket.setup import Setup
from hocket.simulation import checkpoint
from hocket.simulation.run import prepare

SHORT = {"window": 0.5, "least": 0.05, "interval": 4, "patience": 2, "every": 2}
UNTIL = hk.Until(updates=250)
HIDDEN = hk.strategies.prfl(**SHORT, up=hk.codec.QSGD(), down=hk.codec.QSGD())
METHODS = {
    "prfl": hk.strategies.prfl(**SHORT),
    "four bits": hk.strategies.prfl(**SHORT, up=hk.codec.QSGD()),
    "hidden state": HIDDEN,
    "hidden state, updates": hk.strategies.prfl(**SHORT, up=hk.codec.QSGD(), down=hk.codec.QSGD(), of="updates"),
    "no waiting": hk.strategies.prfl(**{**SHORT, "window": 0.0}, of="updates"),
    "synchronous": hk.strategies.prfl(**SHORT, cohort=10, rebalance=True),
    "heterofl": hk.strategies.heterofl(),
    "fjord": hk.strategies.fjord(),
    "sub_fedavg": hk.strategies.sub_fedavg(interval=3),
}


@pytest.fixture(scope="module")
def task() -> hk.Task:
    base = hk.reference_tasks.digits(clients=10, alpha=1.0)
    data = base.learner._data
    return hk.Task.of(
        NumpyLearner(MLP(64, (32,), 10), data), hk.LocalSGD(lr=0.2, batch_size=10, steps=5), name="digits"
    )


def links() -> hk.Fleet:
    return ten_links(scale=1e-3)


def run(task, method, until=UNTIL, **more):
    return hk.simulate(task, links(), method, until, evaluation=hk.Evaluation(every=5), log=True, **more)


@pytest.mark.parametrize("name", METHODS)
def test_it_learns_and_repeats_itself(task, name):
    one, other = run(task, METHODS[name]), run(task, METHODS[name], eager=True)
    assert one.summary == other.summary and one.log.table().equals(other.log.table())
    assert one.models["digits"].tobytes() == other.models["digits"].tobytes()
    assert one.curve.latest("accuracy") > 0.75


@pytest.mark.parametrize("name", METHODS)
def test_the_loopback_does_the_same(task, name, tmp_path):
    """Bytes are encoded, handed over and decoded on devices that know only what they were sent."""
    until = hk.Until(updates=120)
    there = run(task, METHODS[name], until)
    here = run_loopback(
        task, links(), METHODS[name], until, clock=ScriptedClock(links(), 0), evaluation=hk.Evaluation(every=5),
        journal=tmp_path / "journal",
    )  # fmt: skip
    assert here.models["digits"].tobytes() == there.models["digits"].tobytes()
    assert here.summary["bytes"] == there.summary["bytes"]


@pytest.mark.parametrize("memory", [0, 30_000, 1 << 28])
def test_a_killed_run_goes_on_to_the_same_bits(task, tmp_path, memory):
    """With the latest models in a file, partly so, or in memory."""

    def ready(folder, memory=memory):
        setup = Setup.of(task, METHODS["prfl"], hk.Until(updates=250), evaluation=hk.Evaluation(every=5))
        sim = prepare(setup, links(), folder=folder, log=True)
        for archive in sim.engine.book.archives():
            archive.spill(archive.file, memory)
        return sim

    whole = ready(tmp_path / "whole", 1 << 28)
    while not whole.engine.run(50):
        whole.engine.server.validate()
    for events in (90, 400, 700):
        half = ready(tmp_path / str(events))
        half.engine.run(events)
        checkpoint.save(tmp_path / str(events), half.engine, half.curve, half.name)
        half.engine.run(50)  # what is done after the checkpoint leaves alone what it counts on
        again = ready(tmp_path / str(events))
        assert checkpoint.load(tmp_path / str(events), again.engine, again.curve, again.name)
        again.engine.run()
        assert again.engine.book.model("digits").tobytes() == whole.engine.book.model("digits").tobytes()
        assert again.engine.server.snapshot() == whole.engine.server.snapshot()


def test_masks_are_those_that_were_sent(task):
    """Updates are zero outside the cover of their lease, also when coordinates were ranked anew meanwhile."""
    setup = Setup.of(task, METHODS["prfl"], hk.Until(updates=200))
    sim = prepare(setup, links())
    book, old, seen = sim.engine.book, [0], 0
    take = book.source.take

    def watched(leases):
        nonlocal seen
        results = list(take(leases))
        for lease, done in zip(leases, results, strict=True):
            covered = book.covered(lease)
            outside = np.ones(len(done.delta), bool)
            outside[covered] = False
            assert not done.delta[outside].any() and len(covered) == lease.cover.length
            assert not book.start(lease)[outside].any()
            old[0] += lease.cover.epoch != book.shelves["digits"].epoch
            seen += 1
        return results

    book.source.take = watched
    sim.engine.run()
    shelf = book.shelves["digits"]
    assert seen > 150 and old[0] > 5, "some were on their way while a new epoch began"
    assert set(shelf.rankings) <= {shelf.epoch, *shelf.covered}, "old rankings are forgotten"


def test_the_schedule_balances_raises_and_goes_back(task):
    asked: list[object] = []
    setup = Setup.of(task, METHODS["prfl"], hk.Until(updates=900), evaluation=hk.Evaluation(every=50))
    sim = prepare(setup, links())
    handle = sim.engine.server.handle

    def watched(event, now):
        out = handle(event, now)
        asked.extend(a for a in out if isinstance(a, do.Keep | do.Restore | do.Rank))
        return out

    sim.engine.server.handle = watched
    sim.engine.run()
    memory = sim.engine.server.state.memories["submodel.digits"]
    assert any(isinstance(a, do.Restore) for a in asked) and any(isinstance(a, do.Keep) for a in asked)
    assert not memory.first and memory.least > 0.05 and max(memory.densities) == 1.0
    assert memory.epoch == sim.engine.book.shelves["digits"].epoch
    assert all(a.cuts == tuple(sorted(a.cuts)) for a in asked if isinstance(a, do.Rank))


def test_every_client_takes_part_alike_without_recovery():
    """Sizes and times alone: no learning is needed for that."""
    fleet, until = ten_links(scale=1e-3, compute=1e-6), hk.Until(updates=3000)
    schema = hk.Schema((hk.Segment("w", (1000, 100)), hk.Segment("b", (100,))))
    sized = hk.Task("sized", schema, None, np.full(10, 100), hk.LocalSGD(lr=0.1, batch_size=10))
    part = hk.strategies.prfl(window=0.5, least=0.05, interval=10, recovery=False, importance="weight")
    done = hk.simulate(sized, fleet, part, until, log=True)
    rows = done.log.table()
    counts = np.bincount(rows["client"].to_numpy()[rows["kind"].to_numpy() == KINDS.index("arrived")])
    assert done.summary["updates"] >= 3000 and counts.min() >= 0.9 * counts.max(), counts


def test_a_structured_submodel_takes_its_share_of_the_time(task):
    data = task.learner._data
    learner = SlicedLearner(lambda r: NumpyLearner(MLP(64, (round(32 * r),), 10), data), (0.5, 0.25))
    sliced = hk.Task.of(learner, task.local, name="digits")
    one, other = run(sliced, METHODS["heterofl"]), run(task, METHODS["heterofl"])
    assert one.summary["bytes"] == other.summary["bytes"]
    np.testing.assert_allclose(one.models["digits"], other.models["digits"], atol=1e-3)
    assert one.curve.latest("accuracy") > 0.75


def test_parts_need_a_downlink_that_sends_parts():
    method = hk.compose(hk.strategies.fedbuff(), hk.Strategy("p", task=hk.TaskPart(submodel=hk.submodel.Pruning())))
    with pytest.raises(hk.InvalidInput, match=r"submodel pruning gives clients parts .* downlink full .* use downlink"):
        hk.simulate(hk.reference_tasks.gaussian(10), links(), method, hk.Until(steps=1))


def test_without_recovery_nothing_differs_until_it_sets_in(task):
    short = hk.Until(updates=60)
    one = run(task, METHODS["prfl"], short)
    other = run(task, hk.strategies.prfl(**SHORT, recovery=False), short)
    assert one.models["digits"].tobytes() == other.models["digits"].tobytes()
    assert one.summary["bytes"] == other.summary["bytes"]


@pytest.mark.parametrize("of", ["models", "updates"])
def test_at_density_one_it_is_what_whole_models_give(of):
    """Bands, lists and masks change nothing where everybody trains everything."""
    parts = hk.strategies.prfl(window=30.0, start=(1.0,), least=1.0, recovery=False, of=of)
    t = parts.task
    whole = hk.Strategy(
        "whole", parts.pacing, parts.matching, task=hk.TaskPart(merge=t.merge, optimizer=t.optimizer, guard=t.guard)
    )
    small = hk.reference_tasks.gaussian(12, classes=3, dim=6, samples=24, held_out=50)
    fast = hk.Fleet.synthetic(12, seed=1, down=float("inf"), up=float("inf"))
    one, other = (hk.simulate(small, fast, method, hk.Until(updates=100), seed=3) for method in (parts, whole))
    assert one.models["gaussian"].tobytes() == other.models["gaussian"].tobytes()
    assert one.summary["virtual_time_s"] == other.summary["virtual_time_s"]


def test_a_hidden_state_per_band_sends_a_fraction(task):
    """Four bits down in place of 32, but for the values at the beginning of an epoch."""
    until, slow = hk.Until(updates=400), {**SHORT, "interval": 20, "recovery": False}
    plain = run(task, hk.strategies.prfl(**slow, up=hk.codec.QSGD()), until)
    for method in (HIDDEN, METHODS["hidden state, updates"]):
        part = msgspec.structs.replace(
            method, task=msgspec.structs.replace(method.task, submodel=hk.strategies.prfl(**slow).task.submodel)
        )
        ours = run(task, part, until)
        for kind in ("down", "published"):
            assert ours.summary["bytes"][kind] < 0.55 * plain.summary["bytes"][kind], kind
        assert ours.curve.latest("accuracy") > 0.75


def test_experiment_files_know_it():
    made = build({"use": "prfl", "of": "updates", "window": 0, "down": {"kind": "qsgd"}, "interval": 5})
    assert made == hk.strategies.prfl(of="updates", window=0.0, down=hk.codec.QSGD(), interval=5)
    assert build({"use": "prfl", "merge": {"kind": "masked_deltas", "over": "fleet"}}).task.merge.over == "fleet"


class Poisoned:
    """Two of ten clients send ten times the opposite of what they learned."""

    def __init__(self, learner):
        self._learner = learner
        self.schema, self.samples = learner.schema, learner.samples
        self.initial, self.evaluate = learner.initial, learner.evaluate

    def train(self, jobs):
        return [
            msgspec.structs.replace(done, delta=-10 * done.delta) if job.client in (1, 2) else done
            for job, done in zip(jobs, self._learner.train(jobs), strict=True)
        ]


def test_a_trimmed_and_clipped_mean_withstands_poisoned_clients(task):
    bad = hk.Task.of(Poisoned(task.learner), task.local, name="digits")
    base = hk.strategies.prfl(**SHORT, cohort=10, recovery=False)

    def accuracy(merge):
        method = msgspec.structs.replace(base, task=msgspec.structs.replace(base.task, merge=merge))
        try:
            return run(bad, method, hk.Until(updates=400)).curve.latest("accuracy")
        except Diverged:
            return 0.0

    robust, mean = accuracy(hk.merge.MaskedDeltas(trim=0.25, clip=2.0)), accuracy(hk.merge.MaskedDeltas())
    assert robust > 0.7 > mean + 0.3, (robust, mean)
