"""Compositions: what is set once, what is filled, what is refused and with which sentence."""

import msgspec
import pytest

import hocket as hk
from hocket.core import local_work, named, objective_weights, resolve
from hocket.errors import InvalidInput
from hocket.guard import Constant, Polynomial, Windowed
from hocket.learning.local import LocalSGD
from hocket.merge import MeanByCount, MeanByFleet, MeanByWeight, Mixing
from hocket.optimizer import SGD, Adam
from hocket.pacing import InFlight, Rounds
from hocket.strategies import asyncsgd, fedasync, fedavg, fedbuff, fedfix, fedprox
from hocket.strategy import Local, Strategy, TaskPart, check, compose, describe, fill, policies_of, tasks


def test_compose_overlays_and_fills_what_nobody_set():
    adaptive = Strategy("adaptive", task=TaskPart(guard=hk.guard.NormBound(2.0)))
    pace = Strategy("pace", InFlight(7, 3), task=TaskPart(merge=MeanByWeight()))
    both = compose(pace, adaptive)
    assert (both.name, both.pacing, both.matching) == ("pace+adaptive", InFlight(7, 3), None)
    full = fill(both, ("a",))
    part = full.tasks["a"]
    assert (part.guard, part.merge, part.optimizer) == (hk.guard.NormBound(2.0), MeanByWeight(), SGD())
    assert len(policies_of(full, "a")) == 9


@pytest.mark.parametrize(
    ("one", "other", "part"),
    [
        (fedavg(), fedbuff(), "pacing"),
        (Strategy("x", task=TaskPart(merge=Mixing())), Strategy("y", task=TaskPart(merge=Mixing())), "merge"),
        (Strategy("x", attach="start"), Strategy("y", attach="start"), "attach"),
        (
            Strategy("x", task=TaskPart(local=Local(lr=1.0))),
            Strategy("y", task=TaskPart(local=Local(steps=1))),
            "local",
        ),
        (
            Strategy("x", tasks={"a": TaskPart(optimizer=SGD())}),
            Strategy("y", tasks={"a": TaskPart(optimizer=Adam())}),
            "a.optimizer",
        ),
    ],
)
def test_a_part_set_twice_is_refused_with_both_names(one, other, part):
    with pytest.raises(InvalidInput, match=rf"^compose: {one.name} and {other.name} both set {part};"):
        compose(one, other)


def test_the_second_owner_is_named_when_three_compose():
    parts = [Strategy("x", InFlight()), Strategy("y", task=TaskPart(merge=Mixing())), Strategy("z", Rounds())]
    with pytest.raises(InvalidInput, match="x and z both set pacing"):
        compose(*parts)


def test_a_named_task_part_wins_over_the_common_one():
    s = Strategy("x", task=TaskPart(optimizer=SGD(0.5)), tasks={"a": TaskPart(optimizer=Adam())})
    full = fill(compose(s), ("a", "b"))
    assert (full.tasks["a"].optimizer, full.tasks["b"].optimizer) == (Adam(), SGD(0.5))


def test_each_task_its_own_part_on_one_fleet():
    pace = InFlight(4, 2)
    a = Strategy("qa", pace, task=TaskPart(merge=Mixing()))
    b = Strategy("qb", task=TaskPart(merge=MeanByWeight()))
    both = tasks(digits=a, mnist=b)
    assert (both.name, both.pacing) == ("digits:qa mnist:qb", pace)
    full = fill(both, ("digits", "mnist"))
    assert (full.tasks["digits"].merge, full.tasks["mnist"].merge) == (Mixing(), MeanByWeight())
    assert tasks(digits=fedbuff(), mnist=fedbuff()).pacing == InFlight(20, 10)


def test_different_fleet_policies_for_two_tasks_are_refused():
    with pytest.raises(
        InvalidInput, match="tasks: digits and mnist bring different fleet policies for pacing; there is"
    ):
        tasks(digits=fedavg(), mnist=fedbuff())
    with pytest.raises(InvalidInput, match=r"tasks: again = digits:fedavg is itself split by task"):
        tasks(again=tasks(digits=fedavg()))


def test_a_part_for_a_task_that_does_not_exist():
    with pytest.raises(InvalidInput, match="strategy x: no task 'c'; this run has a, b"):
        fill(Strategy("x", tasks={"c": TaskPart()}), ("a", "b"))


def test_a_policy_objects_with_its_own_sentence():
    with pytest.raises(InvalidInput, match=r"^strategy odd: merge mean_by_fleet divides by all .* pacing rounds"):
        fill(Strategy("odd", Rounds(), task=TaskPart(merge=MeanByFleet())), ("a",))
    with pytest.raises(InvalidInput, match="strategy odd: merge mean_by_fleet"):
        fill(Strategy("odd", Rounds(), tasks={"b": TaskPart(merge=MeanByFleet())}), ("a", "b"))
    check(fill(Strategy("fine", InFlight(), task=TaskPart(merge=MeanByFleet())), ("a",)))


