"""Speed of the event engine without learning: ``python -m benchmarks.engine`` (``--quick`` for a minute's worth).

An update is the whole cycle: match, download, train, upload, arrive, accumulate, step, refill, through the same
server, clients, policies, byte counts and event log as a run that learns (FedBuff, buffer 10, 10,000 in flight,
a heterogeneous fleet with exponential training times, the log written to Parquet). Every run is a process of its own.
The sizes are run in turn, so that their ratio holds on a machine whose speed drifts; medians of the rounds.
"""

import argparse
import cProfile
import json
import os
import platform
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import hocket as hk
from hocket.record.log import SEGMENT
from hocket.setup import Setup
from hocket.simulation.engine import SLICE
from hocket.simulation.run import Simulation, prepare

SIZES = (10_000, 100_000, 1_000_000)
DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"


def build(devices: int, updates: int, in_flight: int, folder: Path) -> Simulation:
    """The run that is measured."""
    task = hk.Task.sized(parameters=10_000, clients=devices)
    fleet = hk.Fleet.synthetic(devices, seed=0, compute_law=hk.fleet.Exponential())
    method = hk.strategies.fedbuff(buffer=10, in_flight=in_flight)
    return prepare(Setup.of(task, method, hk.Until(updates=updates)), fleet, log=True, folder=folder)


def drive(sim: Simulation) -> None:
    """Run to the end as ``simulate`` does, log segments included."""
    while not sim.engine.run(SLICE):
        sim.engine.log.flush(SEGMENT)
    sim.engine.log.flush()


def one(devices: int, updates: int, in_flight: int) -> dict[str, Any]:
    """Measure one run in this process."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        sim = build(devices, updates, in_flight, Path(folder))
        built, cpu = time.perf_counter(), time.process_time()
        sim.engine.run(1)  # everybody joins and the first leases go out
        filled = time.perf_counter()
        drive(sim)
        done, cpu = time.perf_counter(), time.process_time() - cpu
        staleness = sim.engine.ledger.staleness_summary()["mean"]
        rows = sim.engine.log.table().num_rows
    assert sim.engine.server.state.updates == updates
    return {
        "devices": devices,
        "updates": updates,
        "in_flight": in_flight,
        "setup_s": built - began,
        "fill_s": filled - built,
        "run_s": done - filled,
        "updates_per_s": updates / (done - built),
        "updates_per_processor_s": updates / cpu,
        "steady_us_per_update": (done - filled) / updates * 1e6,
        "events_logged": rows,
        "mean_staleness": staleness,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def apart(*arguments: object) -> dict[str, Any]:
    """Measure one run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.engine", "--one", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def profile(devices: int, updates: int) -> str:
    """Own time by function, the 25 largest, for the steady part of a run."""
    with tempfile.TemporaryDirectory() as folder:
        sim = build(devices, updates, 10_000, Path(folder))
        sim.engine.run(1)
        profiler = cProfile.Profile()
        profiler.runcall(drive, sim)
    rows = []
    for (file, line, name), (_, calls, own, _, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        place = f"{Path(file).parent.name}/{Path(file).name}:{line}" if line else ""
        rows.append((own, calls / updates, f"{name} {place}".strip()))
    total = sum(r[0] for r in rows)
    lines = [f"{own / total:6.1%}  {calls:6.2f}  {what}" for own, calls, what in sorted(rows, reverse=True)[:25]]
    return "\n".join(["   own  calls/update", *lines])


def main() -> None:
    """Measure, print, and write docs/benchmarks/engine.json and engine.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, type=int, metavar=("DEVICES", "UPDATES", "IN_FLIGHT"))
    parser.add_argument("--quick", action="store_true", help="fewer updates, one round, nothing written")
    a = parser.parse_args()
    if a.one:
        print(json.dumps(one(*a.one)))
        return
    updates, rounds = (50_000, 1) if a.quick else (200_000, 5)
    runs = [[apart(n, updates, 10_000) for n in SIZES] for _ in range(rounds)]
    for row in runs:
        print("  ".join(f"{r['devices']:>9,}: {r['updates_per_s']:>7,.0f}/s" for r in row), flush=True)
    cost = {n: statistics.median(r[i]["steady_us_per_update"] for r in runs) for i, n in enumerate(SIZES)}
    ratio = statistics.median(r[2]["steady_us_per_update"] / r[0]["steady_us_per_update"] for r in runs)
    whole = [apart(SIZES[2], 20 * updates // 4 if a.quick else 1_000_000, 10_000) for _ in range(1 if a.quick else 3)]
    whole.sort(key=lambda r: r["updates_per_s"])
    big = whole[len(whole) // 2]
    print(
        f"1,000,000 devices, {big['updates']:,} updates: {big['updates_per_s']:,.0f}/s (target 30,000, aim 50,000), "
        f"peak {big['peak_memory_bytes'] / 1e6:,.0f} MB (limit 1,000); "
        f"cost at 10^6 / cost at 10^4: {ratio:.2f} (limit 1.20)"
    )
    shown = profile(SIZES[0], 50_000)
    print(shown)
    if a.quick:
        return
    DOCS.mkdir(parents=True, exist_ok=True)
    machine = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "cores_used": 1,
    }
    result = {
        "command": "python -m benchmarks.engine",
        "machine": machine,
        "million": whole,
        "sizes": runs,
        "steady_us_per_update": cost,
        "ratio_1e6_to_1e4": ratio,
    }
    (DOCS / "engine.json").write_text(json.dumps(result, indent=1) + "\n")
    (DOCS / "engine.md").write_text(
        PAGE.format(
            rate=big["updates_per_s"],
            low=whole[0]["updates_per_s"],
            high=whole[-1]["updates_per_s"],
            memory=big["peak_memory_bytes"] / 1e6,
            ratio=ratio,
            a=cost[SIZES[0]],
            b=cost[SIZES[1]],
            c=cost[SIZES[2]],
            profile=shown,
            python=machine["python"],
        )
    )


PAGE = """# Speed of the event engine

`make bench` (`python -m benchmarks.engine`) wrote this page and `engine.json`. Python {python}, one core. An update is
the whole cycle through server, clients, policies, byte counts and event log; see `benchmarks/engine.py`.

| 1,000,000 devices, 10,000 in flight, 1,000,000 updates | measured | target |
|---|---|---|
| updates per second, joining included (median, range) | {rate:,.0f} ({low:,.0f}-{high:,.0f}) | 30,000; aim 50,000 |
| peak memory | {memory:,.0f} MB | below 1,000 MB |
| cost per update at 10^6 devices / at 10^4 (median of 5 interleaved pairs) | {ratio:.2f} | at most 1.20 |

Microseconds per update in the steady state: {a:.1f} at 10^4 devices, {b:.1f} at 10^5, {c:.1f} at 10^6.

Where the time goes (cProfile, 10^4 devices; the profiler itself weighs on small functions):

```
{profile}
```
"""

if __name__ == "__main__":
    main()
