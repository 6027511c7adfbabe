"""T08 to T12, T14, T15 and T20 of the fault model, each on a server whose devices are played by hand or drawn."""

import os
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from hocket import events as on
from hocket.downlink.hidden_state import HiddenState
from hocket.errors import Fenced
from hocket.faults.network import Network
from hocket.faults.outcome import Outcome
from hocket.faults.stub import task
from hocket.faults.swarm import Plan
from hocket.faults.world import World
from hocket.fleet import Exponential, Fleet
from hocket.guard import Staleness
from hocket.keyed import key, uniform
from hocket.merge import MeanByCount
from hocket.pacing import InFlight
from hocket.service.messages import Answer, Message, Update, Work
from hocket.setup import Setup
from hocket.strategies import fedavg, fedbuff
from hocket.strategy import Strategy, TaskPart
from hocket.until import Until
from tests.faults.conftest import SECOND, Table

Make = Callable[..., Table]
SCALE = int(os.environ.get("HOCKET_FAULTS", "1"))  # of the long tests: 10 is what a release runs


# --- T08: the same update again --------------------------------------------------------------------------


@pytest.mark.parametrize("copies", [2, 1000])
def test_t08_every_copy_gets_the_same_answer_and_counts_once(table: Make, copies: int) -> None:
    t = table(fedbuff(3, 6))
    update = t.update(t.work()[0])
    assert [a.reason for a in t.send(update)] == [""]
    state = t.state()
    answers = t.send(*[update] * (copies - 1))
    assert [(a.lease, a.client, a.reason) for a in answers] == [(update.lease, update.client, "")] * (copies - 1)
    assert t.state() == state
    t.restart()
    assert t.state() == state
    assert {a.reason for a in t.send(update, update)} == {""} and t.state() == state


def test_t08_copies_in_one_commit_are_answered_once_it_is_durable(table: Make) -> None:
    t = table(fedbuff(3, 6))
    update = t.update(t.work()[0])
    t.host.receive(update, 1)
    t.host.receive(update, 2)
    assert not [m for m in t.said if isinstance(m, Answer)]
    t.host.commit()
    assert [m.reason for m in t.said if isinstance(m, Answer)] == [""]
    assert t.host.server.state.updates == 1


# --- T09: another update for the same lease --------------------------------------------------------------


def test_t09_the_first_of_two_different_updates_wins(table: Make) -> None:
    t, alone = table(fedbuff(2, 6)), table(fedbuff(2, 6))
    first, other = t.work()[:2]
    t.send(t.update(first), t.update(first, 0.25), t.update(other))
    alone.send(alone.update(first), alone.update(other))
    assert t.state()[:2] == alone.state()[:2] and t.host.server.state.updates == 2
    assert t.state()[1] == 1


def races(trials: int) -> None:
    for trial in range(trials):
        t = Table(fedbuff(1, 6))
        work = t.work()[0]
        rivals = [t.update(work, k / 64) for k in range(16)]
        strangers = [replace(u, client=(u.client + 1 + k) % 12) for k, u in enumerate(rivals[:8])]
        strangers = [u for u in strangers if u.client != work.client]
        everybody: list[Update] = sorted([*rivals, *strangers], key=lambda u: key(trial, u.client, u.body[20]))
        answers = t.send(*everybody)
        accepted = [a for a in answers if not a.reason]
        assert {a.client for a in accepted} == {work.client}
        assert {a.reason for a in answers if a.client != work.client} <= {"not yours", "closed"}
        assert t.host.server.state.updates == 1 and t.state()[1] == 1
        winner = next(u for u in everybody if u.client == work.client)
        uplink, schema = t.setup.strategy.tasks["a"].uplink, t.setup.tasks["a"].schema
        delta, _ = uplink.decode(winner.body, schema, work.lease)
        first = Table(fedbuff(1, 6)).host.book.model("a")
        now = t.host.book.model("a")
        assert first is not None and now is not None and np.allclose(now - first, delta, atol=1e-5)


def test_t09_of_many_at_once_one_wins_and_no_stranger(table: Make) -> None:
    races(12)


@pytest.mark.soak
def test_t09_ten_thousand_races() -> None:
    races(10_000 * SCALE)


# --- T10: too late ---------------------------------------------------------------------------------------


