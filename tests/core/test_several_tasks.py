"""Several tasks in one run, each with its own downlink, uplink and bound; clients hold one replica of each."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

import hocket as hk
from hocket.codec import QSGD
from hocket.downlink import HiddenState
from hocket.errors import InvalidInput
from hocket.matching import BODS, UCB
from hocket.merge import MeanByWeight
from hocket.pacing import InFlight
from hocket.record.log import KINDS
from hocket.setup import Setup
from hocket.simulation.run import prepare
from hocket.strategy import TaskPart
from hocket.uplink import Plain
from hocket.view import View

CLIENTS = 20
FLEET = hk.Fleet.equal(CLIENTS, 0.05, 1e5, 5e4, compute_law=hk.fleet.Exponential())
LOCAL = hk.LocalSGD(lr=0.05, batch_size=5, steps=4)


def task(name: str) -> hk.Task:
    return hk.reference_tasks.gaussian(CLIENTS, classes=4, dim=8, samples=20, held_out=200, local=LOCAL, name=name)


TASKS = [task(n) for n in ("full", "quantized", "weighted")]
MIXED = hk.compose(
    hk.strategies.fedast(18, 3, allocation="static", staleness_limit={"full": 2, "quantized": 60, "weighted": 60}),
    hk.Strategy(
        "parts",
        tasks={
            "quantized": TaskPart(downlink=HiddenState(QSGD(4)), uplink=Plain(QSGD(4))),
            "weighted": TaskPart(uplink=Plain(QSGD(8))),
        },
    ),
)


def run(method: hk.Strategy, tasks=TASKS, updates: int = 600) -> hk.Run:
    return hk.simulate(tasks, FLEET, method, hk.Until(updates=updates), seed=1, log=True)


def test_each_task_has_its_own_way_down_and_up() -> None:
    done = run(MIXED)
    sizes = {}
    table = done.log.table().to_pydict()
    leases = {lease: t for k, lease, t in zip(table["kind"], table["lease"], table["task"], strict=True) if k == 2}
    for kind, lease, value in zip(table["kind"], table["lease"], table["value"], strict=True):
        if kind == 6:  # arrived
            sizes.setdefault(leases[lease], set()).add(value)
    full, quantized, weighted = (max(sizes[i]) for i in range(3))
    assert full > 2 * weighted > 2 * quantized, "float32, 8 bits, 4 bits"
    assert all(done.summary["tasks"][t.name]["accuracy"] > 0.85 * t.bayes for t in TASKS)


def test_a_bound_of_one_task_refuses_only_its_updates() -> None:
    sim = prepare(Setup.of(TASKS, MIXED, hk.Until(updates=600), seed=1), FLEET)
    sim.engine.run()
    refused = {n: t.refused for n, t in sim.engine.server.state.tasks.items()}
    assert refused["full"] > 0 and refused["quantized"] == refused["weighted"] == 0
    full, hidden = (sim.engine.world.holds[n] for n in ("full", "quantized"))
    assert {n.kind for n in full if n} == {"model"} and {n.kind for n in hidden if n} == {"hidden"}
    assert any(a and b and a.version != b.version for a, b in zip(full, hidden, strict=True)), "one replica per task"


def test_a_task_does_not_notice_how_others_travel() -> None:
    """With links that cost nothing, what one task learns is the same whatever the other's codecs."""
    free = hk.Fleet.equal(CLIENTS, 0.05, float("inf"), float("inf"), compute_law=hk.fleet.Exponential())
    base = hk.strategies.fedast(18, 3, allocation="static")
    other = hk.Strategy("q", tasks={"quantized": TaskPart(downlink=HiddenState(QSGD(4)), uplink=Plain(QSGD(4)))})
    a, b = (hk.simulate(TASKS, free, m, hk.Until(updates=400), seed=2) for m in (base, hk.compose(base, other)))
    assert a.models["full"].tobytes() == b.models["full"].tobytes()
    assert a.models["quantized"].tobytes() != b.models["quantized"].tobytes()


def test_attached_at_start_a_job_is_fresher() -> None:
    """The newest node when the client is free: less stale than the one of the moment it was drawn."""
    few = hk.Fleet.equal(4, 0.05, 1e5, 5e4, compute_law=hk.fleet.Exponential())
    tasks = [
        hk.reference_tasks.gaussian(4, classes=4, dim=8, samples=20, held_out=200, local=LOCAL, name=n) for n in "ab"
    ]
    issue, start = (
        hk.simulate(tasks, few, hk.strategies.fedast(16, 4, allocation="static", attach=at), hk.Until(updates=400))
        for at in ("issue", "start")
    )
    assert start.summary["staleness"]["mean"] < 0.7 * issue.summary["staleness"]["mean"]


