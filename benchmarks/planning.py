"""How far the planner's formulas are off where their assumptions fail: ``python -m benchmarks.planning``.

The hundred devices of 2603.26231's Table 1 with uniform routing and 60 jobs in flight, messages of 4 kB, simulated
without learning in each case; what is printed is simulated over foretold, in per cent, for updates per second, and the
largest of the five types in staleness. With a buffer of K, foretold staleness is the formulas' over K.
"""

import argparse
from pathlib import Path

import numpy as np
from msgspec import Struct, structs

from hocket.fleet import Fleet
from hocket.learning.local import LocalSGD
from hocket.learning.task import Task
from hocket.planner import calibrate
from hocket.planning.assumptions import broken
from hocket.planning.foretell import Foretold, observe_itself
from hocket.queueing import solve
from hocket.report import svg
from hocket.report.chart import chart
from hocket.report.figures import standalone
from hocket.report.style import series
from hocket.report.svg import Axis
from hocket.reproduce.table_1 import LAWS, fleet
from hocket.setup import Setup
from hocket.simulation.run import prepare
from hocket.strategies import asyncsgd, fedbuff
from hocket.strategy import Strategy
from hocket.until import Until
from hocket.wire import FRAME

JOBS = 60
TASK = Task.sized(parameters=1000, clients=100, samples=1, local=LocalSGD(lr=0.1, batch_size=1, steps=1))
SIZE = TASK.schema.nbytes + FRAME.size


class Off(Struct, frozen=True):
    """Relative errors of one case: throughput, staleness of the worst type, of all."""

    case: str
    throughput: float
    staleness: float
    mean: float


def cases() -> dict[str, tuple[Fleet, Strategy]]:
    """The grid: each law, each kind of link, two buffers."""
    async_, base = asyncsgd(in_flight=JOBS), fleet(SIZE, 1, LAWS["exponential"])
    made: dict[str, tuple[Fleet, Strategy]] = {}
    for law in LAWS:
        made[f"{law}, links overlap"] = (fleet(SIZE, 1, LAWS[law]), async_)
        made[f"{law}, links queue"] = (structs.replace(fleet(SIZE, 1, LAWS[law]), links="fifo"), async_)
    for load in (0.5, 0.9):
        shared = structs.replace(base, egress=_throughput(base) * SIZE / load)
        made[f"server link at {load:.0%}"] = (shared, async_)
    made["5% of jobs fail"] = (structs.replace(base, failure=0.05), async_)
    for law in LAWS:
        made[f"FedBuff K = 10, {law}"] = (fleet(SIZE, 1, LAWS[law]), fedbuff(buffer=10, in_flight=JOBS))
    made["K = 10, queues"] = (base, _buffered(10))
    return made


def _buffered(buffer: int) -> Strategy:
    whole = asyncsgd(in_flight=JOBS)
    return structs.replace(whole, name="buffered", pacing=structs.replace(whole.pacing, buffer=buffer))


def _setup(method: Strategy) -> Setup:
    return Setup.of(TASK, method, Until(updates=1))


def _throughput(devices: Fleet) -> float:
    known = calibrate(_setup(asyncsgd(JOBS)), devices, prepare(_setup(asyncsgd(JOBS)), devices).engine.book)
    return solve(known.network, known.network.uniform(), JOBS).throughput


def off(case: str, devices: Fleet, method: Strategy, updates: int) -> Off:
    """Simulate one case; the whole of its buffer is in the foretold staleness."""
    setup = _setup(method)
    known = calibrate(setup, devices, prepare(setup, devices).engine.book)
    said = Foretold.of(solve(known.network, known.network.uniform(), JOBS), known, devices)
    seen = observe_itself(said, setup, devices, updates)
    buffer = getattr(setup.strategy.pacing, "buffer", 1)
    stale = seen.by_kind / (said.by_kind / buffer) - 1.0
    worst = float(stale[np.nanargmax(np.abs(stale))])
    mean = seen.staleness / (said.staleness / buffer) - 1.0
    return Off(case, seen.throughput / said.throughput - 1.0, worst, mean)


def drawn(found: list[Off]) -> str:
    """The errors as bars, an SVG that stands alone."""
    values = {
        "updates per second": np.array([100 * o.throughput for o in found]),
        "staleness of the worst type": np.array([100 * o.staleness for o in found]),
    }
    low, high = (float(f(0, *(f(v) for v in values.values()))) for f in (min, max))

    def draw(width: float) -> str:
        left, row = 190.0, 34.0
        height = 26 + row * len(found) + 40
        x = Axis("simulated by foretold, difference (%)", min(low * 1.15, -5.0), max(high * 1.15, 5.0))
        f = svg.Frame(width, height, left, 22, width - 14, height - 40, x, Axis("", 0.0, 1.0))
        marks = svg.axes(f, y_ticks=False)
        zero = f.at_x(0.0)
        marks += svg.tag("path", class_="axis", d=f"M{svg.number(zero)} {svg.number(f.top)}V{svg.number(f.bottom)}")
        for k, o in enumerate(found):
            y = f.top + row * k
            marks += svg.tag("text", o.case, x=left - 6, y=y + 18, text_anchor="end")
            for i, each in enumerate(values.values()):
                at = f.at_x(float(each[k]))
                marks += svg.box(min(at, zero), y + 13 * i, max(abs(at - zero), 0.5), 12, f"fill {series(i)}", i)
                marks += svg.tag("text", f"{each[k]:+.1f}", x=max(at, zero) + 4, y=y + 13 * i + 10)
        return svg.svg(f, marks, "errors of the formulas")

    legend = tuple((name, series(i)) for i, name in enumerate(values))
    return standalone(chart("errors", "Where the formulas' assumptions fail", "errors of the formulas", legend, draw))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=200_000)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    found = []
    print("| case | updates per second | staleness, worst type | staleness, all | the planner says |")
    print("|---|---|---|---|---|")
    for case, (devices, method) in cases().items():
        o = off(case, devices, method, given.updates)
        found.append(o)
        said = "; ".join(s.split(";")[0] for s in broken(_setup(method), devices)) or "nothing"
        print(f"| {case} | {o.throughput:+.1%} | {o.staleness:+.1%} | {o.mean:+.1%} | {said} |", flush=True)
    if given.figure is not None:
        given.figure.write_text(drawn(found), encoding="utf-8")


if __name__ == "__main__":
    main()
