"""Steps drawn in a compiled loop are those that are drawn by numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("numba")
pytest.importorskip("torch")

from hocket.keyed import MASK
from hocket.learning.kernels import loops
from hocket.learning.local import LocalSGD
from hocket.learning.order import ORDER, segments, width


@given(
    seed=st.integers(0, MASK),
    size=st.integers(1, 70),
    batch=st.integers(1, 40),
    passes=st.integers(1, 3),
    steps=st.integers(0, 12),
    padding=st.integers(0, 3),
)
def test_steps_are_those_of_numpy(seed: int, size: int, batch: int, passes: int, steps: int, padding: int) -> None:
    local = LocalSGD(lr=0.3, batch_size=batch, steps=steps) if steps else LocalSGD(0.3, batch, epochs=passes)
    updates, wide = local.updates(size), width(local, size)
    (want,) = segments(local, np.array([seed], np.uint64), np.array([size]), wide, updates + padding, True)
    rows, scale = np.empty((updates + padding, wide), np.int64), np.empty((updates + padding, wide), np.float32)
    lap = 0 if steps else -(-size // batch)
    loops.draw(np.uint64(seed), np.uint64(ORDER), size, batch, lap, updates, 0.3, rows, scale)
    assert rows.tolist() == want.rows[:, 0].tolist()
    assert scale.tobytes() == (want.scale[:, 0] * np.float32(0.3)).tobytes()
