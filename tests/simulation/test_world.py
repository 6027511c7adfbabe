"""The virtual world: faults, links, stop conditions, bytes, several tasks, and policies that ask for things."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from msgspec import Struct

import hocket as hk
from hocket import actions as do
from hocket import events as on
from hocket.errors import InvalidInput, Stalled
from hocket.lease import Cover
from hocket.policies import Pick, Slots
from hocket.record.log import KINDS
from hocket.setup import Setup
from hocket.simulation.run import prepare
from hocket.view import View

SIZED = hk.Task.sized(parameters=2500, clients=30, samples=10)  # 10,028 bytes either way
EQUAL = hk.Fleet.equal(30, compute=0.1, down=1e4, up=1e4)


def kinds(run: hk.Run) -> dict[str, int]:
    counts = np.bincount(run.log.table()["kind"].to_numpy(), minlength=len(KINDS))
    return dict(zip(KINDS, counts.tolist(), strict=True))


def balanced(run: hk.Run) -> None:
    b = run.summary["bytes"]
    assert b["down"] == b["critical"] + b["prefetched"] + b["overcommitted"] + b["wasted"]
    assert 0 <= b["refused"] <= b["up"]


def test_times_and_bytes_of_one_round_by_hand() -> None:
    """Download 1.0028 s, train 10 x 0.1 s, upload 1.0028 s; ten clients of ten."""
    run = hk.simulate(SIZED, EQUAL, hk.strategies.fedavg(cohort=10), hk.Until(steps=1))
    assert run.summary["virtual_time_s"] == pytest.approx(2 * 1.0028 + 1.0)
    assert run.summary["bytes"]["up"] == run.summary["bytes"]["down"] == 10 * 10_028
    assert run.summary["bytes"]["published"] == 10_028
    assert run.summary["clients_seen"] == 10
    balanced(run)


def test_overcommitted_clients_are_cancelled_and_billed() -> None:
    fleet = hk.Fleet.synthetic(30, seed=0)
    run = hk.simulate(SIZED, fleet, hk.strategies.fedavg(10, overcommit=1.5), hk.Until(steps=20), log=True)
    assert kinds(run)["cancelled"] == 20 * 5 and kinds(run)["assigned"] == 20 * 15
    assert run.summary["bytes"]["overcommitted"] > 0
    balanced(run)


def test_deadline_ends_a_round_with_what_it_has() -> None:
    fleet = hk.Fleet.synthetic(30, seed=0)
    slow = hk.simulate(SIZED, fleet, hk.strategies.fedavg(20), hk.Until(steps=5))
    fast = hk.simulate(SIZED, fleet, hk.strategies.fedavg(20, deadline=3.0), hk.Until(steps=5))
    assert fast.summary["virtual_time_s"] <= 5 * 3.0 + 1e-6 < slow.summary["virtual_time_s"]
    assert fast.summary["updates"] < 100


@pytest.mark.parametrize("kind", ["failure", "dropout"])
def test_lost_leases_are_drawn_anew(kind: str) -> None:
    fleet = hk.Fleet.synthetic(30, seed=1, **{kind: 0.3})
    method = hk.strategies.fedbuff(5, 20, timeout=100.0)
    run = hk.simulate(SIZED, fleet, method, hk.Until(updates=500), log=True)
    assert run.summary["updates"] == 500
    assert 0.2 < run.summary["lost"] / (run.summary["lost"] + 500) < 0.4
    assert kinds(run)["failed" if kind == "failure" else "cancelled"] > 100
    balanced(run)


def test_devices_come_and_go() -> None:
    fleet = hk.Fleet.synthetic(30, seed=1, availability=hk.fleet.Renewal(on=30.0, off=30.0))
    run = hk.simulate(SIZED, fleet, hk.strategies.fedavg(8), hk.Until(updates=400), log=True)
    seen = kinds(run)
    assert seen["left"] > 10 and seen["joined"] > 10 and seen["failed"] > 0
    assert run.summary["bytes"]["wasted"] > 0
    balanced(run)


def test_shared_server_link_slows_downloads_down() -> None:
    """Ten equal downloads share 10 kB/s: the round takes ten times the download, then train and upload."""
    fleet = hk.Fleet.equal(30, compute=0.1, down=1e4, up=1e4, egress=1e4)
    run = hk.simulate(SIZED, fleet, hk.strategies.fedavg(cohort=10), hk.Until(steps=1))
    assert run.summary["virtual_time_s"] == pytest.approx(10 * 1.0028 + 1.0 + 1.0028)
    balanced(run)


@pytest.mark.parametrize(("links", "fetched", "seconds"), [("fifo", 1, 4.0084), ("parallel", 2, 4.0056)])
def test_links_queue_or_overlap(links: Any, fetched: int, seconds: float) -> None:
    """Two jobs at one client, training takes 1 s. In a queue the second finds the node in the cache and its upload
    waits for the first; side by side both download and nothing but the training waits."""
    task = hk.Task.sized(parameters=2500, clients=1, samples=10)
    fleet = hk.Fleet.equal(1, compute=0.1, down=1e4, up=1e4, links=links)
    method = hk.Strategy("two", hk.pacing.InFlight(in_flight=2, buffer=2), hk.matching.Uniform("queue"))
    run = hk.simulate(task, fleet, method, hk.Until(steps=1), log=True)
    assert kinds(run)["fetched"] == fetched
    assert run.summary["virtual_time_s"] == pytest.approx(seconds)


class Once(hk.pacing.InFlight, frozen=True, tag="once"):
    """Gives out work a single time."""

    def room(self, state: None, view: View, now: int) -> Slots:
        return {} if any(view.tasks["task"].ordinals) else super().room(state, view, now)


def test_a_stall_says_why() -> None:
    fleet = hk.Fleet.equal(30, compute=0.1, down=1e4, up=1e4, dropout=0.9)
    with pytest.raises(InvalidInput, match=r"fleet.dropout = 0.9: a silent device"):
        hk.simulate(SIZED, fleet, hk.strategies.fedbuff(5, 20), hk.Until(updates=10))
    with pytest.raises(InvalidInput, match=r"fleet.dropout = 0.9: a silent device"):
        hk.simulate(SIZED, fleet, hk.strategies.fedavg(30, deadline=1.0, minimum=30), hk.Until(updates=100))
    with pytest.raises(
        Stalled, match=r"nothing can happen any more at .* 30 of 30 clients online, 30 idle; .* 5 buffered"
    ):
        hk.simulate(SIZED, EQUAL, hk.Strategy("once", Once(5, buffer=6)), hk.Until(updates=100))


def test_a_deadline_with_silent_devices_goes_on() -> None:
    fleet = hk.Fleet.equal(30, compute=0.1, down=1e4, up=1e4, dropout=0.9)
    method = hk.strategies.fedavg(30, deadline=9.0, minimum=30, timeout=20.0)
    assert hk.simulate(SIZED, fleet, method, hk.Until(updates=60)).summary["updates"] == 60


def test_zero_durations_still_progress() -> None:
    inf = float("inf")
    fleet = hk.Fleet.equal(30, compute=0.0, down=inf, up=inf, undefined_is_free=True)
    for method in (hk.strategies.fedavg(10), hk.strategies.fedbuff(5, 20), hk.strategies.asyncsgd(7)):
        run = hk.simulate(SIZED, fleet, method, hk.Until(updates=200))
        assert run.summary["updates"] == 200 and run.summary["virtual_time_s"] == 0.0


@pytest.mark.parametrize(
    ("until", "reason"),
    [
        (hk.Until(time=50.0), "time"),
        (hk.Until(updates=100), "updates"),
        (hk.Until(steps=7), "steps"),
        (hk.Until(bytes=2_000_000), "bytes"),
    ],
)
def test_limits(until: hk.Until, reason: str) -> None:
    run = hk.simulate(SIZED, hk.Fleet.synthetic(30), hk.strategies.fedbuff(5, 20), until)
    assert run.summary["finished"] == reason
    assert reason != "time" or run.summary["virtual_time_s"] == 50.0
    assert reason != "updates" or run.summary["updates"] == 100


def test_target_is_confirmed_and_reported_at_its_first_evaluation() -> None:
    task = hk.reference_tasks.gaussian(clients=30, samples=40)
    fleet = hk.Fleet.synthetic(30)
    run = hk.simulate(task, fleet, hk.strategies.fedbuff(5, 20), hk.Until(accuracy=0.7, confirm=3))
    good = [p for p in run.curve.points if p.metrics["accuracy"] >= 0.7]
    assert len(run.curve.points) >= 3 and all(p.metrics["accuracy"] >= 0.7 for p in run.curve.points[-3:])
    assert run.time_to(0.7) == run.curve.points[-3].time_ns / 1e9 < run.summary["virtual_time_s"]
    assert run.bytes_to(0.7).down >= run.bytes_to(0.7).up > 0 and len(good) >= 3
    assert run.time_to(0.999) is None and run.bytes_to(0.999) is None


def test_two_tasks_share_a_fleet() -> None:
    a = hk.reference_tasks.gaussian(clients=30, samples=40, name="a")
    b = hk.reference_tasks.gaussian(clients=30, samples=40, seed=1, name="b")
    method = hk.compose(
        hk.Strategy("fleet", pacing=hk.pacing.InFlight(in_flight=12, buffer={"a": 4, "b": 6})),
        hk.tasks(
            a=hk.Strategy("plain", task=hk.TaskPart(optimizer=hk.optimizer.Momentum(0.5, 0.5))),
            b=hk.Strategy("async", task=hk.TaskPart(merge=hk.merge.Mixing(0.3))),
        ),
    )
    run = hk.simulate([a, b], hk.Fleet.synthetic(30), method, hk.Until(accuracy=0.75), log=True)
    assert run.summary["finished"] == "target"
    shares = [run.summary["tasks"][t]["updates"] for t in "ab"]
    assert min(shares) > 0 and run.time_to(0.75, "a") and run.time_to(0.75, "b")
    alone = hk.simulate(a, hk.Fleet.synthetic(30), hk.strategies.fedbuff(4, 12), hk.Until(accuracy=0.75))
    assert alone.summary["tasks"].keys() == {"a"}
    with pytest.raises(InvalidInput, match="this run has tasks a, b; say which"):
        run.time_to(0.75)


class Calls(Struct):
    """What the asking policy saw."""

    seen: list[str] = []
    outcomes: dict[str, int] = {}


class Asking(Struct, frozen=True, tag="asking", tag_field="kind"):
    """Trains half of the model, keeps it at version 2, restores it at 4, evaluates a returned model, plans."""

    observes: ClassVar[tuple[type[on.Event], ...]] = (on.Stepped, on.Kept, on.Restored, on.Ranked, on.Evaluated,
                                                     on.Planned, on.Closed)  # fmt: skip

    def init(self, view: Any, task: str) -> Calls:
        return Calls()

    def cover(self, state: Calls, client: int) -> Cover:
        epoch = sum(name in ("Ranked", "Restored") for name in state.seen)
        return Cover(epoch, 100) if epoch else Cover()

    def observe(self, state: Calls, fact: on.Event, view: Any, now: int) -> Sequence[do.Request]:
        if isinstance(fact, on.Closed):
            state.outcomes[fact.outcome] = state.outcomes.get(fact.outcome, 0) + 1
            if fact.outcome == "accepted" and state.outcomes["accepted"] == 3:
                return [do.Evaluate("gaussian", "returned", "validation", fact.lease.id)]
            return []
        state.seen.append(type(fact).__name__ + (f":{fact.subject}" if isinstance(fact, on.Evaluated) else ""))
        if isinstance(fact, on.Stepped):
            at: dict[int, list[do.Request]] = {
                1: [do.Rank("gaussian")],
                2: [do.Keep("gaussian")],
                4: [do.Restore("gaussian")],
                6: [do.Plan("gaussian")],
            }
            return at.get(fact.node.version, [])
        return []


def test_policies_may_rank_keep_restore_evaluate_and_plan() -> None:
    task = hk.reference_tasks.gaussian(clients=30, samples=40)
    method = hk.compose(
        hk.strategies.fedbuff(5, 20),
        hk.Strategy("asking", task=hk.TaskPart(submodel=Asking(), optimizer=hk.optimizer.Momentum(1.0, 0.9))),
    )
    setup = Setup.of(task, method, hk.Until(steps=8))
    sim = prepare(setup, hk.Fleet.synthetic(30), planner=lambda t, s: on.Planned(t, (1 / 30,) * 30, 20))
    kept: dict[int, bytes] = {}
    engine = sim.engine
    while not engine.run(1):
        engine.server.validate()
        x = engine.book.model("gaussian")
        kept.setdefault(engine.server.view.tasks["gaussian"].version, x.tobytes())
    memory = engine.server.state.memories["submodel.gaussian"]
    for name in ("Ranked", "Kept", "Restored", "Planned", "Evaluated:returned", "Evaluated:published"):
        assert name in memory.seen, name
    assert kept[5] == kept[2] != kept[3]  # version 4 was restored at once: 5 is what was kept at 2
    assert engine.server.view.tasks["gaussian"].epoch == 2  # one ranking, one restore
    covers = {lease.cover for lease in engine.server.view.leases.values()}
    assert covers <= {Cover(1, 100), Cover(2, 100), Cover()} and Cover(2, 100) in covers
    assert memory.outcomes["accepted"] == engine.server.state.updates


def test_a_plan_for_a_matching_that_the_planner_does_not_know_is_refused() -> None:
    task = hk.reference_tasks.gaussian(clients=30, samples=40)
    method = hk.compose(hk.strategies.fedbuff(5, 20), hk.Strategy("a", task=hk.TaskPart(submodel=Asking())))
    with pytest.raises(InvalidInput, match="matching Uniform asks for a plan; this planner answers matching planned"):
        hk.simulate(task, hk.Fleet.synthetic(30), method, hk.Until(steps=8))


class Ahead(Struct, frozen=True, tag="ahead", tag_field="kind"):
    """Draws the cohort of version v + 2 at version v."""

    observes: ClassVar[tuple[type[on.Event], ...]] = ()
    looks_ahead: ClassVar[bool] = True
    window: int = 2

    def init(self, view: Any) -> "Cohorts":
        return Cohorts()

    def match(self, state: "Cohorts", slots: Any, view: Any, key: int) -> list[Pick]:
        ((task, n),) = slots.items()
        mine = state.of.pop(view.tasks[task].version, [])
        chosen = [c for c in mine if c in view.idle] + [c for c in view.idle if c not in mine]
        return [Pick(task, c, 1 / 30) for c in chosen[:n]]

    def ahead(self, state: "Cohorts", slots: Any, view: Any, key: int) -> list[Pick]:
        version = view.tasks["task"].version + self.window
        if version in state.of:
            return []
        state.of[version] = [(key + 7 * i) % 30 for i in range(5)]
        return [Pick("task", c, 1 / 30, for_version=version) for c in state.of[version]]

    def observe(self, state: Any, fact: on.Event, view: Any, now: int) -> Sequence[do.Request]:
        return ()


class Cohorts(Struct):
    """Cohorts by version."""

    of: dict[int, list[int]] = {}


class Early(Struct, frozen=True, tag="early", tag_field="kind"):
    """Everybody chosen ahead may fetch from the version before on."""

    observes: ClassVar[tuple[type[on.Event], ...]] = ()

    def init(self, view: Any) -> None:
        return None

    def starts(self, state: None, picks: Sequence[Pick], view: Any, estimate: Any) -> list[tuple[int, str, int, int]]:
        assert estimate.full == 10_028 and len(estimate.down) == 30
        return [(p.client, p.task, p.for_version - 1, 0) for p in picks]

    def observe(self, state: None, fact: on.Event, view: Any, now: int) -> Sequence[do.Request]:
        return ()


def test_prefetching_moves_bytes_off_the_critical_path() -> None:
    """The contract of prefetch end to end: cohorts drawn ahead fetch early; sizes are those of the full model."""
    method = hk.Strategy("early", hk.pacing.Rounds(cohort=5), Ahead(), Early())
    sim = prepare(Setup.of(SIZED, method, hk.Until(steps=12)), EQUAL, log=True)
    engine = sim.engine
    while not engine.run(1):
        engine.server.validate()
    totals = engine.world.totals()
    offered = int((engine.log.table()["kind"].to_numpy() == KINDS.index("offered")).sum())
    assert offered >= 10 * 5 - 10
    assert totals["prefetched"] > 0 and totals["critical"] > 0
    assert totals["down"] == sum(totals[k] for k in ("critical", "prefetched", "overcommitted", "wasted"))
