"""What is counted from an event log, by hand and against the run's own summary."""

import numpy as np
import pytest

import hocket as hk
from hocket.record.log import as_table
from hocket.report.activity import OUTCOMES, activity, busy, per_client
from tests.report.tables import SMALL, log


def test_leases_of_a_small_log() -> None:
    found = activity(SMALL, ["digits"])
    leases = found.leases
    assert [OUTCOMES[i] for i in leases.outcome] == ["accepted", "accepted", "failed", "refused", "open"]
    assert leases.client.tolist() == [0, 1, 2, 0, 0]
    assert leases.staleness.tolist() == [0, 1, -1, -1, -1]
    assert leases.assigned.tolist() == [0, 0, 0, 2, 6] and leases.ended.tolist() == [2, 4, 5, 6, 8]
    assert np.array_equal(leases.started, [1, 3, np.nan, np.nan, np.nan], equal_nan=True)
    assert (found.rows, found.end) == (17, 8.0)
    clients, counts = per_client(leases)
    assert clients.tolist() == [0, 1, 2] and counts.tolist() == [1, 1, 0]


def test_nothing_and_one_event() -> None:
    assert len(activity(as_table(bytearray()), ["a"]).leases) == 0
    one = activity(log([(3, "assigned", 0, 5, 10**15, 0)]), ["a"])
    assert one.leases.client.tolist() == [5] and one.end == 3.0 and one.leases.ended.tolist() == [3.0]


def test_a_repeated_arrival_does_not_undo_an_accepted_one() -> None:
    rows = [
        (0, "assigned", 0, 1, 7, 0),
        (1, "arrived", -1, 1, 7, 9),
        (2, "arrived", -1, 1, 7, 9),
        (2, "refused", -1, 1, 7, 0),
        (3, "refused", -1, 4, 99, 0),
    ]
    assert activity(log(rows), ["a"]).leases.outcome.tolist() == [0]


def test_open_intervals_by_hand() -> None:
    mean, most = busy(np.array([0.0, 1.0, 1.5]), np.array([2.0, 1.5, 2.0]), np.array([0.0, 1.0, 2.0, 3.0]))
    assert mean.tolist() == [1.0, 2.0, 0.0] and most.tolist() == [1.0, 2.0, 0.0]
    assert busy(np.empty(0), np.empty(0), np.array([0.0, 1.0]))[0].tolist() == [0.0]


@pytest.mark.parametrize(
    "method",
    [
        hk.strategies.fedbuff(5, 12, timeout=100.0),
        hk.strategies.fedavg(10, overcommit=1.5, timeout=50.0),
        hk.strategies.fedasync(8, timeout=100.0),
        hk.strategies.fedbuff(2, 12, timeout=100.0, staleness_limit=4),
    ],
    ids=["fedbuff", "fedavg", "fedasync", "bounded"],
)
def test_the_log_says_what_the_summary_says(method: hk.Strategy) -> None:
    fleet = hk.Fleet.synthetic(30, seed=1, failure=0.1, availability=hk.fleet.Renewal(on=60.0, off=30.0))
    tasks = [hk.Task.sized(parameters=2500, clients=30, samples=10, name=n) for n in ("b", "a")]
    for several in (tasks[:1], tasks):
        if several[1:] and method.name == "fedavg":
            continue  # rounds are of one task
        run = hk.simulate(several, fleet, method, hk.Until(updates=400), log=True)
        found = activity(run.log.table(), list(run.tasks))  # type: ignore[union-attr]
        done = found.accepted()
        assert len(done) == run.summary["updates"]
        assert done.staleness.mean() == pytest.approx(run.summary["staleness"]["mean"])
        assert done.staleness.max() == run.summary["staleness"]["max"]
        assert len(np.unique(found.leases.client)) == run.summary["clients_seen"]
        for m, task in enumerate(run.tasks):
            assert (done.task == m).sum() == run.summary["tasks"][task]["updates"]
