"""Ctrl-C leaves a run that goes on as if nothing had happened."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

EDITS = ("--set", "until={updates=30000}", "--set", "evaluation.every=20", "--set", "strategy.staleness_limit=9")


def test_an_interrupted_run_resumes_to_the_same_summary(here, hocket):
    command = [sys.executable, "-m", "hocket", "simulate", "small.toml", *EDITS, "--out", "cut"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    began = time.monotonic()
    while not Path("cut/experiment.toml").exists():
        assert process.poll() is None and time.monotonic() - began < 60, process.communicate()
        time.sleep(0.01)
    time.sleep(0.3)  # the run goes on for seconds; its handler is there within milliseconds
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == "" and err.count("\n") == 1
    assert err.startswith("stopped at ") and "the checkpoint is in cut: the same command with --resume" in err
    assert Path("cut/checkpoint.safetensors").exists() and not Path("cut/summary.json").exists()

    code, _, err = hocket("simulate", "small.toml", *EDITS, "--out", "cut")
    assert code == 2 and "holds a run already (checkpoint.safetensors)" in err
    code, _, err = hocket("simulate", "small.toml", *EDITS, "--set", "seed=9", "--out", "cut", "--resume")
    assert code == 2 and "belongs to another experiment" in err

    assert hocket("simulate", "small.toml", *EDITS, "--out", "cut", "--resume")[0] == 0
    assert hocket("simulate", "small.toml", *EDITS, "--out", "whole")[0] == 0
    for name in ("summary.json", "experiment.toml", "curve.parquet", "model-digits.safetensors"):
        assert Path("cut", name).read_bytes() == Path("whole", name).read_bytes(), name
    assert json.loads(Path("cut/summary.json").read_text())["updates"] >= 30000
    assert not Path("cut/checkpoint.safetensors").exists()
