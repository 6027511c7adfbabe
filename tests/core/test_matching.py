"""Uniform matching is uniform, without replacement where it says so, and fair between tasks."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from hocket.index_set import IndexSet
from hocket.keyed import key
from hocket.lease import Node
from hocket.matching import Uniform
from hocket.matching.uniform import deal, draw
from hocket.policies import ANY
from hocket.testing.moments import empty_view

LEAST = 1e-4  # smallest p-value: a fixed seed passes or fails for ever, so this is no flaky test


def here(clients=9, online=None, busy=()):
    view = empty_view(clients)
    for c in range(clients) if online is None else online:
        view.online.add(c)
        if c in busy:
            view.busy[c] = 1
        else:
            view.idle.add(c)
    return view


@pytest.mark.parametrize("matching", [Uniform(), Uniform("queue")], ids=["skip", "queue"])
def test_one_slot_at_a_time_every_client_is_equally_likely(matching):
    view = here()
    counts = Counter(matching.match(None, {"a": 1}, view, key(i))[0].client for i in range(9000))
    assert chisquare([counts[c] for c in range(9)]).pvalue > LEAST


@pytest.mark.parametrize("place", range(4))
def test_every_place_of_a_cohort_is_uniform(place):
    view = here()
    picks = [Uniform().match(None, {"a": 4}, view, key("cohort", i))[place].client for i in range(9000)]
    counts = Counter(picks)
    assert chisquare([counts[c] for c in range(9)]).pvalue > LEAST


def test_every_pair_of_a_cohort_is_equally_likely():
    view = here(6)
    counts = Counter(
        frozenset(p.client for p in Uniform().match(None, {"a": 2}, view, key("pair", i))) for i in range(15_000)
    )
    assert len(counts) == 15 and chisquare(list(counts.values())).pvalue > LEAST


def test_draws_with_replacement_are_independent():
    view = here(5)
    seen = Counter()
    for i in range(20_000):
        a, b = Uniform("queue").match(None, {"a": 2}, view, key("queue", i))
        seen[a.client, b.client] += 1
    assert len(seen) == 25 and chisquare(list(seen.values())).pvalue > LEAST


@given(st.sets(st.integers(0, 29)), st.integers(0, 40), st.integers(0, 2**64 - 1))
def test_without_replacement(members, count, k):
    chosen = IndexSet.empty(30)
    for c in members:
        chosen.add(c)
    out = list(draw(chosen, count, k))
    assert len(out) == len(set(out)) == min(count, len(members)) and set(out) <= members
    assert set(chosen) == members, "drawing changes nothing"


def test_a_shuffle_of_all_is_uniform():
    chosen = IndexSet.empty(4)
    for c in range(4):
        chosen.add(c)
    orders = Counter(tuple(draw(chosen, 4, key("shuffle", i))) for i in range(24_000))
    assert len(orders) == 24 and chisquare(list(orders.values())).pvalue > LEAST


def test_busy_clients_are_skipped_or_queue():
    view = here(busy={0, 1, 2, 3, 4, 5, 6})
    skip = Uniform().match(None, {"a": 5}, view, key(1))
    assert sorted(p.client for p in skip) == [7, 8] and {p.probability for p in skip} == {1 / 2}
    queue = [p for i in range(50) for p in Uniform("queue").match(None, {"a": 5}, view, key(i))]
    assert {p.client for p in queue} == set(range(9)) and {p.probability for p in queue} == {1 / 9}


def test_nobody_there_nobody_picked():
    for matching in (Uniform(), Uniform("queue"), Uniform(once=True)):
        assert matching.match(None, {"a": 3}, here(online=()), key(0)) == []
        assert matching.ahead(None, {"a": 3}, here(), key(0)) == []


def test_slots_for_any_task_go_to_active_tasks_in_turn():
    view = here()
    assert deal({ANY: 5}, view) == ["a", "b", "a", "b", "a"]
    assert deal({"b": 2, ANY: 2}, view) == ["b", "b", "a", "b"]
    view.tasks["a"].status = "paused"
    assert deal({ANY: 3}, view) == ["b", "b", "b"]
    view.tasks["b"].status = "ended"
    assert deal({ANY: 3}, view) == []
    assert Uniform().match(None, {ANY: 3}, view, key(0)) == []


def test_two_tasks_share_an_idle_fleet():
    picks = Uniform().match(None, {"a": 9, "b": 9}, here(), key(3))
    assert len(picks) == 9 and len({p.client for p in picks}) == 9
    assert {p.task for p in picks} == {"a", "b"}


def test_once_asks_those_who_had_this_version_last():
    view = here(6)
    view.tasks["a"].node = Node("a", 4)
    for c in (0, 2, 4):
        view.tasks["a"].given[c] = 4
    for i in range(40):
        picks = Uniform(once=True).match(None, {"a": 5}, view, key(i))
        assert {p.client for p in picks[:3]} == {1, 3, 5} and {p.client for p in picks[3:]} <= {0, 2, 4}
        assert len({p.client for p in picks}) == 5
    firsts = Counter(Uniform(once=True).match(None, {"a": 1}, view, key("once", i))[0].client for i in range(3000))
    assert chisquare([firsts[c] for c in (1, 3, 5)]).pvalue > LEAST


def test_the_same_key_is_the_same_draw():
    view = here()
    one = [p.client for p in Uniform().match(None, {"a": 5}, view, key(1))]
    assert one == [p.client for p in Uniform().match(None, {"a": 5}, view, key(1))]
    assert len({tuple(p.client for p in Uniform().match(None, {"a": 5}, view, key(i))) for i in range(20)}) > 10
    assert np.unique([key(i) for i in range(100)]).size == 100
