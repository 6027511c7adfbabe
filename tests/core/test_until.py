"""Stop conditions and the evaluation rule."""

import pytest

from hocket import actions as do
from hocket import events as on
from hocket.errors import InvalidInput
from hocket.learning.local import LocalSGD
from hocket.lease import Node
from hocket.server import Server
from hocket.strategies import fedasync
from hocket.strategy import fill
from hocket.until import SECOND, Evaluation, Until


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Until(),
            "until: no stop condition; give accuracy, loss, at_least, at_most, time, updates, steps or bytes",
        ),
        (lambda: Until(confirm=3), "no stop condition"),
        (lambda: Until(accuracy=1.01), r"until\.accuracy = 1\.01: must be above 0 and at most 1"),
        (lambda: Until(accuracy=0.0), r"until\.accuracy = 0\.0"),
        (lambda: Until(accuracy=float("nan")), r"until\.accuracy = nan"),
        (lambda: Until(time=0), r"until\.time = 0: must be above 0"),
        (lambda: Until(updates=-1), r"until\.updates = -1"),
        (lambda: Until(steps=0), r"until\.steps = 0"),
        (lambda: Until(bytes=0), r"until\.bytes = 0"),
        (lambda: Until(time=float("nan")), r"until\.time = nan"),
        (lambda: Until(accuracy=0.5, confirm=0), r"until\.confirm = 0: must be 1 or more"),
        (lambda: Evaluation(every=0), r"evaluation\.every = 0: must be 1 or more versions"),
    ],
)
def test_settings_out_of_range(build, message):
    with pytest.raises(InvalidInput, match=message):
        build()


def test_all_targets_must_hold():
    until = Until(accuracy=0.9, loss=0.5, at_least={"f1": 0.8}, at_most={"gap": 0.1})
    good = {"accuracy": 0.9, "loss": 0.5, "f1": 0.8, "gap": 0.1}
    assert until.targeted and until.reached(good)
    for name, worse in (("accuracy", 0.89), ("loss", 0.51), ("f1", 0.79), ("gap", 0.11)):
        assert not until.reached(good | {name: worse})
        assert not until.reached(good | {name: float("nan")})
    with pytest.raises(InvalidInput, match="until: no metric 'gap'; this task measures accuracy, f1, loss"):
        until.reached({k: v for k, v in good.items() if k != "gap"})


def test_limits_are_no_targets():
    until = Until(time=3.0, updates=5, steps=7, bytes=9)
    assert not until.targeted and until.limits == {"time": 3.0, "updates": 5, "steps": 7, "bytes": 9}


def test_an_accuracy_above_one_is_refused_however_it_is_written():
    with pytest.raises(InvalidInput, match="accuracy"):
        Until(at_least={"accuracy": 1.5})


# --- what a server makes of them -------------------------------------------------------------------------


class World:
    """A server of one task under FedAsync, whose every update steps at once."""

    def __init__(self, until, evaluation=None, names=("a",)):
        local = dict.fromkeys(names, LocalSGD(lr=0.1, batch_size=10))
        self.server = Server(fill(fedasync(3), names), 5, local, until=until, evaluation=evaluation)
        self.first = self.server.handle(on.Joined(tuple(range(5))), 0)

    def update(self, now=1, task="a", size=100):
        lease = next(x for x in self.server.view.leases.values() if x.task == task)
        out = self.server.handle(on.Arrived(lease.id, lease.client, size, 10), now)
        if self.server.view.tasks[task].stepping:
            version = self.server.view.tasks[task].version + 1
            out += self.server.handle(on.Stepped(task, Node(task, version), 1), now)
        return out

    def measure(self, accuracy, version, task="a", split="test", subject="published"):
        return self.server.handle(on.Evaluated(task, version, subject, split, {"accuracy": accuracy}), 5)


def evaluations(actions):
    return [(a.task, a.subject, a.split) for a in actions if isinstance(a, do.Evaluate)]


def test_models_are_measured_at_the_start_and_then_at_their_cadence():
    world = World(None, Evaluation(every=3, subject="kept", split="validation"))
    assert evaluations(world.first) == [("a", "kept", "validation")]
    seen = [bool(evaluations(world.update())) for _ in range(7)]
    assert seen == [False, False, True, False, False, True, False]


@pytest.mark.parametrize("confirm", [1, 3])
def test_a_target_must_be_met_so_many_times_in_a_row(confirm):
    world = World(Until(accuracy=0.9, confirm=confirm))
    for version, accuracy in enumerate((*(0.95,) * (confirm - 1), 0.5, *(0.9,) * confirm)):
        assert not world.server.finished
        world.measure(accuracy, version)
    assert world.server.finished == "target"


def test_other_splits_and_subjects_and_repeats_do_not_count():
    world = World(Until(accuracy=0.9, confirm=2))
    world.measure(0.95, 0)
    world.measure(0.95, 0)
    world.measure(0.95, 1, split="validation")
    world.measure(0.95, 1, subject="kept")
    assert not world.server.finished and world.server.view.tasks["a"].streak == 1
    world.measure(0.95, 1)
    assert world.server.finished == "target"


def test_a_run_with_two_tasks_ends_when_both_have_met_the_target():
    world = World(Until(accuracy=0.9), names=("a", "b"))
    out = world.measure(0.9, 0, "b")
    assert world.server.view.tasks["b"].status == "ended" and not world.server.finished
    assert {a.task for a in out if isinstance(a, do.Release)} == {"b"}
    world.measure(0.9, 0, "a")
    assert world.server.finished == "target"


def test_updates_steps_bytes_and_time_are_limits():
    world = World(Until(updates=3))
    assert [bool(world.server.finished) for _ in range(3) if world.update()] == [False, False, True]
    assert world.server.finished == "updates" and world.server.state.updates == 3

    world = World(Until(steps=2))
    world.update()
    out = world.update()
    assert world.server.finished == "steps" and [type(a) for a in out][-2:] == [do.Save, do.Finish]

    world = World(Until(bytes=250))
    world.server.handle(on.Fetched(0, 0, Node("a", 0), 60), 1)
    world.update()
    assert not world.server.finished
    world.update()
    assert world.server.finished == "bytes"

    world = World(Until(time=2.5))
    assert do.WakeAt(5 * SECOND // 2) in world.first
    world.server.handle(on.Woke(), 5 * SECOND // 2 - 1)
    assert not world.server.finished
    assert do.Finish("time") in world.server.handle(on.Woke(), 5 * SECOND // 2)
