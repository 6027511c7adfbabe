"""FedFetch: exactness on a small training, catching up, schedules, bytes and sizes."""

from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
from msgspec import Struct
from msgspec.structs import force_setattr, replace

import hocket as hk
from hocket import actions as do
from hocket import events as on
from hocket.client import Client
from hocket.codec import EDEN, LFL, QSGD, Glue, PowerSGD, TopK
from hocket.downlink import Combined
from hocket.downlink.overlap import density, gap_bits, masked
from hocket.lease import ALL, Lease, Node
from hocket.matching import Presample, Uniform
from hocket.policies import Pick
from hocket.prefetch import Calendar
from hocket.prefetch.estimate import fetch_times
from hocket.record.log import KINDS
from hocket.reproduce import fedfetch as figures
from hocket.schema import Schema, Segment
from hocket.setup import Setup
from hocket.simulation.run import Simulation, prepare
from hocket.strategies.fedfetch import fedfetch

CLIENTS, COHORT = 40, 5
CODECS = {
    "stc": TopK(0.2),
    "glue": Glue(0.2),
    "qsgd": QSGD(bits=4, bucket=32),
    "lfl": LFL(bits=4),
    "eden": EDEN(bits=4),
    "powersgd": PowerSGD(2),
}


@cache
def task() -> hk.Task:
    local = hk.LocalSGD(lr=0.05, batch_size=10, steps=3)
    return hk.reference_tasks.gaussian(CLIENTS, 10, 16, samples=30, alpha=0.3, local=local, hidden=(16,), held_out=200)


def fleet() -> hk.Fleet:
    """Links slow enough for a model to take seconds."""
    rates = 300.0 * 1.2 ** np.arange(CLIENTS)
    return hk.Fleet(compute=np.full(CLIENTS, 0.05), down=rates, up=rates * 2)


class Scripted(Struct, frozen=True, tag="scripted", tag_field="kind"):
    """The n-th cohort it draws is a function of n, whenever it is drawn."""

    observes: ClassVar[tuple[type[on.Event], ...]] = ()

    def init(self, view: Any) -> "Count":
        return Count()

    def match(self, state: "Count", slots: Any, view: Any, k: int) -> list[Pick]:
        ((name, count),) = slots.items()
        state.drawn += 1
        order = np.random.default_rng(state.drawn).permutation(CLIENTS)
        return [Pick(name, int(c), 1 / CLIENTS) for c in order[:count]]

    def ahead(self, state: "Count", slots: Any, view: Any, k: int) -> list[Pick]:
        return []

    def observe(self, state: "Count", fact: on.Event, view: Any, now: int) -> Sequence[Any]:
        return ()


class Count(Struct, tag=True):
    """Cohorts drawn so far."""

    drawn: int = 0


def pinned(codec: Any, window: int) -> hk.Strategy:
    """The same cohorts with and without prefetch, all of them accepted, sums that do not depend on the order."""
    method = fedfetch(COHORT, 1.0, window, codec, warm_up=0)
    matching: Any = Scripted()
    if window:
        matching = Presample(Uniform(), window)
        force_setattr(matching, "sampler", Scripted())  # a field that takes only samplers of ours
    return replace(method, matching=matching, task=replace(method.task, merge=hk.merge.MeanByCount("free")))


def trained(method: hk.Strategy, rounds: int = 14) -> Simulation:
    setup = Setup.of(task(), method, hk.Until(steps=rounds), seed=3)
    sim = prepare(setup, fleet(), log=True)
    return sim


def finish(sim: Simulation) -> dict[int, list[float]]:
    """Run to the end; accuracy and loss by version."""
    while not sim.engine.run(100):
        sim.engine.server.validate()
    return {p.version: [p.metrics["accuracy"], p.metrics["loss"]] for p in sim.curve.points}


@pytest.mark.parametrize("name", CODECS)
def test_the_same_cohorts_learn_the_same_bit_for_bit_with_and_without_prefetch(name):
    plain, early = (trained(pinned(CODECS[name], window)) for window in (0, 3))
    assert finish(plain) == finish(early)
    one, other = (sim.engine.book.model("gaussian") for sim in (plain, early))
    assert one.tobytes() == other.tobytes() and np.isfinite(one).all()
    assert early.engine.world.totals()["prefetched"] > 0
    assert early.engine.now < plain.engine.now