def test_t10_after_its_lease_expired_an_update_is_refused(table: Make) -> None:
    t = table(fedbuff(3, 6, timeout=5.0))
    update = t.update(t.work()[0])
    t.now = 6 * SECOND
    t.host.wake(t.now)
    t.host.commit()
    state = t.state()
    assert [a.reason for a in t.send(update)] == ["closed"] and t.state() == state
    t.restart()
    assert [a.reason for a in t.send(update)] == ["closed"] and t.state() == state


def test_t10_after_its_task_or_the_run_ended_an_update_is_refused(table: Make) -> None:
    t = table(fedbuff(3, 6))
    waiting, late = (t.update(w) for w in t.work()[:2])
    t.send(waiting)
    t.host.tell(on.TaskEnded("a", "operator"))
    t.host.commit()
    state = t.state()
    assert [a.reason for a in t.send(waiting, late)] == ["ended", "finished"] and t.state() == state
    halted = table(fedbuff(3, 6))
    update = halted.update(halted.work()[0])
    halted.host.tell(on.Halted("by hand"))
    halted.host.commit()
    assert [a.reason for a in halted.send(update)] == ["finished"]


def test_t10_an_update_for_no_lease_is_unknown(table: Make) -> None:
    t = table(fedbuff(3, 6))
    update = t.update(t.work()[0])
    state = t.state()
    answers = t.send(*(replace(update, lease=i) for i in (-1, 10**9, -(2**40))))
    assert [a.reason for a in answers] == ["unknown"] * 3 and t.state() == state


def test_t10_a_server_whose_term_is_over_says_nothing(table: Make) -> None:
    t = table(fedbuff(3, 6))
    update = t.update(t.work()[0])
    old, said = t.host, len(t.said)
    new = t.life()
    old.receive(update, 1)
    with pytest.raises(Fenced):
        old.commit()
    assert len(t.said) == said
    new.receive(update, 2)  # the lease is older than the term, and good
    new.commit()
    assert [m.reason for m in t.said[said:] if isinstance(m, Answer)] == [""]


# --- T11: cut in the middle ------------------------------------------------------------------------------


def test_t11_an_upload_cut_anywhere_leaves_nothing_and_can_be_made_again(table: Make) -> None:
    t, whole = table(fedbuff(1, 6)), table(fedbuff(1, 6))
    update = t.update(t.work()[0])
    state = t.state()
    for length in range(len(update.body)):
        assert t.send(replace(update, body=update.body[:length])) == []
    assert t.state() == state and not t.host.received.sent
    assert [a.reason for a in t.send(update)] == [""]
    whole.send(update)
    assert t.state() == whole.state()


def test_t11_a_short_update_that_claims_to_be_whole_ends_its_lease_alone(table: Make) -> None:
    for length in range(0, 144, 9):
        t = table(fedbuff(1, 6))
        update = t.update(t.work()[0])
        assert length < len(update.body)
        before = t.state()
        answers = t.send(replace(update, body=update.body[:length], length=length))
        assert [a.reason for a in answers] == ["malformed"] and t.state() == before
        assert update.lease not in t.host.server.view.leases and not t.host.received.sent
        assert len(t.work()) == 6  # its slot is filled anew


# --- worlds ----------------------------------------------------------------------------------------------


def world(method: Strategy, rates: dict[str, float], clients: int, updates: int, heal: float = 60.0) -> World:
    fleet = Fleet.synthetic(clients, seed=1, compute_law=Exponential(), latency=0.05)
    setup = Setup.of(task("a", clients, 1), method, Until(updates=updates), seed=1, measure=("finite",))
    return World(setup, fleet, Plan(5, rates, tuple(rates), 50), heal_after=heal)


def ran(w: World) -> Outcome:
    outcome = w.run()
    assert not outcome.violated, outcome.violated
    return outcome


# --- T12: the answer is lost -----------------------------------------------------------------------------


def test_t12_with_half_of_the_answers_lost_every_lease_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    carry, lost = Network.carry, []

    def lossy(self: Network, way: Any, message: Message, now: int, transfer: int = 0) -> Any:
        if isinstance(message, Answer) and uniform(key(len(lost), "half")) < 0.5:
            lost.append(message)
            return []
        if isinstance(message, Answer):
            lost.append(None)
        return carry(self, way, message, now, transfer)

    monkeypatch.setattr(Network, "carry", lossy)
    w = world(fedbuff(5, 10), {}, 30, 600)
    outcome = ran(w)
    assert 0.4 < sum(m is not None for m in lost) / len(lost) < 0.6
    assert outcome.updates == 600 and outcome.uploads / outcome.updates <= 2.2
    assert set(w.oracle.passes.values()) == {1}, "a device trained twice for one lease"


