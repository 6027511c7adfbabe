"""Decisions and arithmetic without a driver: a loop of one's own asks for work and tells results."""

from contextlib import suppress
from typing import ClassVar

import numpy as np
import pytest
from msgspec import Struct

import hocket as hk
from hocket import actions as do
from hocket import events as on
from hocket.core import Told
from hocket.errors import InvalidInput
from hocket.policies import Due
from hocket.schema import Schema, Segment
from hocket.strategies import asyncsgd, fedasync, fedavg, fedbuff
from hocket.strategy import Strategy, TaskPart

SIZE = 3


class Flat:
    """A learner that is only asked for its first model."""

    schema = Schema((Segment("w", (SIZE,)),))

    def __init__(self, clients):
        self.samples = np.arange(1, clients + 1)

    def initial(self, seed):
        return np.zeros(SIZE, np.float32)


def task(clients=6, name="flat", objective="uniform"):
    return hk.Task.of(Flat(clients), hk.LocalSGD(lr=0.1, batch_size=5), name=name, objective=objective)


def core(method, clients=6, **fields):
    return hk.Core(task(clients, **fields), method, clients=range(clients))


def ones(value=1.0):
    return {"w": np.full(SIZE, value)}


def test_a_round_of_fedavg_is_the_mean_of_what_was_told():
    c = core(fedavg(cohort=3))
    jobs = c.ask(now=0.0)
    assert len(jobs) == 3 and len({j.client for j in jobs}) == 3 and {j.version for j in jobs} == {0}
    assert {j.task for j in jobs} == {"flat"} and all(j.start["w"].tolist() == [0.0] * SIZE for j in jobs)
    assert c.ask(now=0.0) == [], "each job is handed out once"
    told = [c.tell(j.lease, ones(i), samples=10, now=1.0 + i) for i, j in enumerate(jobs)]
    assert told == [Told(True), Told(True), Told(True, version=1)]
    assert c.model()["w"].tolist() == [1.0] * SIZE
    again = c.ask(now=5.0)
    assert len(again) == 3 and again[0].start["w"].tolist() == [1.0] * SIZE and again[0].version == 1


def test_clients_count_by_their_samples_if_the_task_says_so():
    c = core(fedavg(cohort=6), objective="samples")
    for j in c.ask(now=0.0):
        c.tell(j.lease, ones(float(j.client == 5)), samples=10, now=1.0)
    np.testing.assert_allclose(c.model()["w"], 6 / 21, rtol=1e-6)


def test_what_cannot_be_accepted_says_why():
    c = core(fedbuff(buffer=2, in_flight=3, staleness_limit=0))
    a, b, old = c.ask(now=0.0)
    assert c.tell(99, ones(), samples=1, now=0.0) == Told(False, "unknown")
    assert c.tell(a.lease, ones(float("nan")), samples=10, now=0.0) == Told(False, "not finite")
    assert c.tell(a.lease, ones(), samples=10, now=0.0) == Told(False, "closed")
    assert c.tell(b.lease, ones(), samples=0, now=0.0) == Told(False, "no samples")
    d, e = c.ask(now=0.0)
    assert c.tell(d.lease, ones(), samples=1, now=1.0).accepted
    assert c.tell(e.lease, ones(), samples=1, now=1.0) == Told(True, version=1)
    assert c.tell(old.lease, ones(), samples=1, now=2.0) == Told(False, "stale by 1 versions, limit 0")
    c.server.validate()
    assert c.model()["w"].tolist() == [1.0] * SIZE, "nothing that was refused went in"


def test_an_update_that_does_not_fit_is_an_error_and_its_job_stays_open():
    c = core(fedasync(2))
    (job, _) = c.ask(now=0.0)
    for bad, message in (({"v": np.zeros(3)}, "missing or unknown"), ({"w": np.zeros(2)}, r"shape \(2,\), not \(3,\)")):
        with pytest.raises(InvalidInput, match=message):
            c.tell(job.lease, bad, samples=1, now=0.0)
    assert c.tell(job.lease, ones(), samples=1, now=0.0).accepted


def test_a_norm_bound_and_a_loss_reach_the_guard():
    bounded = Strategy("bounded", fedbuff(1, 2).pacing, task=TaskPart(guard=hk.guard.NormBound(2.0)))
    c = core(bounded)
    a, b = c.ask(now=0.0)
    assert c.tell(a.lease, ones(10.0), samples=1, now=0.0, loss=0.3) == Told(False, "norm 17.32, limit 2")
    assert c.tell(b.lease, ones(1.0), samples=1, now=0.0, loss=0.3).version == 1


def test_a_job_that_fails_is_given_to_somebody_else():
    c = core(fedasync(2))
    a, _ = c.ask(now=0.0)
    c.fail(a.lease, now=1.0)
    c.fail(a.lease, now=1.0)
    c.fail(77, now=1.0)
    (other,) = c.ask(now=1.0)
    assert other.lease not in (a.lease,) and c.server.state.lost == 1
    c.server.validate()


def test_a_timeout_wakes_the_loop():
    c = core(fedasync(2, timeout=10.0))
    jobs = c.ask(now=0.0)
    assert c.wake_at == 10.0
    assert c.ask(now=9.9) == [] and c.wake_at == 10.0
    again = c.ask(now=10.0)
    assert len(again) == 2 and c.wake_at == 20.0
    assert c.tell(jobs[0].lease, ones(), samples=1, now=11.0) == Told(False, "closed")