def test_sequential_training_is_one_task_after_the_other() -> None:
    """All requests to the first task until it is done, then to the next."""
    method = hk.strategies.fedast(10, 5, allocation="in_turn")
    until = hk.Until(updates=2000, tasks={n.name: hk.Until(accuracy=0.6) for n in TASKS})
    sim = prepare(Setup.of(TASKS, method, until, seed=1), FLEET)
    states = sim.engine.server.state.tasks
    while not sim.engine.run(1):
        going = [t for t in states.values() if t.status != "ended"]
        assert all(not sum(t.ordinals) for t in going[1:]), "the next one waits"
    assert [t.status for t in states.values()] == ["ended"] * 3


def test_a_rule_without_an_exponent_takes_none() -> None:
    with pytest.raises(hk.InvalidInput, match=r"fedast: exponent = 2\.0, allocation = 'progress'"):
        hk.strategies.fedast(allocation="progress", exponent=2.0)
    with pytest.raises(hk.InvalidInput, match=r"by_progress.*(signal|noise).*mean_by_weight.*spread"):
        pacing = hk.pacing.Budgets(12, 2, allocation=hk.pacing.ByProgress())
        method = hk.Strategy("p", pacing, task=TaskPart(merge=MeanByWeight()))
        hk.simulate(TASKS, FLEET, method, hk.Until(updates=5))


# --- joint matchings of the synchronous baselines --------------------------------------------------------


def rounds(choose: str, seed: int = 0, updates: int = 360) -> hk.Run:
    method = hk.strategies.sync_st(asked=12, cohort=3, choose=choose)
    return hk.simulate(TASKS, FLEET, method, hk.Until(updates=updates), seed=seed, log=True)


@pytest.mark.parametrize("choose", ["ucb", "bods"])
def test_joint_rounds_choose_jointly(choose: str) -> None:
    """Disjoint clients per round, the same run for the same seed, and it learns."""
    a, b = rounds(choose), rounds(choose)
    assert a.log.table().equals(b.log.table())
    assert all(a.summary["tasks"][t.name]["accuracy"] > 0.8 * t.bayes for t in TASKS)
    first = [row for row in a.log.table().to_pylist() if row["kind"] == KINDS.index("assigned")][:12]
    assert len({row["client"] for row in first}) == 12
    assert sorted(Counter(row["task"] for row in first).values()) == [4, 4, 4]


def test_late_clients_finish_and_count_for_nothing() -> None:
    """Updates are of the round in which they arrive; a busy client that is asked again begins when it is done."""
    method = hk.strategies.sync_st(asked=12, cohort=3, late="finish")
    free = hk.Fleet.equal(CLIENTS, 0.05, float("inf"), float("inf"), compute_law=hk.fleet.Exponential())
    done = hk.simulate(TASKS, free, method, hk.Until(updates=360), seed=0, log=True)
    assert all(done.summary["tasks"][t.name]["accuracy"] > 0.8 * t.bayes for t in TASKS)
    rows = done.log.table().to_pylist()
    kinds = ("assigned", "started", "arrived", "refused", "cancelled")
    at = {k: {r["lease"]: r for r in rows if r["kind"] == KINDS.index(k)} for k in kinds}
    assert at["refused"] and not at["cancelled"], "late ones go on, and are refused"
    steps = [r for r in rows if r["kind"] == KINDS.index("stepped")]
    version = lambda t, now: sum(s["task"] == t and s["time_ns"] < now for s in steps)  # noqa: E731
    given = at["assigned"]
    for lease, r in at["arrived"].items():
        fresh = given[lease]["value"] == version(given[lease]["task"], r["time_ns"])
        assert fresh == (lease not in at["refused"])
    rounds: dict[int, list[int]] = {}
    for r in given.values():
        rounds.setdefault(r["time_ns"], []).append(r["client"])
    assert all(len(c) == len(set(c)) == 12 for c in rounds.values()), "nobody is asked twice in a round"
    queued = 0
    for c in range(CLIENTS):
        own = sorted(lease for lease, r in given.items() if r["client"] == c and lease in at["started"])
        for before, lease in pairwise(own):
            asked, idle = given[lease]["time_ns"], at["arrived"][before]["time_ns"]
            assert at["started"][lease]["time_ns"] == max(asked, idle)
            queued += idle > asked
    assert queued > 10


