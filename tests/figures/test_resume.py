"""A run killed with SIGKILL at random moments and resumed ends like one that was never interrupted."""

import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hocket.record.log import read_log

CHILD = """
import os, signal, sys, threading
import hocket as hk
out, name, wait = sys.argv[1], sys.argv[2], float(sys.argv[3])
task = hk.reference_tasks.digits(clients=100, alpha=0.3, model="mlp")
fleet = hk.Fleet.synthetic(
    100, seed=0, compute_law=hk.fleet.Exponential(), failure=0.02, availability=hk.fleet.Renewal(on=300.0, off=100.0)
)
method = {
    "fedbuff": hk.strategies.fedbuff(5, 30, staleness_limit=20),
    "fedavg": hk.strategies.fedavg(10, overcommit=1.3, deadline=200.0),
}[name]
if wait:
    threading.Timer(wait, os.kill, (os.getpid(), signal.SIGKILL)).start()
hk.simulate(
    task, fleet, method, hk.Until(updates=8000), seed=1, evaluation=hk.Evaluation(every=10), out=out, resume=True,
    checkpoint_every=0.02,
)
os._exit(0)
"""
KILLS = 5


def run(out: Path, method: str, kill_after: float = 0.0) -> int:
    return subprocess.run([sys.executable, "-c", CHILD, str(out), method, str(kill_after)]).returncode


def files(out: Path) -> dict[str, bytes]:
    names = ("summary.json", "model-digits.safetensors", "curve.parquet")
    return {n: (out / n).read_bytes() for n in names}


@pytest.mark.parametrize("chain", range(2))
@pytest.mark.parametrize("method", ["fedavg", "fedbuff"])
def test_killed_at_random_points(method: str, chain: int, tmp_path: Path) -> None:
    """5 kills in a row per run, 4 runs: 20 points in all."""
    assert run(tmp_path / "whole", method) == 0
    seconds = json.loads((tmp_path / "whole" / "machine.json").read_text())["wall_s"]
    rng, killed, out = random.Random(f"{method} {chain}"), 0, tmp_path / "killed"
    while killed < KILLS:
        code = run(out, method, rng.uniform(0.01, 0.4) * seconds)
        assert code in (0, -signal.SIGKILL)
        if code == 0:  # it got through before the shot: start over
            shutil.rmtree(out)
        else:
            killed += 1
    assert run(out, method) == 0
    assert files(out) == files(tmp_path / "whole")
    assert read_log(out).equals(read_log(tmp_path / "whole"))
