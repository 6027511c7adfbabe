"""FedAST (arXiv 2406.00302): its delay model replayed, makespans against Sync-ST, and where budgets go.

The bands are those of a replay of the authors' delay model (four tasks, 1,000 clients, R = 384, rho = 32, at most 300
clients at work) and of a small learning problem (200 clients, Gaussian classes, R = 80, rho = 10).
"""

from statistics import mean

import numpy as np
import pytest
from msgspec.structs import replace

import hocket as hk
from hocket.merge import Spread
from hocket.policies import Contribution
from hocket.record.log import KINDS
from hocket.reproduce.fedast_tasks import (
    COST,
    REACHED,
    ROUNDS,
    SHARES,
    Late,
    clocked,
    fleet,
    gaussians,
    learned,
    real_methods,
    replayed,
    rounds_until,
    static,
)
from hocket.schema import Schema, Segment
from hocket.setup import Setup
from hocket.simulation.run import prepare
from hocket.testing import moments


def test_the_delay_model_replayed() -> None:
    """A1-A3: updates per task, requests outstanding, clients at work, one job at a time in the order of issue."""
    sim = replayed(static(), COST, log=True)
    tasks = sim.engine.server.state.tasks
    assert sum(t.open for t in tasks.values()) == 384
    for name, updates in {"mnist": 5930, "fashion": 4290, "cifar": 4450, "shakespeare": 2210}.items():
        assert tasks[name].accepted == pytest.approx(updates, rel=0.05), name
        assert tasks[name].version == tasks[name].accepted // 3
    assert sum(b > 0 for b in sim.engine.server.state.busy) == pytest.approx(281, abs=20)
    rows = sim.engine.log.table().select(["kind", "client", "lease", "time_ns"]).to_pydict()
    at: dict[str, dict[int, int]] = {"assigned": {}, "started": {}, "arrived": {}}
    queues: dict[int, list[int]] = {}
    for kind, client, lease, time in zip(*rows.values(), strict=True):
        if KINDS[kind] in at:
            at[KINDS[kind]][lease] = time
        if KINDS[kind] == "assigned":
            queues.setdefault(client, []).append(lease)
    waits = []
    for queue in queues.values():
        free = 0
        for lease in queue:
            if lease in at["started"]:
                assert at["started"][lease] == max(at["assigned"][lease], free)
                waits.append(at["started"][lease] - at["assigned"][lease])
                free = at["arrived"].get(lease, 1 << 62)
    assert 3.4 <= mean(waits) / 1e9 <= 3.9, "mean wait in the queue"


@pytest.mark.parametrize(("ratio", "low", "high"), [(32, 30.0, 32.0), (16, 15.0, 15.9)])
def test_staleness_is_that_of_the_ratio(ratio: int, low: float, high: float) -> None:
    """A2: about rho - 1 for every task, although job times differ 3.75 fold."""
    mean_staleness = replayed(static(ratio), COST).engine.ledger.staleness_summary()["mean"]
    assert low <= mean_staleness <= high


@pytest.mark.parametrize("late", ["cancel", "finish"])
def test_joint_rounds_wait_for_every_task(late: str) -> None:
    """A4: 36 +- 2 rounds in 600, as many of each task."""
    sim = replayed(hk.strategies.sync_st(asked=300, cohort=30, shares=SHARES, late=late), COST)
    versions = {t.version for t in sim.engine.server.state.tasks.values()}
    assert len(versions) == 1 and versions.pop() in range(34, 39)


@pytest.mark.parametrize("late", ["cancel", "finish"])
def test_rounds_that_the_paper_needed(late: Late) -> None:
    """The targets of the real tasks are set by them: counted in the delay model, which is the paper's but for seeds."""
    assert all(found == pytest.approx(ROUNDS[late][n], rel=0.06) for n, found in rounds_until(late).items())


def test_the_clock_alone_gives_the_published_advantage() -> None:
    """If a version is worth eta_s of a round, FedAST ends when the paper says, and as much before Sync-ST."""
    own = clocked(static(), 0.1, ROUNDS["finish"])
    sync = clocked(hk.strategies.sync_st(300, 30, shares=SHARES, late="finish"), 1.0, ROUNDS["finish"])
    assert all(sync[n] == pytest.approx(t, rel=0.07) for n, t in REACHED.items()), "as counted"
    assert max(own.values()) == own["cifar"] == pytest.approx(619, rel=0.03)


def test_the_real_tasks_keep_the_ratios_of_the_program() -> None:
    """An update counts for as much in both methods, and R, buffers and cohorts are two thirds of the program's."""
    (own, every), (sync, rounds), (late, also) = real_methods().values()
    assert late.pacing == replace(sync.pacing, late="finish") and also == rounds
    sizes = own.pacing.in_flight, own.matching.distinct, sync.pacing.asked, sync.pacing.cohort
    assert sizes == tuple(round(k * 2 / 3) for k in (384, 300, 300, 30))
    buffer = own.pacing.in_flight // 4 // own.pacing.ratio
    assert own.pacing.ratio == 32 and buffer == 2
    assert own.task.optimizer.lr / buffer == sync.task.optimizer.lr / sync.pacing.cohort
    assert every * buffer == rounds * sync.pacing.cohort