@pytest.mark.parametrize("name", CODECS)
def test_a_client_that_follows_the_edges_holds_the_servers_model_bit_for_bit(name):
    sim = trained(fedfetch(COHORT, 1.3, 0, CODECS[name]), 30)
    book = sim.engine.book
    downlink, schema = sim.strategy.tasks["gaussian"].downlink, task().schema
    nodes, values = [book.shelves["gaussian"].node], [np.array(book.model("gaussian"))]
    step = book.step

    def stepping(which: str, keep: tuple[int, ...] = ()) -> on.Stepped:
        done = step(which, keep)
        nodes.append(done.node)
        values.append(np.array(book.model("gaussian")))
        return done

    book.step = stepping
    while not sim.engine.run(100):
        pass
    state, last, full = book.shelves["gaussian"].downlink, nodes[-1], None
    for behind in (1, 2, 3, 7, 15, 30):
        have, held = nodes[-1 - behind], values[-1 - behind]
        edges = downlink.path(state, have, last, schema)
        full = full or sum(e.size for e in downlink.path(state, None, last, schema))
        assert sum(e.size for e in edges) <= full
        for edge in edges:
            data = downlink.open(state, edge, values[edge.target.version], schema)
            assert not edge.exact or len(data) == edge.size
            held = downlink.apply(held, edge, data, schema)
        assert held.tobytes() == values[-1].tobytes()


def test_without_a_window_it_is_the_baseline():
    method = fedfetch(COHORT, 1.3, 0)
    wrapped = replace(method, matching=Presample(Uniform("skip"), 0), prefetch=Calendar(1.3))
    one, other = trained(method), trained(wrapped)
    assert finish(one) == finish(other)
    assert one.engine.now == other.engine.now
    assert one.engine.world.totals() == other.engine.world.totals()
    assert one.engine.log.table().equals(other.engine.log.table())


# --- the event log -------------------------------------------------------------------------------------------


SIZED = hk.Task.sized(parameters=100_000, clients=CLIENTS, local=hk.LocalSGD(lr=0.1, batch_size=10, steps=10))


def world(method: hk.Strategy, rounds: int = 40, **fields: Any) -> hk.Run:
    rates = 5e3 * 1.12 ** np.arange(CLIENTS)
    devices = hk.Fleet(compute=np.full(CLIENTS, 0.02), down=rates, up=rates * 4, **fields)
    return hk.simulate(SIZED, devices, method, hk.Until(steps=rounds), log=True)


def test_a_client_fetches_before_it_is_assigned_and_then_only_the_last_update():
    run = world(fedfetch(COHORT, 1.3, 3))
    table = run.log.table().to_pylist()
    names = [(KINDS[r["kind"]], r["client"], r["lease"], r["value"], r["time_ns"]) for r in table]
    early = {(c, t) for kind, c, lease, _, t in names if kind == "fetched" and lease < 0}
    assert early
    last = dict.fromkeys(range(CLIENTS), "")
    small = 0
    for kind, c, lease, value, _ in names:
        if kind == "fetched":
            if lease >= 0 and last[c] == "early":
                small += value < 150_000
            last[c] = "early" if lease < 0 else "work"
    assert small > 20
    b = run.summary["bytes"]
    assert b["down"] == b["critical"] + b["prefetched"] + b["overcommitted"] + b["wasted"]
    assert b["wasted"] == 0 < b["prefetched"]


def test_the_estimate_is_what_the_engine_does():
    """Clients that prefetch wait in their round for what the arithmetic said, when lengths and sizes are as assumed."""
    n, window, length, full = 12, 3, 30.0, 100_000
    rate = np.geomspace(4e2, 2e4, n)
    sizes = [0, 20_000, 36_000, 48_800]
    base = np.full((n, window + 1), float(full))
    times = fetch_times(base, np.array(sizes, float), rate, length, shortest=True)
    assert (times < fetch_times(base, np.array(sizes, float), rate, length)).any(), "some give up what they began"
    for client in range(n):
        for start in range(window + 1):
            assert waited(rate[client], start, window, length, full, sizes) == pytest.approx(
                times[client, start], rel=1e-6, abs=1e-6
            )


LOCAL = hk.LocalSGD(lr=0.1, batch_size=10)


def waited(rate: float, start: int, window: int, length: float, full: int, sizes: list[int]) -> float:
    """Seconds that the device of the engine waits in its round: offers, a lease, transfers at a rate."""
    holds: dict[str, Any] = {"a": [None]}
    client = Client(0, holds)
    now, under_way, queue = 0.0, None, []
    begun = None

    def carry(actions: list[Any]) -> None:
        nonlocal under_way, begun
        for a in actions:
            if isinstance(a, do.Fetch):
                size = full if a.have is None else sizes[a.node.version - a.have.version]
                under_way = (now + size / rate, a)
            elif isinstance(a, on.Started):
                begun = now

    events = [(r * length, r) for r in range(start, window + 1)]
    queue = [*events]
    while begun is None:
        if queue and (under_way is None or queue[0][0] <= under_way[0]):
            now, r = queue.pop(0)
            if r == window:
                lease = Lease(0, "a", 0, 0, Node("a", window), ALL, LOCAL, 0, 0)
                carry(client.handle(on.Assigned(lease), 0))
                if client.offer is not None and under_way is not None:
                    _, offer = under_way
                    direct = full if offer.have is None else sizes[window - offer.have.version]
                    if direct < (under_way[0] - now) * rate + sizes[window - offer.node.version]:
                        carry(client.handle(on.Cancelled(-1, 0), 0))
            else:
                carry(client.handle(on.Offered(0, Node("a", r)), 0))
        else:
            assert under_way is not None
            now, fetch = under_way
            under_way = None
            carry(client.handle(on.Fetched(fetch.lease, 0, fetch.node, 1), 0))
    return begun - window * length


