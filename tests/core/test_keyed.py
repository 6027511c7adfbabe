"""Randomness by identity: uniform, independent between neighbours, the same everywhere."""

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hocket.errors import InvalidInput
from hocket.keyed import (
    MASK,
    below,
    exponential,
    generator,
    key,
    mix,
    mix_array,
    normal,
    seeded,
    uniform,
    uniform_array,
)

LEAST = 1e-4  # smallest p-value; everything here is fixed, so a test that passes passes for ever
words = st.integers(0, MASK)


def unmix(y: int) -> int:
    """The inverse of ``mix``, from the inverses of its three moves."""
    y ^= y >> 31 ^ y >> 62
    y = y * pow(0x94D049BB133111EB, -1, 1 << 64) & MASK
    y ^= y >> 27 ^ y >> 54
    y = y * pow(0xBF58476D1CE4E5B9, -1, 1 << 64) & MASK
    y ^= y >> 30 ^ y >> 60
    return (y - 0x9E3779B97F4A7C15) & MASK


@given(words)
def test_mix_is_one_to_one(x):
    assert unmix(mix(x)) == x and 0 <= mix(x) <= MASK


def test_mix_is_splitmix64():
    """The published generator from seed 1234567 (its state goes up by the golden gamma)."""
    gamma, want = 0x9E3779B97F4A7C15, (6457827717110365317, 3203168211198807973, 9817491932198370423)
    assert tuple(mix(1234567 + i * gamma & MASK) for i in range(3)) == want


def test_one_bit_in_changes_half_of_the_bits_out():
    flips = [bin(mix(x) ^ mix(x ^ 1 << b)).count("1") for x in range(0, 5000, 50) for b in range(64)]
    assert abs(np.mean(flips) - 32) < 0.2


@given(st.lists(st.one_of(st.integers(-(2**70), 2**70), st.text(max_size=8)), max_size=4), st.integers(0, 3))
def test_any_change_in_any_part_is_another_key(parts, at):
    k = key(*parts)
    assert 0 <= k <= MASK and k == key(*parts)
    assert key(*parts, 0) != k != key(0, *parts)
    if parts:
        other = list(parts)
        part = other[at % len(other)]
        other[at % len(other)] = part + 1 if isinstance(part, int) else part + "x"
        assert key(*other) != k


def test_order_of_parts_and_kind_of_part_matter():
    assert len({key(1, 2), key(2, 1), key("1", 2), key(12), key("12"), key(), key(0), key("")}) == 8


def identities(n=20_000):
    """Keys of neighbours: clients and jobs in a row."""
    return [key(7, "train", "digits", c, j) for c in range(n // 4) for j in range(4)]


def test_uniforms_of_neighbours_are_uniform():
    draws = [uniform(k) for k in identities()]
    assert stats.kstest(draws, "uniform").pvalue > LEAST
    counts = np.histogram(draws, 100, (0, 1))[0]
    assert stats.chisquare(counts).pvalue > LEAST


@pytest.mark.parametrize("apart", [1, 4, 7])
def test_uniforms_of_neighbours_are_independent(apart):
    """No rank correlation, and pairs fill the unit square evenly."""
    draws = np.array([uniform(k) for k in identities()])
    a, b = draws[:-apart], draws[apart:]
    assert stats.spearmanr(a, b).pvalue > LEAST
    grid = np.histogram2d(a, b, 10, [[0, 1], [0, 1]])[0]
    assert stats.chisquare(grid.ravel()).pvalue > LEAST


@pytest.mark.parametrize("other", ["seed", "purpose", "task"])
def test_streams_that_differ_in_one_part_are_independent(other):
    def stream(changed):
        seed, purpose, task = (8 if changed and other == "seed" else 7), "train", "digits"
        purpose = "order" if changed and other == "purpose" else purpose
        task = "mnist" if changed and other == "task" else task
        return [uniform(key(seed, purpose, task, c)) for c in range(5000)]

    assert stats.spearmanr(stream(False), stream(True)).pvalue > LEAST


@pytest.mark.parametrize("bit", [0, 13, 63])
def test_draws_from_keys_that_differ_in_one_bit_are_independent(bit):
    """Draws of one decision are made from ``key ^ i``."""
    keys = identities(8000)
    assert stats.spearmanr([uniform(k) for k in keys], [uniform(k ^ 1 << bit) for k in keys]).pvalue > LEAST


@pytest.mark.parametrize("n", [1, 2, 3, 10, 97, 1000])
def test_below_is_uniform(n):
    draws = [below(k, n) for k in identities()]
    assert set(draws) <= set(range(n))
    assert n == 1 or stats.chisquare(np.bincount(draws, minlength=n)).pvalue > LEAST


@given(words, st.integers(1, 2**32))
def test_below_stays_below(k, n):
    assert 0 <= below(k, n) < n


def test_exponentials_and_normals_have_their_laws():
    keys = identities()
    assert stats.kstest([exponential(k) for k in keys], "expon").pvalue > LEAST
    assert stats.kstest([normal(k) for k in keys], "norm").pvalue > LEAST
    assert all(exponential(k) == -log(uniform(k)) for k in keys[:50])


@pytest.mark.parametrize("top", [0, MASK, 0xFFFFFFFF, 0xFFFFFFFF << 32])
def test_the_ends_of_the_draws(top):
    k = unmix(top)
    assert 0.0 < uniform(k) <= 1.0
    assert exponential(k) >= 0.0 and exponential(k) < 38
    assert abs(normal(k)) < 6.8 and below(k, 10) in (0, 5, 9)


def test_a_uniform_is_below_one():
    """An inverse distribution function at 1 is infinite."""
    assert uniform(unmix(MASK)) < 1.0


@given(st.lists(words, max_size=20))
def test_arrays_agree_with_scalars(keys):
    array = np.array(keys, np.uint64)
    assert mix_array(array).tolist() == [mix(k) for k in keys]
    assert uniform_array(array).tolist() == [uniform(k) for k in keys]
    assert array.tolist() == keys, "left alone"


def test_a_generator_is_fixed_by_its_key():
    a, b, c = generator(key(1, "x")), generator(key(1, "x")), generator(key(1, "y"))
    one = a.standard_normal(1000)
    assert (one == b.standard_normal(1000)).all()
    assert abs(np.corrcoef(one, c.standard_normal(1000))[0, 1]) < 4 / sqrt(1000)
    assert generator(-1).random() == generator(MASK).random()


@pytest.mark.parametrize("seed", [-1, MASK + 1, 1.5, None, "one", True])
def test_a_seed_is_a_whole_number_of_64_bits(seed):
    with pytest.raises(InvalidInput, match=r"^seed = .*: must be a whole number"):
        seeded(seed)


def test_numbers_of_numpy_are_numbers():
    assert seeded(np.int64(7)) == 7 and type(seeded(np.uint8(7))) is int
    assert key(np.int64(7), "x") == key(7, "x")
    with pytest.raises(InvalidInput, match=r"^part of a key = 0\.5: must be a whole number$"):
        key(0.5)