def test_late_updates_do_not_count_without_a_guard_either() -> None:
    """Discarded at the next step in place of refused at once; the models are the same."""
    guarded = hk.strategies.sync_st(asked=12, cohort=3, late="finish")
    bare = hk.Strategy("b", guarded.pacing, guarded.matching)
    free = hk.Fleet.equal(CLIENTS, 0.05, float("inf"), float("inf"), compute_law=hk.fleet.Exponential())
    a, b = (hk.simulate(TASKS, free, m, hk.Until(steps=40), seed=0) for m in (guarded, bare))
    assert a.summary["refused"] and not b.summary["refused"]
    assert a.summary["virtual_time_s"] == b.summary["virtual_time_s"]
    assert all(a.models[t.name].tobytes() == b.models[t.name].tobytes() for t in TASKS)


def test_late_clients_go_with_a_uniform_choice() -> None:
    with pytest.raises(InvalidInput, match='it goes with choose = "uniform" only'):
        hk.strategies.sync_st(choose="ucb", late="finish")


def test_ucb_asks_those_it_does_not_know_then_those_of_high_loss() -> None:
    """Scores by hand: mean loss and width, unknown clients first."""
    policy = UCB(discount=0.5, spare=50)
    sim = prepare(Setup.of(TASKS[:1], hk.Strategy("u", hk.pacing.InFlight(2, 2), policy), hk.Until(updates=9)), FLEET)
    state = policy.init(sim.engine.server.view)
    for c in range(CLIENTS):
        sim.engine.server.view.idle.add(c), sim.engine.server.view.online.add(c)
    state.counts[0], state.losses[0] = 2.0, 2.0
    state.counts[0, 7], state.losses[0, 7] = 2.0, 5.0
    state.counts[0, 3] = state.losses[0, 3] = 0.0
    picks = policy.match(state, {"full": 2}, sim.engine.server.view, 5)
    assert [p.client for p in picks] == [3, 7]
    assert state.counts[0, 0] == 1.0 and state.horizon == 1.0, "one round has faded"


def test_bods_prefers_what_was_cheap() -> None:
    """Rounds with slow clients cost more; the process learns to leave them out, fairness aside."""
    speed = np.where(np.arange(CLIENTS) < 3, 1.0, 0.05)
    free = np.full(CLIENTS, float("inf"))
    uneven = hk.Fleet(speed, free, free, undefined_is_free=True)
    spans = {}
    for policy in (BODS(speed=1.0), hk.matching.Uniform()):
        method = hk.Strategy("b", hk.pacing.JointRounds(6, 2), policy)
        spans[type(policy)] = np.mean(
            [
                hk.simulate(TASKS, uneven, method, hk.Until(updates=500), seed=s).summary["virtual_time_s"]
                for s in range(2)
            ]
        )
    assert spans[BODS] < 0.7 * spans[hk.matching.Uniform]


@pytest.mark.parametrize("method", ["queue", "few", "dealt", "fedbuff", "refill first"])
def test_looking_at_what_changed_decides_as_looking_at_everything(method, monkeypatch) -> None:
    """The same log and memory as a run that looks at every task at every decision; tasks come and go, jobs get lost."""
    method = {
        "queue": hk.strategies.fedast(18, 3, allocation="static"),
        "few": hk.strategies.fedast(18, 3, allocation="static", distinct=5, timeout=3.0),
        "dealt": hk.strategies.fedast(18, 3, allocation="robust", window=3, period=0.2),
        "fedbuff": hk.strategies.fedbuff(buffer=2, in_flight=6),
        "refill first": hk.Strategy("first", pacing=InFlight(6, 2, refill_first=True)),
    }[method]
    fleet = hk.Fleet.equal(CLIENTS, 0.05, 1e5, 5e4, compute_law=hk.fleet.Exponential(), failure=0.05)
    schedule = [
        hk.Change(20.0, "weighted", "add"),
        hk.Change(30.0, "full", "pause"),
        hk.Change(40.0, "full", "add"),
        hk.Change(50.0, "quantized", "end"),
    ]

    def outcome() -> tuple[object, bytes]:
        setup = Setup.of(TASKS, method, hk.Until(time=70.0), seed=4, schedule=schedule)
        sim = prepare(setup, fleet, log=True)
        sim.engine.run()
        return sim.engine.log.table(), sim.engine.server.snapshot()

    some = outcome()
    monkeypatch.setattr(View, "moved", lambda self, also=(): list(self.tasks.values()))
    assert len(some[0]) > 500 and some == outcome()