@pytest.mark.parametrize("codec", [TopK(0.2), QSGD(bits=4, bucket=128)])
def test_nobody_waits_longer_for_having_begun_early(codec):
    """Links that need up to fourteen rounds for the model; what is under way when a round begins is finished only if
    that is the shorter way."""

    def waits(giving_up: bool) -> np.ndarray:
        setup = Setup.of(SIZED, fedfetch(COHORT, 1.0, 3, codec, naive=True, warm_up=0), hk.Until(steps=40))
        rates = 5e2 * 1.3 ** np.arange(CLIENTS)
        sim = prepare(setup, hk.Fleet(compute=np.full(CLIENTS, 0.02), down=rates, up=np.full(CLIENTS, 1e6)), log=True)
        if not giving_up:
            sim.engine.book.shorter = lambda *_: False
        while not sim.engine.run(1000):
            pass
        out = []
        assigned: dict[int, tuple[int, int]] = {}
        for row in sim.engine.log.table().to_pylist():
            if KINDS[row["kind"]] == "assigned":
                assigned[row["lease"]] = row["time_ns"], row["client"]
            elif KINDS[row["kind"]] == "started":
                begun, c = assigned[row["lease"]]
                out.append((row["time_ns"] - begun) / 1e9 * rates[c] / (4 * SIZED.schema.size))
        return np.array(out)

    assert waits(True).max() < 1.001 < waits(False).max(), "the whole model, and the frame around it"


def test_who_leaves_is_replaced_and_what_it_fetched_is_lost():
    availability = hk.fleet.Renewal(on=60.0, off=60.0)
    run = world(fedfetch(COHORT, 1.3, 3), 60, availability=availability)
    b = run.summary["bytes"]
    assert run.summary["updates"] == 60 * COHORT
    assert b["down"] == b["critical"] + b["prefetched"] + b["overcommitted"] + b["wasted"]
    assert b["wasted"] > 0 < b["prefetched"]


def test_the_same_seed_gives_the_same_schedule_and_another_process_too():
    one, other = (world(fedfetch(COHORT, 1.3, 3)) for _ in range(2))
    assert one.log.table().equals(other.log.table()) and one.summary == other.summary


# --- sizes ---------------------------------------------------------------------------------------------------


def test_sizes_of_masks():
    n = 5_505_862
    assert [gap_bits(p) for p in (0.01, 0.04, 0.1, 0.2, 0.3, 0.5)] == pytest.approx(
        [8.108, 6.085, 4.756, 3.694, 2.961, 2.0], abs=5e-4
    )
    independent = [masked(n, 0.2, k, None) / (4 * n) for k in (1, 2, 3, 5, 8, 10)]
    assert independent == pytest.approx([0.223, 0.390, 0.519, 0.704, 0.863, 0.924], abs=0.002)
    alike = [density(0.2, k) for k in (1, 2, 3, 5, 8, 10, 15, 20, 30, 40, 50)]
    assert alike == pytest.approx([0.2, 0.342, 0.447, 0.591, 0.716, 0.769, 0.848, 0.891, 0.934, 0.955, 0.967], abs=6e-4)
    sizes = [masked(n, 0.2, k) for k in range(1, 60)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("codec", "share", "whole"), [(LFL(4), 0.125, 8), (QSGD(4, 128), 0.133, 8), (EDEN(4), 0.126, 8)]
)
def test_quantized_updates_add_up_until_the_model_is_shorter(codec, share, whole):
    schema = Schema((Segment("w", (5_505_862,)),))
    downlink = Combined(codec)
    state = downlink.init(schema)
    nodes = [downlink.commit(state, "a", None, None, v, 0)[2] for v in range(12)]
    spans = [sum(e.size for e in downlink.path(state, nodes[-1 - k], nodes[-1], schema)) for k in range(1, 12)]
    assert spans[0] / schema.nbytes == pytest.approx(share, abs=0.005)
    assert spans[: whole - 2] == [k * spans[0] for k in range(1, whole - 1)]
    assert set(spans[whole - 1 :]) == {state.full}


