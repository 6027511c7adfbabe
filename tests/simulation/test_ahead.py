"""A learner that computes beside the simulation gets work before a result is needed, and results do not change."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import hocket as hk
from hocket.learning import Job, Learner, Trained
from hocket.setup import Setup
from hocket.simulation.run import Simulation, prepare

TASK = hk.reference_tasks.gaussian(clients=30)
FLEET = hk.Fleet.synthetic(30, seed=1, compute_law=hk.fleet.Exponential())
COHORT = 12


class Beside:
    """Another learner, whose jobs are computed when they are called for; ``sizes``: how many were begun at a time."""

    def __init__(self, learner: Learner, ahead: int) -> None:
        self.ahead, self._learner, self.sizes = ahead, learner, list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._learner, name)

    def begin(self, jobs: Sequence[Job]) -> Sequence[Callable[[], Trained]]:
        self.sizes.append(len(jobs))
        return [partial(self._alone, job) for job in jobs]

    def _alone(self, job: Job) -> Trained:
        return self._learner.train([job])[0]


def run(ahead: int, method: hk.Strategy) -> tuple[Simulation, list[int]]:
    assert TASK.learner is not None
    learner = Beside(TASK.learner, ahead)
    task = hk.Task.of(learner, TASK.local)
    sim = prepare(Setup.of(task, method, hk.Until(updates=120), evaluation=hk.Evaluation(every=10**6)), FLEET)
    sim.engine.run()
    return sim, learner.sizes


def model(sim: Simulation) -> bytes:
    x = sim.engine.book.model("task")
    assert x is not None
    return x.tobytes()


def test_work_is_begun_as_it_starts() -> None:
    method = hk.strategies.fedavg(cohort=COHORT)
    late, whole = run(0, method)
    early, some = run(5, method)
    assert set(whole) == {COHORT} and set(some) == {5, COHORT - 10}
    assert early.engine.training.trained == late.engine.training.trained == 120
    assert model(early) == model(late)


def test_work_waits_for_need_where_much_is_in_vain() -> None:
    method = hk.strategies.fedavg(cohort=COHORT, overcommit=1.5)
    late, _ = run(0, method)
    early, some = run(5, method)
    assert some.count(5) <= 4, "only before the first round is over"
    assert model(early) == model(late)
