"""Staleness is fixed by arithmetic: (m - 1)/K, m/K when slots are refilled first, and conservation."""

import pytest

import hocket as hk

UPDATES = 120_000


def mean_staleness(method: hk.Strategy, seed: int) -> float:
    task = hk.Task.sized(parameters=100, clients=500)
    fleet = hk.Fleet.equal(500, compute=0.01, down=1e6, up=1e6, compute_law=hk.fleet.Exponential())
    run = hk.simulate(task, fleet, method, hk.Until(updates=UPDATES), seed=seed)
    assert run.summary["updates"] == UPDATES
    return run.summary["staleness"]["mean"]


def test_refill_after_the_step() -> None:
    """Mean staleness is (in_flight - 1)/buffer within 1%."""
    assert mean_staleness(hk.strategies.fedbuff(buffer=10, in_flight=100), 0) == pytest.approx(9.9, rel=0.01)


def test_refill_first() -> None:
    """Mean staleness is in_flight/buffer within 1% when slots are refilled before the step."""
    method = hk.strategies.fedbuff(buffer=10, in_flight=100, refill_first=True)
    assert mean_staleness(method, 1) == pytest.approx(10.0, rel=0.01)


@pytest.mark.parametrize("law", [hk.fleet.Exponential(), hk.fleet.Deterministic(), hk.fleet.LogNormal(1.0)])
@pytest.mark.parametrize("m", [1, 7, 40])
def test_asyncsgd_conserves_staleness_exactly(m: int, law: hk.fleet.Law) -> None:
    """Staleness of the applied plus ages of the outstanding is (m - 1) x updates, whatever the times."""
    from hocket.setup import Setup
    from hocket.simulation.run import prepare

    task = hk.Task.sized(parameters=100, clients=25)
    fleet = hk.Fleet.synthetic(25, seed=2, compute_law=law)
    updates = 3000
    engine = prepare(
        Setup.of(task, hk.strategies.asyncsgd(in_flight=m), hk.Until(updates=updates), seed=4), fleet
    ).engine
    engine.run()
    applied = sum(s * n for s, n in engine.ledger.staleness.items())
    version = engine.server.view.tasks["task"].version
    ages = sum(version - lease.version for lease in engine.server.view.leases.values())
    assert version == updates == sum(engine.ledger.staleness.values())
    assert applied + ages == (m - 1) * updates