def test_low_rank_updates_cost_their_factors():
    schema = Schema((Segment("w", (512, 1024)), Segment("b", (512,))))
    assert PowerSGD(16).size(schema)[0] == 4 * (16 * (512 + 1024) + 512)


@pytest.mark.parametrize("make", [hk.strategies.stc, hk.strategies.qsgd, hk.strategies.lfl, hk.strategies.eden])
def test_every_baseline_runs_with_and_without_prefetch(make):
    plain, early = (world(make(cohort=COHORT, prefetch_window=w), 30) for w in (0, 3))
    assert early.summary["virtual_time_s"] < plain.summary["virtual_time_s"]
    assert plain.summary["bytes"]["prefetched"] == 0 < early.summary["bytes"]["prefetched"]


def test_gluefl_keeps_its_groups_with_and_without_prefetch():
    for window in (0, 3):
        method = hk.strategies.gluefl(cohort=6, newcomers=2, group=12, prefetch_window=window)
        sim = prepare(Setup.of(task(), method, hk.Until(steps=15)), fleet(), log=True)
        finish(sim)
        state = sim.engine.server.state
        members = state.memories["matching"]
        group = (members.sampler if window else members).groups["gaussian"]
        assert len(group) == 12 and state.updates >= 15 * 6
        assert sim.engine.world.totals()["prefetched"] > 0 or not window


# --- devices like the authors' -------------------------------------------------------------------------------


@cache
def took(codec: str, window: int, seed: int = 0, **more: Any) -> figures.Figures:
    """300 devices drawn from the quantiles of the authors', 13 asked for 10 in each of 200 rounds."""
    local = hk.LocalSGD(lr=0.01, batch_size=20, steps=10)
    task = hk.Task.sized(parameters=figures.PARAMETERS, clients=300, local=local)
    devices = hk.Fleet.synthetic(300, seed=1, augmentation=0.4)
    method = fedfetch(10, 1.3, window, figures.CODECS[codec], **more)
    return figures.figures(hk.simulate(task, devices, method, hk.Until(steps=200), seed=seed, log=True))


@pytest.mark.parametrize(("codec", "time"), [("stc", 1.1), ("lfl", 1.15)])
def test_prefetch_saves_time_and_waiting_and_costs_bytes(codec, time):
    plain, early = took(codec, 0), took(codec, 3)
    assert time < plain.total / early.total < 1.5
    assert plain.mean / early.mean > 2
    assert 1.05 < early.moved / plain.moved < 1.3
    assert early.bytes["up"] / plain.bytes["up"] == pytest.approx(1, abs=0.03)


def test_everybody_early_is_as_fast_and_costs_far_more():
    plain, naive, planned = took("stc", 0), took("stc", 3, naive=True), took("stc", 3)
    assert naive.total / planned.total == pytest.approx(1, abs=0.05)
    assert naive.moved / plain.moved - 1 > 1.8 * (planned.moved / plain.moved - 1)


def test_slack_saves_bytes_and_costs_time():
    some = [took("stc", 3, slack=s) for s in (0.0, 0.5, 1.0)]
    assert [f.moved for f in some] == sorted((f.moved for f in some), reverse=True)
    assert [f.total for f in some] == sorted(f.total for f in some)


def test_leaving_the_hopeless_out_costs_fewer_bytes_for_the_same_time():
    paper, lean = took("lfl", 3), took("lfl", 3, by="finish", reach=1.5)
    assert lean.moved < paper.moved and lean.total < 1.06 * paper.total


def test_devices_alike_all_start_one_round_early_and_gain():
    local = hk.LocalSGD(lr=0.01, batch_size=20, steps=10)
    task = hk.Task.sized(parameters=figures.PARAMETERS, clients=60, local=local)
    devices = hk.Fleet.equal(60, compute=0.02, down=8e6, up=8e6)
    sims = [
        prepare(Setup.of(task, fedfetch(20, 1.3, w, LFL(4), rates="known"), hk.Until(steps=60)), devices)
        for w in (0, 3)
    ]
    seen = []
    while not sims[1].engine.run(50):
        calendar = sims[1].engine.server.state.memories["prefetch"].tasks["task"]
        seen += [v - s for v, clients in calendar.running.items() if v > 20 for s in clients.values()]
    while not sims[0].engine.run(50):
        pass
    assert set(seen) == {1}
    plain, early = (sim.engine.world.totals() for sim in sims)
    assert sims[1].engine.now < 0.95 * sims[0].engine.now
    moved = [b["up"] + b["down"] for b in (plain, early)]
    assert moved[1] / moved[0] <= 1.1
