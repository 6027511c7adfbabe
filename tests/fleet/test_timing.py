"""Timing: the formula, one stream for each station, fates at their rates, and cheap."""

from math import sqrt
from time import perf_counter

import numpy as np
import pytest

from hocket import keyed
from hocket.errors import InvalidInput
from hocket.fleet import Deterministic, Exponential, Fleet

KEYS = [keyed.key(9, i) for i in range(20_000)]


def test_deterministic_times_are_exact() -> None:
    fleet = Fleet(
        compute=np.array([0.01, 0.5]),
        down=np.array([1e6, np.inf]),
        up=np.array([3e3, 1e5]),
        latency=np.array([0.0, 0.25]),
    )
    timing = fleet.timing(0)
    assert timing.train(0, 320, 1) == 3_200_000_000
    assert timing.train(1, 0, 1) == 0
    assert timing.download(0, 1, 1) == 1000
    assert timing.download(1, 10**12, 1) == 250_000_000
    assert timing.upload(0, 1, 1) == 333_333
    assert timing.upload(1, 100, 1) == 251_000_000
    assert isinstance(timing.train(0, 2.5, 1), int)


def test_stations_draw_apart_and_repeat_by_key_and_seed() -> None:
    law = Exponential()
    fleet = Fleet.equal(2, 1.0, 1.0, 1.0, compute_law=law, down_law=law, up_law=law)
    timing, again, other = fleet.timing(0), fleet.timing(0), fleet.timing(1)
    rows = np.array([(timing.train(0, 1, k), timing.download(0, 1, k), timing.upload(0, 1, k)) for k in KEYS])
    assert rows.mean(axis=0) / 1e9 == pytest.approx([1.0] * 3, abs=4 / sqrt(len(KEYS)))
    assert np.abs(np.corrcoef(rows.T) - np.eye(3)).max() < 0.03
    assert rows[:9, 0].tolist() == [again.train(1, 1, k) for k in KEYS[:9]]
    assert rows[:9, 0].tolist() != [other.train(0, 1, k) for k in KEYS[:9]]
    assert timing.download(0, 2000, KEYS[0]) == pytest.approx(2000 * rows[0, 1], rel=1e-6)


def test_latency_is_not_scaled_by_the_law() -> None:
    timing = Fleet.equal(1, 1.0, 1e6, np.inf, latency=0.5, up_law=Exponential()).timing(0)
    assert {timing.upload(0, 1000, k) for k in KEYS[:50]} == {500_000_000}


def test_fates_come_at_their_rates() -> None:
    timing = Fleet.equal(1, 1.0, 1.0, 1.0, failure=0.1, dropout=0.05).timing(0)
    fates = [fate for k in KEYS if (fate := timing.fate(k)) is not None]
    silent = [share for share, quiet in fates if quiet]
    told = [share for share, quiet in fates if not quiet]
    assert len(told) / len(KEYS) == pytest.approx(0.1, abs=0.01)
    assert len(silent) / len(KEYS) == pytest.approx(0.05, abs=0.008)
    for shares in (silent, told):
        assert 0.0 < min(shares) < max(shares) < 1.0
        assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
    assert Fleet.equal(1, 1.0, 1.0, 1.0).timing(0).fate(KEYS[0]) is None
    always = Fleet.equal(1, 1.0, 1.0, 1.0, dropout=1.0).timing(0)
    fates = [fate for k in KEYS[:100] if (fate := always.fate(k)) is not None]
    assert len(fates) == 100
    assert all(quiet for _, quiet in fates)


def test_negative_work_is_refused() -> None:
    timing = Fleet.equal(1, 1.0, 1.0, 1.0).timing(0)
    with pytest.raises(InvalidInput, match=r"client 0: training cost -1"):
        timing.train(0, -1, 0)
    with pytest.raises(InvalidInput, match=r"client 0: download of -1 bytes"):
        timing.download(0, -1, 0)
    with pytest.raises(InvalidInput, match=r"client 0: upload of -1 bytes"):
        timing.upload(0, -1, 0)


def test_overhead_is_small() -> None:
    timing = Fleet.equal(1000, 1.0, 1.0, 1.0, down_law=Deterministic()).timing(0)
    best = min(_per_call(timing.download) for _ in range(5))
    assert best < 5e-6  # about 0.2e-6 on a quiet machine


def _per_call(call) -> float:
    start = perf_counter()
    for client in range(1000):
        call(client, 1000, 7)
    return (perf_counter() - start) / 1000
