"""Prefetch for routes drawn ahead: each client begins as far ahead as its link needs."""

from math import sqrt

import numpy as np
import pytest
from msgspec.structs import replace

import hocket as hk
from hocket import events as on
from hocket.codec import QSGD, TopK
from hocket.downlink import Combined
from hocket.errors import InvalidInput
from hocket.lease import Node
from hocket.matching import RouteAhead
from hocket.policies import Estimate, Pick
from hocket.prefetch import NextRoutes
from hocket.record.log import KINDS
from hocket.reproduce.fedfetch_ahead import waits
from hocket.setup import Setup
from hocket.simulation.run import Simulation, prepare
from hocket.snapshot import pack, unpack
from hocket.testing.moments import empty_view
from hocket.until import SECOND

N = 40
RATES = np.geomspace(1e3, 1e6, N)


def everybody():
    view = empty_view(N, ("a",))
    for c in range(N):
        view.online.add(c)
        view.idle.add(c)
    return view


def followed(policy: NextRoutes, routes: int, taken: int, gap: float = 2.0):
    """State after so many routes were taken, one every ``gap`` seconds, and how far ahead of its own each began."""
    view, state, number = everybody(), policy.init(everybody()), 0
    ahead: dict[int, int] = {}
    line: list[int] = []
    for step in range(taken + 1):
        new = routes if step == 0 else 1
        picks = [Pick("a", (7 * (number + i)) % N, 1 / N, for_version=0) for i in range(new)]
        number += new
        line = (line if step == 0 else line[1:]) + [p.client for p in picks]
        state.now = round(step * gap * SECOND)
        for c, task, _, at in policy.starts(state, picks, view, Estimate(100_000, RATES)):
            assert (task, at) == ("a", 0)
            ahead[c] = line.index(c)
    return state, view, ahead


def test_each_client_begins_as_many_routes_ahead_as_are_taken_while_it_fetches():
    policy = NextRoutes(margin=2.0, rates="known")
    _, _, ahead = followed(policy, 120, 600)
    for c, rate in enumerate(RATES):
        routes = 100_000 / rate / 2.0
        wanted = min(1 + routes + 2 * sqrt(routes), 119)
        if wanted < N - 2:  # a client comes again every 40 routes
            assert ahead[c] == pytest.approx(wanted, abs=2)
    assert ahead[0] > 20 > 2 >= ahead[N - 1]


def test_whoever_has_begun_is_offered_every_version_until_its_turn():
    policy = NextRoutes(rates="known")
    state, view, _ = followed(policy, 20, 100)
    offers = policy.observe(state, on.Stepped("a", Node("a", 1), 3, 500), view, state.now)
    assert {o.client for o in offers} == set(state.lines["a"].begun) and offers
    view.online.discard(offers[0].client)
    again = policy.observe(state, on.Stepped("a", Node("a", 2), 3, 500), view, state.now)
    assert offers[0].client not in {o.client for o in again}
    back = policy.observe(state, on.Joined((offers[0].client,)), view, state.now)
    assert [o.client for o in back] == [offers[0].client]


def test_a_snapshot_goes_on_as_it_would_have():
    policy = NextRoutes(rates="known")
    state, view, _ = followed(policy, 20, 60)
    other = unpack(pack(state), type(state))
    picks = [Pick("a", 3, 1 / N, for_version=0)]
    for s in (state, other):
        s.now += SECOND
    assert policy.starts(state, picks, view, Estimate(10, RATES)) == policy.starts(
        other, picks, view, Estimate(10, RATES)
    )
    assert pack(state) == pack(other)


def test_known_rates_must_be_known():
    policy = NextRoutes(rates="known")
    with pytest.raises(InvalidInput, match=r"next_routes\.rates = 'known'"):
        policy.starts(policy.init(everybody()), [Pick("a", 0, 1.0)], everybody(), Estimate(10))


def test_clients_hardly_wait_and_hardly_fetch_more():
    """Links a thousand times apart, a message a fiftieth of the model."""
    task = hk.Task.sized(parameters=100_000, clients=200, local=hk.LocalSGD(lr=0.1, batch_size=10, steps=10))
    rates = np.random.default_rng(0).permutation(np.geomspace(4e3, 4e6, 200))
    fleet = hk.Fleet(compute=np.full(200, 0.02), down=rates, up=np.full(200, 1e6))
    plain = hk.strategies.fedbuff(buffer=10, in_flight=10)
    plain = replace(plain, task=replace(plain.task, downlink=Combined(TopK(0.01))))
    early = replace(plain, matching=RouteAhead(routes=400), prefetch=NextRoutes(margin=3.0))
    runs = [hk.simulate(task, fleet, s, hk.Until(updates=4000), log=True) for s in (plain, early)]
    (before, n), (after, m) = (waits(r) for r in runs)
    assert before > 3 * after
    down = [r.summary["bytes"]["down"] / k for r, k in zip(runs, (n, m), strict=True)]
    assert down[1] < 1.2 * down[0]
    assert runs[1].summary["staleness"]["mean"] == pytest.approx(runs[0].summary["staleness"]["mean"], rel=0.1)