def test_a_job_that_is_over_before_it_was_asked_for_is_not_handed_out():
    c = core(fedavg(cohort=2, overcommit=2.0))
    jobs = c.ask(now=0.0)
    c.fail(jobs[0].lease, now=0.5)
    for j in jobs[1:3]:
        c.tell(j.lease, ones(), samples=1, now=1.0)
    assert {j.version for j in c.ask(now=1.0)} == {1}, "the one that replaced the failed one was cancelled"
    assert c.tell(jobs[3].lease, ones(), samples=1, now=2.0) == Told(False, "closed")


def test_time_only_goes_forward():
    c = core(fedasync(2))
    a, b = c.ask(now=0.0)
    c.tell(a.lease, ones(), samples=1, now=5.0)
    with pytest.raises(InvalidInput, match=r"now = 4\.0: before 5\.0; time only goes forward"):
        c.tell(b.lease, ones(), samples=1, now=4.0)


def test_clients_may_join_later_and_must_exist():
    c = hk.Core(task(), fedavg(cohort=2), clients=[])
    assert c.ask(now=0.0) == []
    c.join([3], now=1.0)
    assert [j.client for j in c.ask(now=1.0)] == [3]
    with pytest.raises(InvalidInput, match=r"this server has clients 0\.\.5"):
        c.join([6], now=2.0)


def test_busy_clients_may_queue_jobs():
    c = core(asyncsgd(in_flight=20))
    jobs = c.ask(now=0.0)
    assert len(jobs) == 20 and jobs[0].local.steps == 1
    assert len({j.seed for j in jobs}) == 20
    ordinals = {x.id: (x.client, x.ordinal) for x in c.server.view.leases.values()}
    assert len(set(ordinals.values())) == 20


def test_several_tasks():
    both = [task(name="a"), task(name="b")]
    c = hk.Core(both, fedbuff(buffer=1, in_flight=2), clients=range(6))
    jobs = c.ask(now=0.0)
    assert sorted(j.task for j in jobs) == ["a", "a", "b", "b"]
    done = c.tell(next(j for j in jobs if j.task == "b").lease, ones(2.0), samples=1, now=0.0)
    assert done.version == 1
    assert c.model("a")["w"].tolist() == [0.0] * SIZE and c.model("b")["w"].tolist() == [2.0] * SIZE


def test_the_same_seed_and_answers_give_the_same_jobs():
    def play(seed):
        c = hk.Core(task(), fedbuff(2, 4), clients=range(6), seed=seed)
        seen = []
        for t in range(20):
            for j in c.ask(now=float(t)):
                seen.append((j.lease, j.client, j.seed, j.version))
                c.tell(j.lease, ones(0.1 * j.client), samples=1, now=float(t))
        return seen, c.model()["w"].tolist()

    assert play(1) == play(1) and play(1)[0] != play(2)[0]


def test_a_size_only_task_has_no_model():
    c = hk.Core(hk.Task.sized(parameters=5, clients=4), fedasync(2), clients=range(4))
    assert c.model() == {} and c.ask(now=0.0)[0].start == {}


class Wishing(Struct, frozen=True, tag="wishing"):
    """A pacing of one update per step that keeps version 1, goes back to it from version 2, and ranks then."""

    timeout: float | None = None
    refill_first: bool = False
    observes: ClassVar[tuple[type[on.Event], ...]] = (on.Stepped, on.Restored)

    def init(self, view):
        return None

    def room(self, state, view, now):
        return {t.name: 2 - t.open for t in view.tasks.values() if not t.stepping}

    def due(self, state, view, now):
        return next((Due(t.name) for t in view.tasks.values() if t.buffer and not t.stepping), None)

    def observe(self, state, fact, view, now):
        if isinstance(fact, on.Restored):
            return [do.Rank(fact.task)]
        return [{1: do.Keep, 2: do.Restore}[fact.node.version](fact.task)] if fact.node.version < 3 else []


def test_what_policies_ask_for_is_done():
    c = core(Strategy("wishing", Wishing()))
    for t in (1.0, 2.0):
        c.tell(c.ask(now=t)[0].lease, ones(), samples=1, now=t)
    assert c.model()["w"].tolist() == [1.0] * SIZE and c.server.view.tasks["flat"].version == 3
    assert c.ask(now=3.0)[0].version == 3


def test_training_in_place_does_not_reach_the_server():
    c = core(fedasync(2))
    job = c.ask(now=0.0)[0]
    with suppress(ValueError):
        job.start["w"] += 5.0
    assert c.model()["w"].tolist() == [0.0] * SIZE


def test_a_lease_below_zero_is_unknown():
    assert core(fedasync(2)).tell(-3, ones(), samples=1, now=0.0) == Told(False, "unknown")


def test_an_update_beyond_float32_is_refused():
    c = core(fedasync(2))
    assert c.tell(c.ask(now=0.0)[0].lease, ones(1e300), samples=1, now=0.0) == Told(False, "not finite")


@pytest.mark.parametrize("now", [float("nan"), float("inf"), 1e300, 2**80, -1.0, "soon", None])
def test_a_time_that_there_is_not(now):
    c = core(fedasync(2))
    lease = c.ask(now=0.0)[0].lease
    for act in (lambda: c.ask(now), lambda: c.tell(lease, ones(), 1, now), lambda: c.fail(lease, now)):
        with pytest.raises(InvalidInput, match=r"^now = .*: must be seconds from 0 to 9e\+09$"):
            act()
    assert c.tell(lease, ones(), samples=1, now=1.7e9).accepted


@pytest.mark.parametrize("samples", [2.5, float("nan"), "many", None, 2**60])
def test_samples_are_counted(samples):
    c = core(fedasync(2))
    with pytest.raises(InvalidInput, match=r"^samples = .*: must be a whole number below 2\*\*53$"):
        c.tell(c.ask(now=0.0)[0].lease, ones(), samples, now=0.0)