# --- T14: dying with the work ----------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.06, 0.1, 0.3, 0.9])
def test_t14_slots_of_devices_that_die_with_their_work_are_filled_again(share: float) -> None:
    slots, clients = 6, 60
    calm = world(fedbuff(3, slots), {}, clients, 300)
    session = slots * ran(calm).time / 300
    w = world(fedbuff(3, slots), {"dies with work": share}, clients, 300 if share < 0.5 else 60, heal=1e9)
    outcome = ran(w)
    detected = 1.5 * 8 * w.poll + w.poll  # patience, the sweep after it, and the last sign of life
    predicted = (1 - share) / ((1 - share) * session + share * detected)
    assert outcome.updates / (outcome.time * slots) >= 0.9 * predicted
    assert w.host is not None and w.host.server.state.tasks["a"].open <= slots
    assert outcome.versions["a"] == outcome.updates // 3


# --- T15: exactly at the bound ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "reason"), [(0, ""), (2, ""), (3, "stale by 3 versions, limit 2"), (40, "stale by 40")]
)
def test_t15_staleness_is_refused_above_its_bound_and_not_at_it(
    table: Make, age: int, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed, original = [], Staleness.weigh

    def weigh(self: Staleness, lease: Any, staleness: int) -> float:
        weighed.append(staleness)
        return original(self, lease, staleness)

    monkeypatch.setattr(Staleness, "weigh", weigh)
    t = table(fedbuff(1, 4, staleness_limit=2))
    old = t.update(t.work()[0])
    for _ in range(age):
        t.send(t.update(max(t.work(), key=lambda w: (w.lease.version, w.lease.id))))
    assert t.state()[1] == age
    answers = t.send(old)
    assert len(answers) == 1 and answers[0].reason.startswith(reason) and bool(answers[0].reason) == bool(reason)
    assert weighed == [0] * age + [age] * (not reason)


def test_t15_a_forged_start_is_refused_and_the_true_one_is_not(table: Make) -> None:
    t = table(Strategy("hidden", InFlight(4, 2), task=TaskPart(downlink=HiddenState())))
    one, other = (t.update(w) for w in t.work()[:2])
    assert one.digest
    state = t.state()
    assert [a.reason for a in t.send(replace(one, digest="0" * 32))] == ["wrong start"]
    assert t.state() == state
    assert [a.reason for a in t.send(other)] == [""]


@pytest.mark.parametrize("samples", [0, -1, -(2**62)])
def test_t15_a_number_of_samples_below_one_is_refused(table: Make, samples: int) -> None:
    t = table(fedavg(4))
    update = t.update(t.work()[0])
    state = t.state()
    assert [a.reason for a in t.send(replace(update, samples=samples))] == ["no samples"] and t.state() == state


# --- T20: any order --------------------------------------------------------------------------------------


def shuffled(t: Table, order: int) -> list[Work]:
    return sorted(t.work()[:8], key=lambda w: uniform(key(order, w.lease.id)))


@pytest.mark.parametrize("orders", [100])
def test_t20_a_fixed_point_sum_has_the_same_bits_in_any_order_of_arrival(orders: int) -> None:
    free = Strategy("free", InFlight(8, 8), task=TaskPart(merge=MeanByCount(order="free")))
    models = set()
    for order in range(orders):
        t = Table(free)
        t.send(*(t.update(w, 0.1 * w.lease.id) for w in shuffled(t, order)))
        assert t.state()[1] == 1
        models.add(t.state()[0])
    assert len(models) == 1


def test_t20_a_sum_in_the_order_of_the_journal_is_the_same_after_a_restart() -> None:
    models = set()
    for order in range(20):
        t = Table(fedbuff(8, 8), every=1000)
        for before, after in pairwise([*shuffled(t, order), None]):
            assert before is not None
            t.send(t.update(before, 1e-3 * before.lease.id * (1 + after.lease.id if after else 7)))
        live = t.state()[0]
        t.restart()
        assert t.state()[0] == live and t.state()[1] == 1
        models.add(live)
    assert len(models) > 1
