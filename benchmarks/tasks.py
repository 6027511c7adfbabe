"""Speed of the engine with many tasks: ``python -m benchmarks.tasks`` (``--quick``: one round, nothing written).

FedAST with static budgets, size-only tasks on 100,000 clients that queue jobs, R = 10,000 requests, rho = 10, the event
log written to Parquet; one core, one process per run. Twenty tasks make 1,000,000 updates once. Then twenty, one, and
FedBuff as ``benchmarks.engine`` runs it make 200,000 each, in turn, so that their ratios hold on a machine whose speed
drifts: medians of five rounds, by processor time, since other work slows the wall clock. Interpreter
steps per update are counted, so they do not depend on the machine.
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
from types import FrameType
from typing import Any

import hocket as hk
from benchmarks.engine import apart as engine
from benchmarks.engine import drive
from hocket.setup import Setup
from hocket.simulation.run import Simulation, prepare

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
TARGET = 30_000


def build(tasks: int, clients: int, updates: int, folder: Path, in_flight: int = 10_000) -> Simulation:
    """The run that is measured."""
    each = [hk.Task.sized(parameters=10_000, clients=clients, name=f"t{i}", cost=1 + i / 10) for i in range(tasks)]
    fleet = hk.Fleet.synthetic(clients, seed=0, compute_law=hk.fleet.Exponential())
    method = hk.strategies.fedast(in_flight=in_flight, ratio=10, allocation="static")
    return prepare(Setup.of(each, method, hk.Until(updates=updates)), fleet, log=True, folder=folder)


def steps(tasks: int, clients: int, updates: int = 2000) -> float:
    """Interpreter steps (bytecodes) of an update in the steady state; R is a tenth of ``clients``."""
    count = 0

    def step(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "opcode"
        return step

    def call(frame: FrameType, event: str, _: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    with tempfile.TemporaryDirectory() as folder:
        sim = build(tasks, clients, 10**9, Path(folder), in_flight=clients // 10)
        state, before = sim.engine.server.state, sys.gettrace()
        while state.updates < clients // 5:
            sim.engine.run(1000)
        began = state.updates
        sys.settrace(call)
        try:
            sim.engine.run(3 * updates)
        finally:
            sys.settrace(before)
        return count / (state.updates - began)


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


def apart(tasks: int, updates: int) -> dict[str, Any]:
    """Measure one run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.tasks", "--one", str(tasks), "100000", str(updates)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure, print, and write docs/benchmarks/tasks.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3, type=int, metavar=("TASKS", "CLIENTS", "UPDATES"))
    parser.add_argument("--quick", action="store_true", help="one round, nothing written")
    a = parser.parse_args()
    if a.one:
        print(json.dumps(one(*a.one)))
        return
    work = {k: steps(k, 20_000) for k in (1, 20)}
    print("interpreter steps per update: " + ", ".join(f"{k} tasks {v:,.0f}" for k, v in work.items()), flush=True)
    rounds = []
    for _ in range(1 if a.quick else 5):
        row = {"20 tasks": apart(20, 200_000), "1 task": apart(1, 200_000), "FedBuff": engine(100_000, 200_000, 10_000)}
        rounds.append({k: r["updates_per_processor_s"] for k, r in row.items()})
        print("  ".join(f"{k}: {v:,.0f}" for k, v in rounds[-1].items()), flush=True)
    by_one, by_fedbuff = (statistics.median(r[k] / r["20 tasks"] for r in rounds) for k in ("1 task", "FedBuff"))
    print(f"an update of 20 tasks costs {by_one:.2f} of one of a single task, {by_fedbuff:.2f} of one of FedBuff")
    if a.quick:
        return
    whole = apart(20, 1_000_000)
    wall, cpu, peak = (whole[k] for k in ("updates_per_s", "updates_per_processor_s", "peak_memory_bytes"))
    print(f"20 tasks, 1,000,000 updates: {wall:,.0f}/s, {cpu:,.0f} per second of processor time (target {TARGET:,})")
    print(f"peak memory {peak / 1e6:,.0f} MB")
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()}
    result = {"command": "python -m benchmarks.tasks", "machine": machine, "whole": whole, "rounds": rounds}
    result["interpreter_steps_per_update"] = work
    result |= {"20_tasks_by_1": by_one, "20_tasks_by_fedbuff": by_fedbuff}
    (DOCS / "tasks.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
