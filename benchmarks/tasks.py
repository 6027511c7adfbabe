"""Speed of the engine with many tasks: ``python -m benchmarks.tasks`` (``--quick`` for a tenth of it).

FedAST with static budgets, 20 size-only tasks on 100,000 clients that queue jobs, R = 10,000 requests, rho = 10,
1,000,000 updates, the event log written to Parquet; one core, one process per run, the median of three. Processor time
is given beside wall time, since other work on the machine slows the latter.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import hocket as hk
from benchmarks.engine import drive
from hocket.setup import Setup
from hocket.simulation.run import Simulation, prepare

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
TARGET = 30_000


def build(tasks: int, clients: int, updates: int, folder: Path) -> Simulation:
    """The run that is measured."""
    each = [hk.Task.sized(parameters=10_000, clients=clients, name=f"t{i}", cost=1 + i / 10) for i in range(tasks)]
    fleet = hk.Fleet.synthetic(clients, seed=0, compute_law=hk.fleet.Exponential())
    method = hk.strategies.fedast(in_flight=10_000, ratio=10, allocation="static")
    return prepare(Setup.of(each, method, hk.Until(updates=updates)), fleet, log=True, folder=folder)


def one(tasks: int, clients: int, updates: int) -> dict[str, Any]:
    """Measure one run in this process."""
    with tempfile.TemporaryDirectory() as folder:
        sim = build(tasks, clients, updates, Path(folder))
        wall, cpu = time.perf_counter(), time.process_time()
        drive(sim)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    state = sim.engine.server.state
    assert state.updates == updates and all(t.version for t in state.tasks.values())
    return {
        "tasks": tasks,
        "clients": clients,
        "updates": updates,
        "updates_per_s": updates / wall,
        "updates_per_processor_s": updates / cpu,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    """Measure, print, and write docs/benchmarks/tasks.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, type=int, metavar=("TASKS", "CLIENTS", "UPDATES"))
    parser.add_argument("--quick", action="store_true", help="fewer updates, nothing written")
    a = parser.parse_args()
    if a.one:
        print(json.dumps(one(*a.one)))
        return
    runs = []
    for tasks in (1, 20):
        for _ in range(1 if a.quick else 3):
            command = [sys.executable, "-m", "benchmarks.tasks", "--one", str(tasks), "100000"]
            command.append("100000" if a.quick else "1000000")
            runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    for tasks in (1, 20):
        own = [r for r in runs if r["tasks"] == tasks]
        wall, cpu = (statistics.median(r[k] for r in own) for k in ("updates_per_s", "updates_per_processor_s"))
        print(f"{tasks:>2} tasks: {wall:,.0f} updates/s, {cpu:,.0f} per second of processor time (target {TARGET:,})")
    if not a.quick:
        machine = {"python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()}
        result = {"command": "python -m benchmarks.tasks", "machine": machine, "runs": runs}
        (DOCS / "tasks.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
