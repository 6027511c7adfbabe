"""Other systems on W1 and W2 beside hocket and the bare loop: ``python -m benchmarks.peers``.

Installs each system in an environment of its own (``.peers/``), then runs, model by model, three passes over all
systems in turn, each in a process of its own, so that a machine that drifts does so for all. The first pass also checks
that all reach the accuracy of a plain loop after as many server steps. Writes docs/benchmarks/peers.json and peers.md
after each model; ``--resume`` goes on where a run was stopped, ``--only`` measures one system (and the two that it is
compared with) anew.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.learning import DOCS, cores_free
from benchmarks.peers.environment import install, interpreter
from benchmarks.peers.page import cells, page
from benchmarks.peers.table import SYSTEMS, System
from benchmarks.peers.work import STEPS, write_data

ROOT = Path(__file__).parent.parent.parent
LONGEST = 300.0
"""Seconds after which a run is given up."""
Runs = dict[str, Any]


def measure(system: System, workload: str, model: str, data: Path, folder: Path, steps: int, seconds: float) -> Any:
    """One run in a process of its own: its line of JSON, or ``{"error": ...}``."""
    python = interpreter(system.environment, folder) if system.environment else Path(sys.executable)
    script = ("-m", f"benchmarks.peers.{system.script}", workload, model, str(data), str(steps), str(seconds))
    paths = [str(ROOT)] if system.environment else [str(ROOT / "src"), str(ROOT)]
    threads = {f"{kind}_NUM_THREADS": "1" for kind in ("OMP", "MKL", "OPENBLAS")}
    environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [str(python), *system.launch, *script],
        cwd=data,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return {"error": f"gave no result within {LONGEST:.0f} s"}
    finally:
        _end(process)
    for line in reversed(out.splitlines()):
        if line.startswith('{"rate"'):
            return json.loads(line)
    last = [line for line in err.splitlines() if line.strip()][-1:]
    return {"error": f"exit status {process.returncode}: {''.join(last)[:300]}"}


def _end(process: subprocess.Popen[str]) -> None:
    """A launcher is asked first, so that it ends its workers, which are not of its group."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, how)
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=15)


def sitting(models: str, names: list[str], passes: int, seconds: float, until: float, folder: Path, runs: Runs) -> Any:
    """Measure what is not in ``runs`` yet; yields after each model."""
    with tempfile.TemporaryDirectory() as temporary:
        write_data(data := Path(temporary))
        for model in models:
            for n in range(passes):
                for name in names:
                    system = SYSTEMS[name]
                    for workload in system.workloads if n == 0 or name != "bare" else ("W1",):
                        key = f"{model} {workload} {name} {n}"
                        failed = "error" in runs.get(f"{model} {workload} {name} 0", {})
                        if key in runs or failed or model not in system.models or time.monotonic() > until:
                            continue
                        steps = STEPS[workload][model] if n == 0 else 0
                        began = time.perf_counter()
                        runs[key] = found = measure(system, workload, model, data, folder, steps, seconds)
                        _say(key, found, time.perf_counter() - began)
                        (folder / "runs.json").write_text(json.dumps(runs))
            yield model


def main() -> None:
    """Install, measure, print; write docs/benchmarks/peers.json and peers.md."""
    others = [name for name in SYSTEMS if name not in ("bare", "hocket")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=others, help="this system alone (may be given again)")
    parser.add_argument("--models", default="abdc", help="which of a, b, c, d")
    parser.add_argument("--quick", action="store_true", help="model a unless said, one pass; nothing written")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--resume", action="store_true", help="keep the runs of the sitting that was stopped")
    parser.add_argument("--minutes", type=float, default=20.0, help="begin no run after that (installing not counted)")
    parser.add_argument("--folder", type=Path, default=ROOT / ".peers", help="where environments are kept")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    refused: dict[str, str] = {}
    for name in dict.fromkeys(SYSTEMS[n].environment for n in arguments.only or others):
        print(f"environment {name}", flush=True)
        if name and (said := install(name, folder)):
            refused[name] = said
            print(f"  not installed: {said}", flush=True)
    names = ["bare", "hocket", *(n for n in arguments.only or others if SYSTEMS[n].environment not in refused)]
    models = "a" if arguments.quick and arguments.models == "abdc" else arguments.models
    passes, seconds = (1, 1.5) if arguments.quick else (arguments.passes, 2.5)
    kept = folder / "runs.json"
    runs: Runs = json.loads(kept.read_text()) if arguments.resume and kept.exists() else {}
    runs = {key: found for key, found in runs.items() if "error" not in found}
    until, free = time.monotonic() + 60 * arguments.minutes, [cores_free()]
    for model in sitting(models, names, passes, seconds, until, folder, runs):
        if arguments.quick:
            continue
        written = DOCS / "peers.json"
        known = json.loads(written.read_text()) if written.exists() else {"cells": {}, "refused": {}}
        machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        result = {
            "command": "python -m benchmarks.peers",
            "machine": machine,
            "cells": {**known["cells"], **cells(runs, [*free, cores_free()])},
            "refused": {n: s for n, s in {**known["refused"], **refused}.items() if n in refused or n not in names},
        }
        written.write_text(json.dumps(result, indent=1) + "\n")
        (DOCS / "peers.md").write_text(page(result))
        print(f"model {model} is written", flush=True)


def _say(key: str, found: dict[str, Any], took: float) -> None:
    what = found.get("error") or f"{found['rate']:,.1f}/s"
    reached = f", accuracy {found['accuracy']:.3f}" if found.get("accuracy") is not None else ""
    print(f"{key}: {what}{reached} ({took:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