def test_more_tasks_slow_rounds_but_not_fedast() -> None:
    """A5: rounds get longer with the number of tasks; FedAST's versions per task stay the same."""
    lengths, versions = [], []
    for many in (2, 4, 6):
        costs = dict.fromkeys((f"t{i}" for i in range(many)), 0.228)
        rounds = replayed(hk.strategies.sync_st(asked=300, cohort=30), costs).engine.server.state.tasks["t0"].version
        lengths.append(600 / rounds)
        versions.append(mean(t.version for t in replayed(static(), costs).engine.server.state.tasks.values()))
    assert lengths[0] < lengths[1] < lengths[2] and lengths[2] / lengths[0] > 2
    assert all(v == pytest.approx(1575, rel=0.02) for v in versions)


@pytest.mark.parametrize("allocation", ["static", "robust"])
def test_makespan_is_shorter_than_that_of_joint_rounds(allocation: str) -> None:
    """B7: four tasks of unequal work, at least 30 % (about 50 % here; the paper has 40.1 %)."""
    spans: dict[str, list[float]] = {"fedast": [], "sync": []}
    for seed in (0, 1):
        tasks = gaussians(list(COST.values()), seed)
        fedast = hk.strategies.fedast(80, 10, allocation=allocation, distinct=60, lr=0.33)
        spans["fedast"].append(learned(tasks, fedast, seed, every=4).engine.now)
        spans["sync"].append(learned(tasks, hk.strategies.sync_st(60, 6), seed, every=1).engine.now)
        assert spans["fedast"][-1] < spans["sync"][-1]
    assert mean(spans["fedast"]) < 0.7 * mean(spans["sync"])


@pytest.mark.parametrize(
    ("alphas", "exponent", "budgets"),
    [
        ([100.0, 100.0, 0.1, 0.1], 1.0, [20, 20, 60, 60]),
        ([100.0, 100.0, 0.1, 0.1], 2.0, [10, 10, 70, 70]),
        ([0.1, 0.1, 0.1, 0.1], 1.0, [40, 40, 40, 40]),
    ],
)
def test_budgets_follow_heterogeneity(alphas: list[float], exponent: float, budgets: list[int]) -> None:
    """C11, C12: the first deal, after 480 arrivals; budgets and buffers add up at every step."""
    method = hk.strategies.fedast(160, 10, distinct=60, lr=0.1, exponent=exponent)
    until = hk.Until(updates=800)
    tasks = gaussians([0.228] * 4, 1, alphas)
    sim = prepare(Setup.of(tasks, method, until, seed=1, evaluation=hk.Evaluation(every=1000)), fleet(200, 1, 27 * 32))
    memory, state = sim.engine.server.state.memories["pacing"], sim.engine.server.state
    while not sim.engine.run(1):
        assert sum(memory.budget.values()) == 160 and min(memory.budget.values()) >= 10
        assert list(memory.budget.values()) == ([40] * 4 if state.updates < 480 else budgets) or state.updates < 490
    assert list(memory.budget.values()) == budgets


def test_a_task_that_ends_hands_its_budget_on() -> None:
    """C13: its requests are cancelled, the others' budgets grow to keep the sum, and it gets no more work."""
    tasks = gaussians([0.148, 0.24, 0.555], 2)
    method = hk.strategies.fedast(80, 10, allocation="static", lr=0.33, shares={"t0": 40, "t1": 20, "t2": 20})
    sim = learned(tasks, method, 2, every=4)
    memory, state = sim.engine.server.state.memories["pacing"], sim.engine.server.state
    assert memory.budget != {"t0": 40, "t1": 20, "t2": 20}
    assert [t.status for t in state.tasks.values()] == ["ended"] * 3 and state.finished == "target"

    until = hk.Until(updates=2000, tasks={"t0": hk.Until(accuracy=0.5)})
    again = prepare(Setup.of(tasks, method, until, seed=2), fleet(200, 2, 27 * 32))
    ended_at = None
    while not again.engine.run(1):
        now = again.engine.server.state
        if now.tasks["t0"].status == "ended":
            ended_at = ended_at or now.tasks["t0"].ordinals[:]
            assert again.engine.server.state.memories["pacing"].budget == {"t0": 0, "t1": 40, "t2": 40}
            assert now.tasks["t0"].open == 0 and now.tasks["t0"].ordinals == ended_at
    assert ended_at is not None


def test_one_task_is_fedbuff() -> None:
    """E: M = 1 and a fixed buffer is FedBuff with queues at clients, event by event."""
    task = hk.reference_tasks.gaussian(clients=50, samples=40)
    devices = hk.Fleet.synthetic(50, seed=3, compute_law=hk.fleet.Exponential())
    fedast = hk.strategies.fedast(in_flight=30, buffer=6, allocation="static")
    fedbuff = hk.Strategy("fedbuff", hk.pacing.InFlight(30, 6), hk.matching.Uniform("queue"))
    a, b = (hk.simulate(task, devices, m, hk.Until(updates=600), seed=5, log=True) for m in (fedast, fedbuff))
    assert a.log.table().equals(b.log.table())
    assert a.models["gaussian"].tobytes() == b.models["gaussian"].tobytes()


