"""Compiled passes over vectors have the bits of numpy's."""

import numpy as np
import pytest

from hocket import chunks
from hocket.chunks import WORTH, add, finite, moved

N = WORTH + 5


def vector(seed: int, n: int = N) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return (draw.normal(size=n) * 10.0 ** draw.integers(-30, 30, n)).astype(np.float32)


@pytest.fixture(params=["compiled", "numpy"])
def plainly(request, monkeypatch) -> bool:
    """Whether loops are left out."""
    if request.param == "compiled":
        pytest.importorskip("numba")
        assert chunks._compiled() is not None
    else:
        monkeypatch.setattr(chunks, "_compiled", lambda: None)
    return request.param == "numpy"


@pytest.mark.parametrize("weight", [1.0, 0.3, 7.0])
def test_a_sum_has_the_bits_of_numpy(plainly: bool, weight: float) -> None:
    total, x = vector(1).astype(np.float64), vector(2)
    want = total + x.astype(np.float64) * weight
    add(total, x, weight)
    assert total.tobytes() == want.tobytes()


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_a_step_has_the_bits_of_numpy(plainly: bool, rate: float) -> None:
    x, step = vector(1), vector(2).astype(np.float64) / 3
    x.flags.writeable = False
    assert moved(x, step, rate).tobytes() == (x + step * rate).astype(np.float32).tobytes()


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("at", [0, 1000, N - 1])
def test_one_number_that_is_not_finite_is_found(plainly: bool, odd: float, at: int) -> None:
    x = np.full(N, np.finfo(np.float32).max)
    assert finite(x)
    x[at] = odd
    assert not finite(x)


def test_vectors_of_other_kinds() -> None:
    x = np.arange(2 * WORTH, dtype=np.float32)[::2]
    total = np.zeros(WORTH)
    add(total, x, 0.5)
    assert total.tolist() == (x * 0.5).tolist()
    assert moved(x, total, 1.0).tolist() == (x * 1.5).tolist()
    assert finite(x) and finite(total)