# --- who cannot follow ---------------------------------------------------------------------------------------

SLOW = 4  # of 60 devices, whose links carry a message in six steps
HOLD = 60


def holding(hold: int, updates: int = 800, seed: int = 0) -> Simulation:
    """A small training of which some links are too slow to follow."""
    task = hk.reference_tasks.gaussian(60, 4, 8, samples=20, local=hk.LocalSGD(lr=0.1, batch_size=10, steps=2))
    rates = np.where(np.arange(60) < SLOW, 16.0, 1e4)
    fleet = hk.Fleet(compute=np.linspace(0.01, 0.1, 60), down=rates, up=np.full(60, 1e4))
    method = replace(
        hk.strategies.qafel(5, 8, QSGD(bits=4), QSGD(bits=4)),
        matching=RouteAhead(routes=200),
        prefetch=NextRoutes(hold=hold),
    )
    return prepare(Setup.of(task, method, hk.Until(updates=updates), seed=seed), fleet, log=True)


def finished(sim: Simulation) -> Simulation:
    while not sim.engine.run(200):
        sim.engine.server.validate()
    return sim


def test_who_cannot_follow_trains_on_what_it_fetched_and_its_update_is_as_old_as_that():
    runs = {hold: finished(holding(hold)) for hold in (0, HOLD)}
    waited, ages = {}, {}
    for hold, sim in runs.items():
        version, assigned, waits_of_slow = 0, {}, []
        old = ages[hold] = []
        for row in sim.engine.log.table().to_pylist():
            kind = KINDS[row["kind"]]
            if kind == "stepped":
                version = row["value"]
            elif kind == "assigned":
                old.append((row["client"] < SLOW, version - row["value"]))
                assigned[row["lease"]] = row["time_ns"]
            elif kind == "started" and row["client"] < SLOW:
                waits_of_slow.append((row["time_ns"] - assigned[row["lease"]]) / 1e9)
        waited[hold] = np.mean(waits_of_slow)
    assert not any(age for _, age in ages[0])
    assert any(age for slow, age in ages[HOLD] if slow) and not any(age for slow, age in ages[HOLD] if not slow)
    assert max(age for _, age in ages[HOLD]) <= HOLD
    assert waited[HOLD] < 0.6 * waited[0], "their first jobs included, before their links were known"
    mean = [sim.engine.ledger.staleness_summary()["mean"] for sim in runs.values()]
    assert mean[1] > mean[0]


def test_the_values_that_are_held_are_those_that_were_published_and_are_freed():
    sim = holding(HOLD, 600)
    book, published = sim.engine.book, {}
    shelf = book.shelves["gaussian"]
    older, most = 0, 0
    while not sim.engine.run(1):
        published.setdefault(shelf.node.version, book.model("gaussian").copy())
        for lease in sim.engine.server.view.leases.values():
            older += lease.version < shelf.node.version and lease.started < 0
            np.testing.assert_array_equal(book.start(lease), published[lease.version])
        most = max(most, len(shelf.values))
    assert older > 10
    assert most <= 8 + 5 + SLOW + 2, "in flight, in line, held, the newest two"


def test_a_run_that_holds_goes_on_from_a_checkpoint():
    whole, first, second = (holding(HOLD, 400) for _ in range(3))
    whole.engine.run(10**9)
    first.engine.run(900)
    lines = first.engine.server.state.memories["prefetch"].lines["gaussian"]
    assert lines.bases and first.engine.book.shelves["gaussian"].based
    second.engine.server.restore(first.engine.server.snapshot())
    second.engine.book.restore(first.engine.book.snapshot())
    world = first.engine.freeze()
    second.engine.thaw(unpack(pack(world), type(world)))
    second.engine.run(10**9)
    assert pack(second.engine.server.state) == pack(whole.engine.server.state)
    assert second.engine.book.model("gaussian").tobytes() == whole.engine.book.model("gaussian").tobytes()


def test_holding_is_refused_where_it_cannot_be():
    plain = replace(hk.strategies.fedbuff(5, 8), matching=RouteAhead(routes=20), prefetch=NextRoutes(hold=10))
    limited = replace(plain, task=replace(plain.task, guard=hk.guard.Staleness(limit=5)))
    task = hk.Task.sized(parameters=100, clients=10)
    with pytest.raises(InvalidInput, match=r"hold a model for 10 versions, the guard refuses updates older than 5"):
        Setup.of(task, limited, hk.Until(updates=5))
    with pytest.raises(InvalidInput, match=r"next_routes\.hold = -1"):
        NextRoutes(hold=-1)
