"""Cohorts and routes drawn ahead, sticky groups: who is drawn, replaced, handed out."""

from collections import Counter

import pytest
from msgspec.structs import replace

from hocket import events as on
from hocket.errors import InvalidInput
from hocket.keyed import key
from hocket.lease import Node
from hocket.matching import Presample, RouteAhead, Sticky, Uniform, Weighted
from hocket.matching.sticky import NEWCOMER, STICKY
from hocket.pacing import StickyRounds
from hocket.prefetch import Calendar, NextRoutes
from hocket.snapshot import pack
from hocket.testing.moments import empty_view, lease
from hocket.view import View

N = 60


def view(version: int = 0, away: tuple[int, ...] = (), busy: tuple[int, ...] = ()) -> View:
    """Everybody online and idle but for a few."""
    out = empty_view(N, ("a",))
    out.tasks["a"].node = Node("a", version)
    for c in range(N):
        if c not in away:
            out.online.add(c)
            if c not in busy:
                out.idle.add(c)
    return out


def drawn(policy: Presample, rounds: int = 8):
    """State and the cohorts that were drawn ahead, round by round."""
    state, cohorts = policy.init(view()), {}
    for v in range(rounds):
        given = policy.match(state, {"a": 5}, view(v), key("match", v))
        if v in cohorts:
            assert [p.client for p in given] == cohorts[v], "a cohort drawn ahead gets its round"
        for p in policy.ahead(state, {}, view(v), key("ahead", v)):
            cohorts.setdefault(p.for_version, []).append(p.client)
        assert policy.ahead(state, {}, view(v), key("again", v)) == [], "each is drawn once"
    return state, cohorts


def test_cohorts_are_drawn_so_many_rounds_ahead_and_handed_out_in_their_round():
    _, cohorts = drawn(Presample(rounds=3))
    assert sorted(cohorts) == list(range(1, 11))
    assert all(len(set(c)) == len(c) == 5 for c in cohorts.values())
    assert len({tuple(c) for c in cohorts.values()}) == len(cohorts)


def test_busy_clients_can_be_drawn_ahead():
    policy = Presample(rounds=1)
    state = policy.init(view())
    policy.match(state, {"a": 5}, view(), 1)
    busy = tuple(range(55))
    (picks,) = [policy.ahead(state, {}, view(0, busy=busy), 2)]
    assert len(picks) == 5 and any(p.client in busy for p in picks)


def test_who_leaves_is_replaced_and_missing_ones_are_drawn_on_the_spot():
    policy = Presample(rounds=2)
    state = policy.init(view())
    policy.match(state, {"a": 5}, view(), 1)
    picks = policy.ahead(state, {}, view(), 2)
    gone = next(p.client for p in picks if p.for_version == 1)
    policy.observe(state, on.Left(gone), view(0, (gone,)), 0)
    lost = [p.for_version for p in picks if p.client == gone]
    new = policy.ahead(state, {}, view(0, (gone,)), 3)
    assert sorted(p.for_version for p in new) == sorted(lost) and all(p.client != gone for p in new)
    cohort = {p.client for p in state.cohorts["a"][1]}
    assert len(cohort) == 5 and gone not in cohort
    away = tuple(sorted(cohort)[:3])
    given = policy.match(state, {"a": 5}, view(1, (*away, gone)), 4)
    assert len({p.client for p in given}) == 5 and not {p.client for p in given} & {*away, gone}


def test_without_replacement_a_cohort_stays_short_until_its_round():
    policy = Presample(rounds=1, replace=False)
    state = policy.init(view())
    policy.match(state, {"a": 5}, view(), 1)
    first = policy.ahead(state, {}, view(), 2)[0].client
    policy.observe(state, on.Left(first), view(0, (first,)), 0)
    assert policy.ahead(state, {}, view(0, (first,)), 3) == []
    assert len(policy.match(state, {"a": 5}, view(1, (first,)), 4)) == 5


def test_a_replacement_is_of_the_same_group():
    policy = Presample(Sticky(group=20, cohort=10, newcomers=3), rounds=1)
    state = policy.init(view())
    policy.match(state, {"a": 10}, view(), 1)
    picks = policy.ahead(state, {}, view(), 2)
    assert Counter(p.group for p in picks) == {STICKY: 7, NEWCOMER: 3}
    for group in (STICKY, NEWCOMER):
        gone = next(p.client for p in picks if p.group == group)
        policy.observe(state, on.Left(gone), view(0, (gone,)), 0)
        (new,) = policy.ahead(state, {}, view(0, (gone,)), key(group))
        assert new.group == group and new.client != gone


