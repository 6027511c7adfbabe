"""Shared by all tests: where the data sets are, how hard hypothesis tries, and that data tests really ran."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("fast", derandomize=True, deadline=None)
settings.register_profile("soak", max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture
def own_policies() -> Generator[None]:
    """Policies that a test registers are forgotten after it."""
    from hocket.strategy import registry

    before = {level: dict(known) for level, known in registry.items()}
    yield
    for level, known in before.items():
        registry[level].clear()
        registry[level].update(known)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets; a test that asks for it is marked ``data``."""
    where = os.environ.get("HOCKET_DATA")
    if not where:
        pytest.skip("HOCKET_DATA is not set")
    if not Path(where).is_dir():
        pytest.skip(f"HOCKET_DATA={where} is not a directory")
    return Path(where)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker("data")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With HOCKET_REQUIRE_DATA=1 a ``data`` test that is skipped fails."""
    report = yield
    required = os.environ.get("HOCKET_REQUIRE_DATA") == "1" and item.get_closest_marker("data")
    if required and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"HOCKET_REQUIRE_DATA=1, but this data test did not run: {reason}"
    return report
