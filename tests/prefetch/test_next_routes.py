"""Prefetch for routes drawn ahead: each client begins as far ahead as its link needs."""

from math import sqrt

import numpy as np
import pytest
from msgspec.structs import replace

import hocket as hk
from hocket import events as on
from hocket.codec import TopK
from hocket.downlink import Combined
from hocket.errors import InvalidInput
from hocket.lease import Node
from hocket.matching import RouteAhead
from hocket.policies import Estimate, Pick
from hocket.prefetch import NextRoutes
from hocket.reproduce.fedfetch_ahead import waits
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
