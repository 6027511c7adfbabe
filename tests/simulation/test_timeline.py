"""A run's times, bytes and staleness, worked out again from its event log without the engine."""

from fractions import Fraction
from itertools import pairwise
from statistics import mean

import numpy as np
import pytest

import hocket as hk
from hocket.record.log import KINDS

CLIENTS, SIZE, BUFFER, SAMPLES = 9, 28 + 4 * 250, 5, 20  # bytes of a message: its frame, and four for each parameter
DRAW = np.random.default_rng(4)
COMPUTE, DOWN, UP, LATENCY = (DRAW.lognormal(m, 1.0, CLIENTS) for m in (-3.0, 7.0, 6.0, -2.0))
TASK = hk.Task.sized(parameters=250, clients=CLIENTS, samples=SAMPLES)
Span = tuple[Fraction, Fraction]


def exact(seconds: float | Fraction) -> Fraction:
    return Fraction(seconds) * 10**9


def queued(arrivals: list[Fraction], lengths: list[Fraction]) -> list[Span]:
    """When each of a first-in first-out queue begins and ends."""
    out: list[Span] = []
    for at, length in zip(arrivals, lengths, strict=True):
        begin = max(at, out[-1][1]) if out else at
        out.append((begin, begin + length))
    return out


@pytest.mark.parametrize("method", ["fifo", "parallel", "once"])
def test_times_bytes_and_staleness_follow_from_the_log(method: str) -> None:
    links = "parallel" if method == "parallel" else "fifo"
    fleet = hk.Fleet(compute=COMPUTE, down=DOWN, up=UP, latency=LATENCY, links=links)
    strategy = hk.Strategy(
        pacing=hk.pacing.InFlight(in_flight=7 if method == "once" else 30, buffer=BUFFER),
        matching=hk.matching.Uniform("skip" if method == "once" else "queue"),
    )
    run = hk.simulate(TASK, fleet, strategy, hk.Until(updates=200), seed=3, log=True)
    rows = run.log.table().to_pylist()
    end = rows[-1]["time_ns"]
    when = {
        k: {r["lease"]: r["time_ns"] for r in rows if KINDS[r["kind"]] == k} for k in ("fetched", "started", "arrived")
    }
    assigned = [r for r in rows if KINDS[r["kind"]] == "assigned"]
    down = up = Fraction(0)

    def through(span: Span) -> Fraction:
        """Bytes of a transfer that were sent by the end of the run."""
        begin, over = span
        return Fraction(SIZE) * min(max((end - begin) / (over - begin), Fraction(0)), Fraction(1))

    for c in range(CLIENTS):
        own = [r for r in assigned if r["client"] == c]
        fetch, send = (exact(LATENCY[c]) + exact(Fraction(SIZE) / Fraction(rate[c])) for rate in (DOWN, UP))
        given = [Fraction(r["time_ns"]) for r in own]
        downloads: list[Span] = []
        fetches: list[bool] = []
        for at, r in zip(given, own, strict=True):  # a model that is there already is not fetched again
            begin = max(at, downloads[-1][1]) if downloads and links == "fifo" else at
            there = [o["value"] for o, (_, over) in zip(own, downloads, strict=False) if over <= begin]
            fetches.append(not there or max(there) != r["value"])
            downloads.append((begin, begin + fetch if fetches[-1] else begin))
        ready = sorted(range(len(own)), key=lambda i: (downloads[i][1], i))
        trained = queued([downloads[i][1] for i in ready], [exact(COMPUTE[c]) * SAMPLES] * len(own))
        at = [over for _, over in trained]
        uploads = queued(at, [send] * len(own)) if links == "fifo" else [(x, x + send) for x in at]
        for i, training, upload in zip(ready, trained, uploads, strict=True):
            lease = own[i]["lease"]
            expected = {"fetched": downloads[i][1], "started": training[0], "arrived": upload[1]}
            for kind, time in expected.items():
                if kind == "fetched" and not fetches[i]:
                    assert lease not in when[kind]
                elif lease in when[kind]:
                    assert abs(when[kind][lease] - time) <= 3 * len(own), (kind, lease)  # each duration is rounded
                else:
                    assert time > end - 3 * len(own)
            down += through(downloads[i]) if fetches[i] else 0
            up += through(upload)
    moved = run.summary["bytes"]
    transfers = 2 * CLIENTS * 30
    assert moved["up"] == pytest.approx(float(up), abs=transfers) and moved["down"] == pytest.approx(
        float(down), abs=transfers
    )

    version, ages, counted = 0, [], 0
    start = {r["lease"]: r["value"] for r in assigned}
    for r in rows:
        if KINDS[r["kind"]] == "arrived":
            ages.append(version - start[r["lease"]])
            counted += 1
        elif KINDS[r["kind"]] == "stepped":
            assert counted == BUFFER and r["value"] == version + 1
            version, counted = version + 1, 0
    assert len(ages) == run.summary["updates"] == 200
    assert run.summary["staleness"]["mean"] == pytest.approx(mean(ages)) and run.summary["staleness"]["max"] == max(
        ages
    )
    assert run.summary["staleness"]["p95"] == sorted(ages)[189] and run.summary["virtual_time_s"] == end / 1e9
    assert all(a["time_ns"] <= b["time_ns"] for a, b in pairwise(rows))