def test_a_server_rate_of_zero_changes_nothing_else() -> None:
    """E: times, counts and bytes do not depend on what is learned (static budgets)."""
    task = hk.reference_tasks.gaussian(clients=40, samples=40)
    devices = hk.Fleet.synthetic(40, seed=3)
    runs = [
        hk.simulate(
            task, devices, hk.strategies.fedast(20, 5, allocation="static", lr=lr), hk.Until(updates=300), log=True
        )
        for lr in (1e-30, 1.0)
    ]
    assert runs[0].log.table().equals(runs[1].log.table())
    assert not np.array_equal(runs[0].models["gaussian"], runs[1].models["gaussian"])


def test_the_estimate_ranks_heterogeneity() -> None:
    """C10, at the first model: the relative variance of 8 updates grows as labels are dealt further apart."""
    found = []
    for alpha in (100.0, 1.0, 0.3, 0.1, 0.05):
        values = []
        for draw in range(4):
            task = hk.reference_tasks.gaussian(clients=8, seed=draw, alpha=alpha)
            x = task.learner.initial(draw)
            jobs = [hk.learning.Job(i, i, x, task.local, 7 + i, 0) for i in range(8)]
            values.append(spread_of([t.delta for t in task.learner.train(jobs)], task.schema)["spread"])
        found.append(mean(values))
    assert found == sorted(found) and found[-1] > 3 * found[0]


def spread_of(updates: list[np.ndarray], schema: Schema, **settings: object) -> dict[str, float]:
    merge = Spread(window=8, **settings)
    state, facts = merge.init(schema, 10), {}
    for i, d in enumerate(updates):
        one = Contribution(moments.lease(i, client=i), 1.0, 20, d, np.zeros_like(d))
        facts = merge.add(state, one)
    return dict(facts)


def test_estimators_by_hand() -> None:
    """The three estimators against their formulas: a ring of 8, or of 7 without the biases."""
    schema = Schema((Segment("w", (4, 3)), Segment("b", (4,))))
    g = np.random.default_rng(0)
    updates = [(1 + 0.5 * g.standard_normal(16)).astype(np.float32) for _ in range(11)]
    local = moments.lease(0).local
    path = local.lr * max(1, 20 // local.batch_size)

    def parts(x: np.ndarray) -> tuple[float, float]:
        centre = x.mean(axis=0)
        return float(np.square(x - centre).sum() / len(x)), float(centre @ centre)

    last = np.array(updates[-8:], np.float64)
    s, n = parts(last)
    found = spread_of(updates, schema)
    assert found["spread"] == pytest.approx(s / n)
    assert found["signal"] == pytest.approx((n - s / 7) / path)
    assert found["noise"] == pytest.approx(s * 8 / 7 / path)
    assert spread_of(updates, schema, estimator="step")["spread"] == pytest.approx(s / path**2)
    s, n = parts(last[1:, :12])
    released = spread_of(updates, schema, estimator="released", rate=0.5)["spread"]
    assert released == pytest.approx(0.5 * local.lr * 0.5 * s / n / path**2)


def test_equal_delays_give_periodic_staleness() -> None:
    """E: without variance, and equal speeds, versions come at equal steps and staleness is what arithmetic says."""
    tasks = [hk.Task.sized(parameters=10, clients=40, samples=1, name=n) for n in "ab"]
    devices = hk.Fleet.equal(40, 0.1, float("inf"), float("inf"), undefined_is_free=True)
    pacing = hk.pacing.Budgets(40, 5)
    run = hk.simulate(tasks, devices, hk.Strategy("e", pacing), hk.Until(updates=2000), log=True)
    assert run.summary["staleness"]["max"] == 5 and run.summary["staleness"]["mean"] == pytest.approx(4.75, rel=0.02)
    times = [t for t, k, n in zip(*(run.log.table()[c].to_pylist() for c in ("time_ns", "kind", "task")), strict=True)
             if KINDS[k] == "stepped" and n == 0]  # fmt: skip
    gaps = np.diff(sorted(set(times)))
    assert len(set(gaps.tolist())) == 1, "one period"


def test_a_barrier_over_everybody_is_fedavg() -> None:
    """E: R_m = b_m = n with a barrier, distinct clients: Sync-ST of one task that waits for all is FedAvg."""
    task = hk.reference_tasks.gaussian(clients=12, samples=40)
    devices = hk.Fleet.synthetic(12, seed=1)
    a = hk.simulate(task, devices, hk.strategies.sync_st(12, 12), hk.Until(steps=20), seed=2)
    b = hk.simulate(task, devices, hk.strategies.fedavg(cohort=12), hk.Until(steps=20), seed=2)
    assert np.allclose(a.models["gaussian"], b.models["gaussian"], atol=1e-6)
    assert a.summary["virtual_time_s"] == b.summary["virtual_time_s"]
