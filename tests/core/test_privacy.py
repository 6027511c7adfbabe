"""Differential privacy in the step: what it computes, what it bounds, what it spends, and what it refuses."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hocket import Fleet, Until, codec, guard, matching, merge, reference_tasks, simulate, strategies
from hocket.book import Book
from hocket.downlink import Bands
from hocket.errors import InvalidInput
from hocket.experiment import document, folder
from hocket.learning.learner import Trained
from hocket.pacing import InFlight
from hocket.policies import Contribution
from hocket.privacy import Gaussian, SecureAggregation
from hocket.privacy.accountant import epsilon, most
from hocket.privacy.gaussian import Taken
from hocket.privacy.noise import add_normal
from hocket.record.summary import cautions
from hocket.schema import Schema, Segment
from hocket.setup import Setup
from hocket.strategy import Strategy, TaskPart, compose, fill
from hocket.submodel import Slices
from hocket.testing.moments import lease
from hocket.uplink import Banded, ErrorFeedback, Plain

SIZE = 9000  # more than one chunk
SCHEMA = Schema((Segment("w", (SIZE,)),))


def contribution(client: int, delta: np.ndarray, weight: float = 1.0, i: int = 0) -> Contribution:
    return Contribution(lease(i, client=client), weight, 10, delta.astype(np.float32), np.zeros(SIZE, np.float32))


def private(**given) -> Strategy:
    return Strategy("private", task=TaskPart(privacy=Gaussian(**given)))


# --- the mechanism ---------------------------------------------------------------------------------------


def test_noise_is_normal_and_a_function_of_its_key():
    noise = {k: np.zeros(200_001) for k in (b"a", b"b")}
    for k, x in noise.items():
        add_normal(x, 1.0, k)
    again = np.zeros(200_001)
    add_normal(again, 1.0, b"a")
    np.testing.assert_array_equal(noise[b"a"], again)
    a, b = noise.values()
    assert abs(a.mean()) < 0.01 and abs(a.std() - 1) < 0.01 and abs(np.corrcoef(a, b)[0, 1]) < 0.01
    assert abs((a**4).mean() - 3) < 0.1 and abs((a**3).mean()) < 0.05
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.01 and abs(np.corrcoef(a[:8192], a[8192:16384])[0, 1]) < 0.05
    prefix = np.zeros(100)
    add_normal(prefix, 1.0, b"a")
    assert not np.array_equal(prefix, np.zeros(100)) and np.isfinite(prefix).all()


class Given:
    """Updates that a test wrote down."""

    def __init__(self, updates):
        self.updates = updates

    def take(self, leases):
        return [Trained(self.updates[x.id], 10, {}) for x in leases]

    def look(self, x):
        return Trained(self.updates[x.id], 10, {})


def book_of(updates, clients=4, seed=0, secret=None, **given):
    strategy = fill(compose(strategies.fedbuff(4, 4), private(**given)), ("a",))
    book = Book(strategy.tasks, {"a": SCHEMA}, {"a": np.zeros(SIZE, np.float32)}, {"a": clients}, Given(updates),
                seed, secret)  # fmt: skip
    return book


def step_of(book, clients, weights=None):
    for i, c in enumerate(clients):
        x = lease(i, client=c, task="a", version=book.shelves["a"].node.version)
        book.open(x)
        book.accumulate(x, 1.0 if weights is None else weights[i])
    return book.step("a")


def test_a_step_is_the_mean_of_cut_updates_and_the_noise_of_its_version():
    random = np.random.default_rng(0)
    updates = {i: random.normal(0, 0.1 * (i + 1), SIZE).astype(np.float32) for i in range(4)}
    book = book_of(updates, clip=3.0, noise=0.5)
    stepped = step_of(book, range(4))
    want = np.zeros(SIZE)
    for u in updates.values():
        want += u * min(1.0, 3.0 / np.linalg.norm(u.astype(np.float64)))
    noise = book.model("a") - want / 4
    assert abs(noise.std() - 0.5 * 3.0 / 4) < 0.01 and abs(noise.mean()) < 0.02
    assert set(stepped.facts) == {"norm"}, "nothing of a single update is told"
    same, other = book_of(updates, clip=3.0, noise=0.5), book_of(updates, clip=3.0, noise=0.5, secret=b"x" * 32)
    for b in (same, other):
        step_of(b, range(4))
    np.testing.assert_array_equal(same.model("a"), book.model("a"))
    assert np.abs(other.model("a") - book.model("a")).max() > 0.5, "another secret, another noise"
    before = book.model("a").copy()
    step_of(book, range(4))
    assert abs(np.corrcoef(book.model("a") - before - want / 4, noise)[0, 1]) < 0.05, "another version, another noise"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(-4, 4), st.floats(0, 1e8)), min_size=1, max_size=12),
    st.integers(0, 3),
)
def test_one_client_adds_at_most_the_clip_to_a_step(rows, whose):
    """However many updates it has in the step, whatever they weigh, and beside whomever."""
    policy, memory = Gaussian(clip=1.5), Taken.of(4)
    random = np.random.default_rng(1)
    total, alone = np.zeros(SIZE), np.zeros(SIZE)
    for i, (client, weight, scale) in enumerate(rows):
        c = policy.cut(memory, contribution(client, scale * random.normal(0, 1, SIZE), weight, i))
        total += c.weight * c.delta.astype(np.float64)
        if client == whose:
            alone += c.weight * c.delta.astype(np.float64)
    assert np.linalg.norm(alone) <= 1.5 * (1 + 1e-6)
    assert np.linalg.norm(total) <= 1.5 * len({c for c, *_ in rows}) * (1 + 1e-6)


def test_a_client_takes_part_in_so_many_steps_and_no_more():
    updates = {i: np.full(SIZE, 1e-3, np.float32) for i in range(3)}
    book = book_of(updates, clip=5.0, noise=1e-9, participations=2)
    moved = []
    for clients in ([0, 1], [0, 0], [0, 1], [2, 0]):
        before = book.model("a").copy()
        step_of(book, clients)
        moved.append(round(float((book.model("a") - before).mean()) * 1e3, 3))
    assert moved == [1.0, 1.0, 0.5, 0.5], "client 0 counts in two steps"
    np.testing.assert_array_equal(book.shelves["a"].privacy.steps, [2, 2, 1, 0])
    book.keep("a")
    book.restore_kept("a")
    again = book_of(updates, clip=5.0, noise=1e-9, participations=2)
    again.restore(book.snapshot())
    for b in (book, again):
        np.testing.assert_array_equal(b.shelves["a"].privacy.steps, [2, 2, 1, 0])


def test_going_back_to_a_kept_model_forgets_no_step():
    updates = {i: np.full(SIZE, 1e-3, np.float32) for i in range(3)}
    book = book_of(updates, clip=5.0, noise=1.0, participations=9)
    book.keep("a")
    step_of(book, [0, 1])
    first = book.model("a").copy()
    book.restore_kept("a")
    assert not book.model("a").any()
    step_of(book, [0, 1])
    assert abs(np.corrcoef(first, book.model("a"))[0, 1]) < 0.05, "noise is never used again"
    np.testing.assert_array_equal(book.shelves["a"].privacy.steps, [2, 2, 0, 0])


# --- what is spent ---------------------------------------------------------------------------------------


def independent(total: float, delta: float) -> float:
    """epsilon of a Gaussian mechanism of noise total**-0.5 (Balle and Wang 2018, theorem 8), by bisection in logs."""
    from scipy.special import log_ndtr

    mu = sqrt(total)

    def over(e: float) -> bool:
        a, b = log_ndtr(mu / 2 - e / mu), e + log_ndtr(-mu / 2 - e / mu)
        return bool(a + np.log1p(-np.exp(min(b - a, -1e-300))) > np.log(delta))

    low, high = 0.0, 1.0
    while over(high):
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if over(middle) else (low, middle)
    return high


def test_t38_epsilon_is_that_of_an_independent_accountant_on_a_thousand_schedules():
    from dp_accounting import dp_event, rdp

    random = np.random.default_rng(38)
    for n in range(1000):
        tasks = [
            (Gaussian(noise=float(10 ** random.uniform(-0.3, 2)), participations=k), int(10 ** random.uniform(0, 4)))
            for k in (None, int(random.integers(1, 200)))[: 1 + n % 2]
        ]
        delta = float(10 ** random.uniform(-9, -3))
        total = sum(min(k, p.participations or k) / p.noise**2 for p, k in tasks)
        found = epsilon(tasks, delta)
        assert abs(found / independent(total, delta) - 1) < 0.01
        if n % 20 == 0:  # an upper bound that composes step by step
            renyi = rdp.RdpAccountant()
            for p, k in tasks:
                event = dp_event.GaussianDpEvent(p.noise)
                renyi.compose(dp_event.SelfComposedDpEvent(event, min(k, p.participations or k)))
            assert found <= renyi.get_epsilon(delta) * (1 + 1e-9)


def test_a_budget_ends_the_run_before_it_is_overspent(tmp_path):
    p = Gaussian(clip=0.5, noise=4.0, epsilon=6.0)
    steps = most(p)
    assert steps is not None and epsilon([(p, steps)], p.delta) <= 6.0 < epsilon([(p, steps + 1)], p.delta)
    method = compose(strategies.fedbuff(3, 6), Strategy("p", task=TaskPart(privacy=p)))
    task, fleet = reference_tasks.gaussian(clients=12, samples=20), Fleet.synthetic(clients=12, seed=0)
    run = simulate(task, fleet, method, Until(updates=10_000), seed=1, out=tmp_path)
    said = run.summary["privacy"]
    assert said["tasks"]["gaussian"]["releases"] == run.summary["tasks"]["gaussian"]["version"] == steps
    assert run.summary["finished"] == "steps" and 5.5 < said["epsilon"] <= 6.0 and said["delta"] == 1e-6
    words = f"epsilon {said['epsilon']:.3g} at delta 1e-06"
    assert words in cautions(run.summary)[0] and words in folder.write_report(tmp_path).read_text()
    assert most(Gaussian(noise=4.0, epsilon=6.0, participations=steps)) is None, "whoever takes part is within it"
    with pytest.raises(InvalidInput, match="less than a step"):
        simulate(task, fleet, compose(strategies.fedbuff(3, 6), private(epsilon=0.1)), Until(updates=9))


def test_private_runs_learn_where_the_noise_is_small_and_are_the_same_again():
    task, fleet = reference_tasks.gaussian(clients=60, samples=40), Fleet.synthetic(clients=60, seed=0)
    method = compose(strategies.fedbuff(30, 60), private(clip=2.0, noise=0.4, participations=40))
    runs = [simulate(task, fleet, method, Until(accuracy=0.8, updates=9000), seed=2, eager=e) for e in (False, False)]
    assert runs[0].summary == runs[1].summary and runs[0].summary["finished"] == "target"
    assert runs[0].summary["privacy"]["epsilon"] < epsilon([(Gaussian(noise=0.4), 10_000)], 1e-6)


def test_quantized_updates_are_cut_after_they_were_decoded():
    task, fleet = reference_tasks.gaussian(clients=12, samples=20), Fleet.synthetic(clients=12, seed=0)
    for uplink in (Plain(codec.Sign()), ErrorFeedback(codec.TopK(0.1)), Plain(codec.QSGD(levels=1))):
        method = compose(
            Strategy("m", InFlight(6, 3), task=TaskPart(uplink=uplink, merge=merge.MeanByCount())), private(noise=9.0)
        )
        assert (
            simulate(task, fleet, method, Until(updates=30)).summary["privacy"]["tasks"]["gaussian"]["releases"] == 10
        )


# --- what is refused -------------------------------------------------------------------------------------


def part(**policies) -> Strategy:
    return Strategy("other", InFlight(6, 3), task=TaskPart(**policies))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (strategies.fedavg(4), "mean_by_weight divides by the weights"),
        (strategies.fedbuff(3, 6, normalise="weight"), "mean_by_weight divides by the weights"),
        (strategies.fedasync(4), "divides by the weights"),
        (part(merge=merge.Median(1)), "median is no sum"),
        (part(merge=merge.Krum(0)), "krum is no sum"),
        (part(merge=merge.ClippedMean()), "a client may have several"),
        (part(merge=merge.MeanByFleet()), "does not promise"),
        (part(merge=merge.MeanByCount(order="free")), 'use order = "journal"'),
        (part(guard=guard.Staleness(guard.Windowed())), "1 versions old weighs 2 by staleness windowed"),
        (strategies.fedbuff(3, 6, decay=guard.Polynomial(average=1)), "0 versions old weighs 1.41"),
        (part(guard=guard.Chain((guard.Staleness(), guard.NormBound(3.0)))), "guard chain decides by the norm"),
        (part(submodel=Slices(), downlink=Bands(), uplink=Banded()), "sends parts of a model"),
        (strategies.prfl(), "submodel pruning sends parts of a model"),
        (Strategy("w", InFlight(3, 3), matching.Weighted((0.9, 0.1))), "weighs updates by how they were drawn"),
    ],
)  # fmt: skip
def test_what_lets_a_client_move_a_step_further_is_refused(method: Strategy, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        fill(compose(method, private()), ("a",))


def test_unequal_clients_and_open_tasks_are_refused() -> None:
    task = reference_tasks.gaussian(clients=6, samples=20)
    other = reference_tasks.gaussian(clients=6, samples=20, name="other")
    mixed = Strategy("m", InFlight(3, 3), tasks={"gaussian": TaskPart(privacy=Gaussian())})
    with pytest.raises(InvalidInput, match="'gaussian' is private and 'other' is not"):
        Setup.of([task, other], mixed, Until(updates=5))
    method = compose(strategies.fedbuff(3, 3), private())
    weighed = reference_tasks.digits(clients=6, objective="samples")
    with pytest.raises(InvalidInput, match='objective = "uniform"'):
        Setup.of(weighed, method, Until(updates=5))


def test_values_that_promise_nothing_are_refused() -> None:
    for given_ in ({"clip": 0.0}, {"clip": float("inf")}, {"noise": 0.0}, {"delta": 0.5}, {"epsilon": -1.0},
                   {"participations": 0}):  # fmt: skip
        with pytest.raises(InvalidInput, match=f"privacy.{next(iter(given_))}"):
            Gaussian(**given_)
    with pytest.raises(InvalidInput, match="must see updates to check, weigh and clip them"):
        SecureAggregation()


def test_an_experiment_file_has_a_table_for_it_and_asks_in_vain_for_secure_aggregation() -> None:
    file = {
        "task": {"kind": "gaussian", "clients": 8}, "fleet": {"kind": "synthetic"}, "until": {"updates": 10},
        "strategy": {"use": "fedbuff", "buffer": 2, "in_flight": 4, "privacy": {"kind": "gaussian", "noise": 2.0}},
    }  # fmt: skip
    experiment = document.parse(file)
    assert experiment.strategy.task.privacy == Gaussian(noise=2.0)
    assert experiment.resolved()["strategy"]["tasks"]["gaussian"]["privacy"]["clip"] == 1.0
    assert document.parse(experiment.resolved()).toml() == experiment.toml()
    with pytest.raises(InvalidInput, match=r"strategy.*must see updates to check, weigh and clip them"):
        document.parse({**file, "strategy": {"use": "fedbuff", "privacy": {"kind": "secure_aggregation"}}})