class Alone(msgspec.Struct, frozen=True, tag="alone"):
    """A fleet policy that objects to company."""

    timeout: float | None = None
    refill_first: bool = False

    def objection(self, strategy, task):
        assert task is None
        return "pacing alone serves one task; give each its own run" if len(strategy.tasks) > 1 else None


def test_a_fleet_policy_may_object_too():
    with pytest.raises(InvalidInput, match="pacing alone serves one task"):
        fill(Strategy("x", Alone()), ("a", "b"))
    assert fill(Strategy("x", Alone()), ("a",)).pacing == Alone()


# --- published methods -----------------------------------------------------------------------------------


def test_the_methods_are_the_compositions_they_say():
    assert fedavg(20, 1.3, lr=0.5).pacing == Rounds(20, 1.3) and fedavg(lr=0.5).task.optimizer == SGD(0.5)
    assert fedavg().task.merge == MeanByWeight()
    assert fedprox(0.3).task.local == Local(proximal=0.3) and fedprox().pacing == fedavg().pacing
    assert fedasync(5).pacing == InFlight(5, 1) and fedasync(mixing=0.2).task.merge == Mixing(0.2)
    assert fedasync(proximal=0.1).task.local == Local(proximal=0.1) and fedasync().task.local is None
    assert fedasync(decay=Constant(), staleness_limit=4).task.guard == hk.guard.Staleness(Constant(), 4)
    assert fedbuff().task.guard.decay == Polynomial() and fedbuff().task.merge == MeanByCount()
    assert fedbuff(normalise="weight").task.merge == MeanByWeight()
    assert fedbuff(refill_first=True, timeout=3.0).pacing == InFlight(20, 10, True, 3.0)
    assert asyncsgd(8).pacing == InFlight(8, 1) and asyncsgd().task.local == Local(steps=1)
    assert asyncsgd(steps=None).task.local is None and asyncsgd().matching.busy == "queue"
    assert fedfix(5.0).task.guard.decay == Windowed() and fedfix(unbiased=False).task.guard.decay == Constant()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: fedbuff(normalise="mean"), "fedbuff: normalise = 'mean'; must be 'count' or 'weight'"),
        (lambda: fedprox(-0.1), r"fedprox: proximal = -0\.1; must be 0 or more"),
        (lambda: fedavg(cohort=0), "cohort = 0"),
        (lambda: Local(steps=1, epochs=2), "local: steps = 1 and epochs = 2; set only one of them"),
    ],
)
def test_settings_out_of_range(build, message):
    with pytest.raises(InvalidInput, match=message):
        build()


def test_a_strategy_describes_itself_in_plain_values():
    plain = describe(fill(fedbuff(buffer=3), ("a",)))
    assert plain["pacing"] == {
        "kind": "in_flight",
        "in_flight": 20,
        "buffer": 3,
        "refill_first": False,
        "timeout": None,
    }
    assert plain["tasks"]["a"]["guard"]["decay"]["kind"] == "polynomial"
    assert msgspec.json.decode(msgspec.json.encode(plain)) == plain


# --- with tasks ------------------------------------------------------------------------------------------


def sized(name="a", clients=8, **fields):
    return hk.Task.sized(parameters=5, clients=clients, name=name, **fields)


def test_more_clients_at_once_than_there_are_is_refused_unless_they_may_queue():
    with pytest.raises(
        InvalidInput, match=r"strategy fedavg: .* wants 13 clients at work at once; the fleet has 8\. Lower"
    ):
        resolve(named(sized()), fedavg(10, 1.3))
    with pytest.raises(InvalidInput, match="wants 10 clients"):
        resolve(named([sized(), sized("b")]), fedbuff(2, 5))
    assert resolve(named(sized()), asyncsgd(100))[0].name == "asyncsgd"


def test_tasks_have_names_and_one_fleet():
    assert list(named([sized(), sized("b")])) == ["a", "b"]
    for bad, message in (
        ([], "tasks: none given"),
        ([sized(), sized()], "tasks: names a, a are not all different"),
        ([sized(), sized("b", 9)], r"numbers of clients differ .*'a': 8, 'b': 9"),
    ):
        with pytest.raises(InvalidInput, match=message):
            named(bad)


def test_a_strategy_changes_the_local_work_it_names():
    base = LocalSGD(lr=0.1, batch_size=10, epochs=3)
    assert local_work(base, Local()) is base
    changed = local_work(base, Local(proximal=0.2, steps=4, lr=0.5))
    assert (changed.proximal, changed.steps, changed.epochs, changed.lr) == (0.2, 4, None, 0.5)
    assert local_work(changed, Local(epochs=2)) == LocalSGD(lr=0.5, batch_size=10, epochs=2, proximal=0.2)
    _, resolved = resolve(named(sized()), fedprox(0.7, cohort=2))
    assert resolved["a"].local.proximal == 0.7


def test_objective_weights_have_mean_one():
    assert objective_weights(sized()) is None
    weights = objective_weights(sized(clients=4, samples=[1, 2, 3, 10], objective="samples"))
    assert weights.tolist() == [0.25, 0.5, 0.75, 2.5]
