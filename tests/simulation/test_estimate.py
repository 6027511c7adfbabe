"""An estimate is about what the run then takes, and leaves nothing behind."""

import msgspec
import pytest

import hocket as hk
from hocket.setup import Setup
from hocket.simulation.estimate import estimate

FLEET = hk.Fleet.equal(50, compute=0.01, down=1e6, up=1e6)


def setup(until: hk.Until) -> Setup:
    task = hk.Task.sized(parameters=1000, clients=50)
    return Setup.of(task, hk.strategies.fedbuff(5, 10), until)


@pytest.mark.parametrize("until", [hk.Until(time=1e6), hk.Until(steps=10**6), hk.Until(bytes=10**10)])
def test_limits_become_updates(until: hk.Until) -> None:
    found = estimate(setup(until), FLEET, probe_s=0.05)
    assert found.updates is not None and found.updates > 1000 and found.wall_s is not None


def test_memory_has_the_open_leases() -> None:
    found = estimate(setup(hk.Until(updates=100)), FLEET)
    assert found.updates is not None and found.updates >= 100
    assert found.chunk == 10 * 2 * 4000 and 4000 <= found.versions <= 10 * 4000
    assert found.memory > found.chunk + found.versions and found.fits


def test_too_much_memory_is_said_plainly() -> None:
    found = estimate(setup(hk.Until(updates=100)), FLEET)
    assert msgspec.structs.replace(found, machine=1000).line().endswith("more than this machine has")


def test_a_target_alone_has_no_number() -> None:
    task = hk.reference_tasks.gaussian(50, samples=20)
    method = hk.strategies.fedbuff(5, 10)
    found = estimate(Setup.of(task, method, hk.Until(accuracy=0.999)), FLEET, probe_s=0.05)
    assert found.updates is None and found.line().startswith("until a target is met; memory ")
