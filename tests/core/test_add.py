"""One sum, whoever computes it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.merge.add import WORTH, add, add_plainly


@given(seed=st.integers(0, 2**32 - 1), weight=st.sampled_from([1.0, 0.1, -3.7e-9, 1e12]))
def test_compiled_and_plain_sums_have_the_same_bits(seed: int, weight: float) -> None:
    pytest.importorskip("numba")
    draw = np.random.default_rng(seed)
    x = (draw.normal(size=WORTH + 5) * 10.0 ** draw.integers(-30, 30, WORTH + 5)).astype(np.float32)
    x.flags.writeable = False
    total = draw.normal(size=len(x))
    other = total.copy()
    add(total, x, weight)
    add_plainly(other, x, weight)
    assert total.tobytes() == other.tobytes()


def test_strided_updates_are_summed_too() -> None:
    x = np.arange(2 * WORTH, dtype=np.float32)[::2]
    total = np.zeros(WORTH)
    add(total, x, 0.5)
    assert total.tolist() == (x * 0.5).tolist()
