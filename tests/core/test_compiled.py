"""Compiled loops where nothing can be kept on disk."""

import pytest


def test_a_folder_that_cannot_be_written_costs_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    caching = pytest.importorskip("numba.core.caching")
    from hocket.compiled import compiled

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert compiled("int64(int64)")(lambda n: n + 1)(2) == 3
    assert compiled()(lambda n: n + 1)(2.5) == 3.5
