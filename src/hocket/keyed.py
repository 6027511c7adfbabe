"""Randomness keyed by identity: a draw is a pure function of who asks for what, never of when.

A *key* is an unsigned 64-bit integer. :func:`key` derives one from parts (integers or short names); the
scalar draws below turn a key into a number with a handful of integer operations, because building a
generator object per decision is too slow in the control plane. Bulk draws (data order, initial weights)
use :func:`generator`, a counter-based Philox stream that starts at the key.

The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014), a bijection of the 64-bit integers.
"""

from hashlib import blake2b
from math import cos, log, pi, sqrt
from operator import index
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from hocket.errors import InvalidInput

MASK = (1 << 64) - 1
_TO_UNIT = 2.0**-52
_TO_HALF = 2.0**-32
_TAU = 2.0 * pi


def mix(x: int) -> int:
    """Scramble a 64-bit integer into another one, one to one.

    >>> mix(0), mix(1) != mix(2)
    (16294208416658607535, True)
    """
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def key(*parts: SupportsIndex | str) -> int:
    """Derive a key from parts; any change in any part gives an unrelated key.

    Integers, NumPy's too, count modulo 2**64; names are hashed with BLAKE2b, so they are the same on every host.

    Raises:
        InvalidInput: a part that is neither.

    >>> key(0, "train", "digits", 17) == key(0, "train", "digits", 17) != key(0, "train", "digits", 18)
    True
    """
    state = 0x6A09E667F3BCC908
    for part in parts:
        word = _word(part) if isinstance(part, str) else _whole(part, "part of a key") & MASK
        state = mix(state ^ word) ^ (state << 1 & MASK)
    return mix(state)


def seeded(seed: SupportsIndex) -> int:
    """The seed of a run as a plain integer.

    Raises:
        InvalidInput: no whole number from 0 to 2**64 - 1.
    """
    if isinstance(seed, str | bool) or not 0 <= (whole := _whole(seed, "seed")) <= MASK:
        raise InvalidInput(f"seed = {seed!r}: must be a whole number from 0 to 2**64 - 1")
    return whole


def _whole(value: SupportsIndex, what: str) -> int:
    try:
        return index(value)
    except TypeError:
        raise InvalidInput(f"{what} = {value!r}: must be a whole number") from None


def _word(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def uniform(k: int) -> float:
    """A uniform number in the open interval (0, 1) with 52 random bits (one more has no room for the half)."""
    return ((mix(k) >> 12) + 0.5) * _TO_UNIT


def below(k: int, n: int) -> int:
    """A uniform integer in ``range(n)``, ``n`` up to 2**32 (bias below 2**-32)."""
    return (mix(k) >> 32) * n >> 32


def exponential(k: int) -> float:
    """An exponential number of mean 1."""
    x = (k + 0x9E3779B97F4A7C15) & MASK  # mix, written out: a call costs more than it does
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return -log((((x ^ (x >> 31)) >> 12) + 0.5) * _TO_UNIT)


def normal(k: int) -> float:
    """A standard normal number (Box-Muller on the two halves of the mixed key, so |z| < 6.8)."""
    h = mix(k)
    return sqrt(-2.0 * log(((h >> 32) + 0.5) * _TO_HALF)) * cos(_TAU * (h & 0xFFFFFFFF) * _TO_HALF)


def mix_array(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """:func:`mix` for arrays (uint64, any shape)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def uniform_array(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """:func:`uniform` for arrays of keys, equal to it bit for bit."""
    return ((mix_array(keys) >> np.uint64(12)).astype(np.float64) + 0.5) * _TO_UNIT


def generator(k: int) -> np.random.Generator:
    """A NumPy generator whose whole stream is fixed by the key, for bulk draws."""
    return np.random.Generator(np.random.Philox(key=k & MASK))
