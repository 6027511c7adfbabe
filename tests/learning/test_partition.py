"""Partitions: disjoint, complete, with the minimum honoured, fixed by the seed."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.errors import InvalidInput
from hocket.learning.partition import Parts, dirichlet, iid, mixtures, natural, quantity, shards


def check(parts: Parts, n: int, clients: int, minimum: int) -> None:
    assert len(parts) == clients
    assert all(p.dtype == np.int64 and (np.diff(p) > 0).all() for p in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert min(len(p) for p in parts) >= minimum


def check_seeded(make: Callable[[int], Parts], n: int, clients: int, minimum: int) -> None:
    parts, again = make(7), make(7)
    check(parts, n, clients, minimum)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


clients_ = st.integers(1, 20)
labels_ = st.lists(st.integers(0, 5), min_size=60, max_size=200)
alphas = st.sampled_from([0.001, 0.1, 1.0, 100.0])
minima = st.integers(0, 3)


@given(labels=labels_, clients=clients_, alpha=alphas, minimum=minima)
def test_dirichlet(labels: list[int], clients: int, alpha: float, minimum: int) -> None:
    check_seeded(lambda s: dirichlet(labels, clients, alpha, s, minimum), len(labels), clients, minimum)


@given(classes=st.integers(1, 6), clients=clients_, alpha=alphas, size=st.integers(1, 30))
def test_mixtures(classes: int, clients: int, alpha: float, size: int) -> None:
    """Sizes are equal, nobody has a sample twice, and no sample is dealt again before its whole class was."""
    labels = np.arange(30 * classes) % classes
    parts, again = (mixtures(labels, clients, alpha, size, 7) for _ in range(2))
    assert all(
        len(p) == size and (np.diff(p) > 0).all() and np.array_equal(p, q) for p, q in zip(parts, again, strict=True)
    )
    dealt = np.bincount(np.concatenate(parts), minlength=len(labels))
    assert all(np.ptp(dealt[labels == c]) <= 1 for c in range(classes))


@given(n=st.integers(60, 200), clients=clients_, alpha=alphas, minimum=minima)
def test_quantity(n: int, clients: int, alpha: float, minimum: int) -> None:
    check_seeded(lambda s: quantity(n, clients, alpha, s, minimum), n, clients, minimum)


@given(n=st.integers(20, 100), clients=clients_)
def test_iid(n: int, clients: int) -> None:
    check_seeded(lambda s: iid(n, clients, s), n, clients, n // clients)


@given(labels=labels_, clients=clients_, each=st.integers(1, 3))
def test_shards(labels: list[int], clients: int, each: int) -> None:
    check_seeded(lambda s: shards(labels, clients, each, s), len(labels), clients, each)


@given(groups=st.lists(st.sampled_from("abc"), min_size=1))
def test_natural(groups: list[str]) -> None:
    parts = natural(groups)
    check(parts, len(groups), len(set(groups)), 1)
    assert all(len({groups[i] for i in p}) == 1 for p in parts)


def test_seeds_differ() -> None:
    y = np.arange(100) % 10
    for make in (
        lambda s: iid(100, 5, s),
        lambda s: dirichlet(y, 5, 1.0, s),
        lambda s: mixtures(y, 5, 1.0, 9, s),
        lambda s: shards(y, 5, 2, s),
        lambda s: quantity(100, 5, 1.0, s),
    ):
        assert any(not np.array_equal(a, b) for a, b in zip(make(0), make(1), strict=True))


def test_skew_follows_alpha() -> None:
    y = np.arange(5000) % 10

    def classes(parts: Parts) -> float:
        return float(np.mean([len(np.unique(y[p])) for p in parts]))

    for make in (lambda a: dirichlet(y, 50, a, minimum=2), lambda a: mixtures(y, 50, a, 100)):
        few, many = (classes(make(a)) for a in (0.1, 100.0))
        assert few < 6 and many == 10
    assert classes(shards(y, 50, 2)) <= 2.5
    sizes = [np.std([len(p) for p in quantity(5000, 50, a)]) for a in (0.5, 100.0)]
    assert sizes[0] > 5 * sizes[1]


def test_a_minimum_that_leaves_no_choice() -> None:
    check(dirichlet([0] * 90 + [1] * 10, 50, 0.01, minimum=2), 100, 50, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: dirichlet([0] * 9, 5, 1.0, minimum=2),
            "9 samples cannot give 5 clients 2 each; 4 clients or fewer",
        ),
        (lambda: dirichlet([0] * 9, 5, 0.0), "dirichlet: alpha is 0.0; it must be positive and finite"),
        (
            lambda: mixtures([0] * 9 + [1] * 4, 5, 1.0, 5),
            "5 clients of 5 samples; one client or more, of 1 to 4 samples",
        ),
        (lambda: mixtures([0] * 9, 5, -1.0, 5), "mixtures: alpha is -1.0"),
        (lambda: quantity(9, 5, float("nan")), "quantity: alpha is nan"),
        (lambda: quantity(9, 5, 1.0, minimum=-1), "minimum is -1; it must be 0 or more"),
        (lambda: iid(3, 0), "iid: clients is 0; it must be 1 or more"),
        (lambda: shards([0] * 9, 5, 2), "shards: 9 samples cannot give 5 clients 2 each"),
        (lambda: shards([0] * 9, 5, 0), "shards_per_client is 0"),
        (lambda: natural([]), "give one value per sample"),
    ],
)
def test_impossible(make: Callable[[], Parts], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make()