def test_a_sticky_group_keeps_its_size_and_weights_add_up():
    policy = Sticky(group=20, cohort=10, newcomers=3)
    state = policy.init(view())
    for v in range(5):
        picks = policy.match(state, {"a": 10}, view(v), key(v))
        group = state.groups["a"]
        assert all((p.client in group) == (p.group == STICKY) for p in picks)
        assert sum(p.weight for p in picks) == pytest.approx(10)
        new = [p.client for p in picks if p.group == NEWCOMER]
        for p in picks:
            done = replace(lease(p.client, client=p.client), group=p.group)
            policy.observe(state, on.Closed(done, "accepted"), view(v), 0)
        policy.observe(state, on.Stepped("a", Node("a", v + 1), 10), view(v + 1), 0)
        assert len(group) == 20 and all(c in group for c in new)


def test_overcommitted_newcomers_are_as_published():
    assert Sticky(120, 30, 6).asked(39) == 14 and Sticky(120, 30, 6).asked(30) == 6


def test_routes_ahead_are_kept_and_taken_in_turn():
    policy = RouteAhead(Uniform("queue"), routes=4)
    state = policy.init(view())
    first = policy.ahead(state, {}, view(), 1)
    assert len(first) == 4 and policy.ahead(state, {}, view(), 2) == []
    given = policy.match(state, {"a": 3}, view(), 3)
    assert [p.client for p in given] == [p.client for p in first[:3]]
    assert len(policy.ahead(state, {}, view(), 4)) == 3
    away = first[3].client
    (next_one,) = policy.match(state, {"a": 1}, view(away=(away,)), 5)
    assert next_one.client != away, "who is away is passed over"
    assert len(policy.ahead(state, {}, view(), 6)) >= 2


@pytest.mark.parametrize("busy", ["skip", "queue"])
def test_routes_are_the_same_however_far_ahead_they_are_drawn(busy):
    def taken(routes: int) -> list[int]:
        policy = RouteAhead(Uniform(busy), routes=routes)
        state, out = policy.init(view()), []
        policy.ahead(state, {}, view(), 1)
        for i in range(100):
            (p,) = policy.match(state, {"a": 1}, view(), key("m", i))
            policy.ahead(state, {}, view(), key("a", i))
            out.append(p.client)
        return out

    assert taken(1) == taken(7) == taken(500)


def test_a_route_of_a_busy_client_is_passed_over_so_all_idle_ones_are_as_likely():
    policy = RouteAhead(Uniform("skip"), routes=40)
    state, counts, busy = policy.init(view()), Counter(), tuple(range(0, N, 3))
    policy.ahead(state, {}, view(), 1)
    for i in range(4000):
        picks = policy.match(state, {"a": 2}, view(busy=busy), key("m", i))
        assert len({p.client for p in picks}) == 2
        policy.ahead(state, {}, view(busy=busy), key("a", i))
        counts.update(p.client for p in picks)
    assert not set(counts) & set(busy)
    assert all(n == pytest.approx(8000 / 40, rel=0.25) for n in counts.values()) and len(counts) == 40


def test_routes_keep_the_law_and_the_weights_of_their_draw():
    policy = RouteAhead(Weighted(tuple(range(1, N + 1))), routes=5)
    state, counts = policy.init(view()), Counter()
    for i in range(6000):
        (p,) = policy.match(state, {"a": 1}, view(), key("m", i))
        policy.ahead(state, {}, view(), key("a", i))
        assert p.probability == pytest.approx((p.client + 1) / (N * (N + 1) / 2))
        assert p.weight == pytest.approx(1 / (N * p.probability))
        counts[p.client] += 1
    upper = sum(n for c, n in counts.items() if c >= N // 2)
    assert upper / 6000 == pytest.approx(sum(range(31, 61)) / (N * (N + 1) / 2), abs=0.02)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Presample(rounds=-1), "presample.rounds = -1"),
        (lambda: Sticky(group=5, cohort=10), "0 < newcomers < cohort <= group"),
        (lambda: StickyRounds(cohort=5, newcomers=5), "0 < newcomers < cohort"),
        (lambda: RouteAhead(routes=0), "route_ahead.routes = 0"),
        (lambda: RouteAhead(Uniform(once=True)), "route_ahead.sampler: once and distinct"),
        (lambda: NextRoutes(margin=-1.0), "next_routes.margin = -1.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, words):
    with pytest.raises(InvalidInput, match=words.replace("(", r"\(")):
        make()


def test_a_fetch_that_cannot_be_is_passed_over():
    """Devices say what they hold; a client, a task or a version that there is not changes nothing."""
    for policy in (Calendar(), NextRoutes()):
        state = policy.init(view(3))
        before = pack(state)
        for client, node, size in ((N, Node("a", 1), 9), (-1, Node("a", 1), 9), (2, Node("b", 1), 9)):
            policy.observe(state, on.Fetched(-1, client, node, size, 5), view(3), 0)
        if isinstance(policy, Calendar):
            policy.observe(state, on.Fetched(-1, 2, Node("a", 1 << 40), 9, 5), view(3), 0)
            assert pack(state) == before
        assert policy.observe(state, on.Stepped("a", Node("a", 4), 1), view(4), 1) == []
