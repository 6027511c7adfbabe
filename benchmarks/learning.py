"""Client updates per second with real models, next to a bare PyTorch loop: ``python -m benchmarks.learning``.

Data: 1,000 clients x 100 samples of 28x28x1 in 62 classes, float32, seeded noise. A client update is 10 SGD steps of
batch 10 at rate 0.05. W1 is FedAvg with a cohort of 50 (model c: 20), W2 FedBuff with a buffer of 10, 100 in flight and
exponential times, both end to end through the simulator. The bare loop is ``nn.Module``, ``torch.optim.SGD`` and
``load_state_dict`` in one thread. All three are measured in turn in one process; medians of three passes.

The models are those of ``benchmarks.models``; a and b are measured with five epochs per update, too. Stacks drawn from
a seed follow (depth, widths, norm, activation, with or without images), with the path that each got.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import hocket as hk
from benchmarks.models import CLASSES, MODELS, Build
from hocket.keyed import below, key
from hocket.learning import ClientData, Examples, LocalSGD
from hocket.setup import Setup
from hocket.simulation.run import prepare

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
TARGETS = {"a": (9.0, 6.0), "b": (6.0, 4.0), "d": (2.2, 2.2), "c": (1.8, 1.8)}  # W1, W2


def drawn(seed: int) -> tuple[str, Build]:
    """A stack of a random depth, random widths, a random norm and a random activation; every other one with images."""
    k = key(seed, "stack")
    depth = 1 + below(key(k, "depth"), 3)
    images = min(depth, seed % 2 * (1 + below(key(k, "images"), 2)))
    widths = [(4 if i < images else 16) << below(key(k, "width", i), 4) for i in range(depth)]
    act = (nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU)[below(key(k, "activation"), 4)]
    norm = ("", "batch", "layer")[below(key(k, "norm"), 3)]

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        units, side = 1, 28
        for i, width in enumerate(widths):
            if i == images:
                layers.append(nn.Flatten())
                units *= side * side
            if i < images:
                layers.append(nn.Conv2d(units, width, 3, padding=1))
                layers += {"batch": [nn.BatchNorm2d(width)], "layer": [nn.GroupNorm(2, width)]}.get(norm, [])
                layers += [act(), nn.MaxPool2d(2)]
                side //= 2
            else:
                layers.append(nn.Linear(units, width))
                layers += {"batch": [nn.BatchNorm1d(width)], "layer": [nn.LayerNorm(width)]}.get(norm, [])
                layers.append(act())
            units = width
        if images == depth:
            layers.append(nn.Flatten())
            units *= side * side
        return nn.Sequential(*layers, nn.Linear(units, CLASSES))

    shape = "-".join([*(f"conv{w}" if i < images else str(w) for i, w in enumerate(widths))])
    return f"784-{shape}-62 {act.__name__}{f' {norm} norm' if norm else ''}", build


def data(clients: int) -> ClientData:
    """Seeded noise in the shape of FEMNIST."""
    draw = np.random.default_rng(0)
    n = clients * 100
    rows = Examples(draw.random((n, 1, 28, 28), dtype=np.float32), draw.integers(0, CLASSES, n))
    held = rows.take(slice(0, 100))
    return ClientData(rows, np.arange(clients + 1) * 100, held, held)


def bare(build: Build, given: ClientData, updates: int, epochs: int = 1) -> tuple[float, float]:
    """Client updates per second, and per second of processor time, of a loop without a framework, in one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    model = build()
    start = {k: v.clone() for k, v in model.state_dict().items()}
    sgd = torch.optim.SGD(model.parameters(), 0.05)
    features, labels = torch.tensor(given.train.features), torch.tensor(given.train.labels)
    began, busy = time.perf_counter(), time.process_time()
    for client in range(updates):
        model.load_state_dict(start)
        order = torch.cat([torch.randperm(100) for _ in range(epochs)]) + client % len(given.samples) * 100
        for rows in order.split(10):
            sgd.zero_grad()
            nn.functional.cross_entropy(model(features[rows]), labels[rows]).backward()
            sgd.step()
        {k: v - start[k] for k, v in model.state_dict().items()}
    spent, busy = time.perf_counter() - began, time.process_time() - busy
    torch.set_num_threads(before)
    return updates / spent, updates / busy


def ours(learner: Any, clients: int, method: hk.Strategy, updates: int, epochs: int = 1) -> tuple[float, float, float]:
    """Client updates per second and per second of processor time end to end, and the mean batch, after a first step."""
    task = hk.Task.of(learner, LocalSGD(lr=0.05, batch_size=10, epochs=epochs))
    fleet = hk.Fleet.synthetic(clients, seed=0, compute_law=hk.fleet.Exponential())
    setup = Setup.of(task, method, hk.Until(updates=updates), evaluation=hk.Evaluation(every=10**6))
    sim = prepare(setup, fleet)
    training = sim.engine.training
    while not sim.engine.server.state.tasks["task"].version:
        sim.engine.run(1)
    first, began, busy = sim.engine.server.state.updates, time.perf_counter(), time.process_time()
    sim.engine.run()
    spent, busy = time.perf_counter() - began, time.process_time() - busy
    done = sim.engine.server.state.updates - first
    return done / spent, done / busy, training.trained / max(1, training.batches)


def measure(build: Build, given: ClientData, updates: int, cohort: int, passes: int, epochs: int = 1) -> dict[str, Any]:
    """Bare loop, W1 and W2 in turn; ratios of each pass, and their medians."""
    clients = len(given.samples)
    learner = hk.TorchLearner(build, given)
    w1 = hk.strategies.fedavg(cohort=cohort)
    w2 = hk.strategies.fedbuff(buffer=10, in_flight=100)
    rows = []
    for _ in range(passes + 1):  # the first warms up
        base = bare(build, given, max(10, min(updates // 8, 200)), epochs)
        own = [ours(learner, clients, w, updates, epochs) for w in (w1, w2)]
        rows.append((*base, *own[0], *own[1]))
    rows = rows[1:]
    median = statistics.median
    return {
        "bare": median(r[0] for r in rows),
        "w1": median(r[2] for r in rows),
        "w2": median(r[5] for r in rows),
        "w1_ratio": median(r[2] / r[0] for r in rows),
        "w2_ratio": median(r[5] / r[0] for r in rows),
        "w1_core": median(r[3] / r[1] for r in rows),
        "w2_core": median(r[6] / r[1] for r in rows),
        "mean_batch": {"w1": rows[-1][4], "w2": rows[-1][7]},
        "path": learner.kernels,
    }


def memory(build: Build) -> dict[str, float]:
    """Peak memory of W2 in a process of its own, in MB, and what it must hold."""
    interpreter = _peak()
    given = data(1000)
    held = given.train.features.nbytes + given.train.labels.nbytes
    learner = hk.TorchLearner(build, given)
    task = hk.Task.of(learner, LocalSGD(lr=0.05, batch_size=10))
    fleet = hk.Fleet.synthetic(1000, seed=0, compute_law=hk.fleet.Exponential())
    method = hk.strategies.fedbuff(buffer=10, in_flight=100)
    sim = prepare(Setup.of(task, method, hk.Until(updates=400), evaluation=hk.Evaluation(every=10**6)), fleet)
    versions = 0
    while not sim.engine.run(50):
        versions = max(versions, len(sim.engine.book.shelves["task"].values))
    each = learner.schema.nbytes
    parts = {"interpreter": interpreter, "data": held, "live_versions": versions * each, "chunk": 100 * each}
    whole = {**parts, "peak": (peak := _peak()), "ratio": 1e6 * peak / sum(parts.values())}
    return {name: value / 1e6 for name, value in whole.items()}


def _peak() -> int:
    """Most bytes that this process had in memory, and what its mates have now for themselves alone."""
    own = Path("/proc/self")
    mates = (own / f"task/{os.getpid()}/children").read_text().split()
    alone = [_bytes(Path(f"/proc/{m}/smaps_rollup"), ("Private_Dirty", "Private_Clean")) for m in mates]
    return _bytes(own / "status", ("VmHWM",)) + sum(alone)


def _bytes(table: Path, names: tuple[str, ...]) -> int:
    rows = dict(line.split(":", 1) for line in table.read_text().splitlines() if ":" in line)
    return sum(1024 * int(rows[name].split()[0]) for name in names)


def main() -> None:
    """Measure, print, and write docs/benchmarks/learning.json and learning.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the clients and one pass; nothing written")
    parser.add_argument("--models", default="abdc", help="which of a, b, c, d")
    parser.add_argument("--epochs", default="ab", help="which of them with five epochs per update, too")
    parser.add_argument("--stacks", type=int, default=6, help="random stacks after them")
    parser.add_argument("--memory", choices=list("abcd"), help="peak memory of W2 with one model, as JSON; no more")
    arguments = parser.parse_args()
    if arguments.memory:
        print(json.dumps(memory(MODELS[arguments.memory])))
        return
    given = data(200 if arguments.quick else 1000)
    passes = 1 if arguments.quick else 3
    enough = {"a": 6000, "b": 3000, "d": 200, "c": 60}  # clients come again: what is kept of them counts
    found: dict[str, Any] = {}
    cores = [cores_free()]
    for name in arguments.models:
        found[name] = row = measure(MODELS[name], given, enough[name], 20 if name == "c" else 50, passes)
        _say(name, row, TARGETS[name])
    for name in arguments.epochs:
        label = f"{name}, five epochs"
        found[label] = row = measure(MODELS[name], given, enough[name] // 6, 50, passes, 5)
        _say(label, row, None)
    for seed in range(arguments.stacks):
        label, build = drawn(seed)
        found[label] = row = measure(build, given, 400, 50, passes)
        _say(label, row, None)
    cores.append(cores_free())
    if arguments.quick:
        return
    result = {
        "command": "python -m benchmarks.learning",
        "machine": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        },
        "cores_free": cores,
        "memory_mb": {name: _in_own_process(name) for name in arguments.models},
        "models": found,
    }
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "learning.json").write_text(json.dumps(result, indent=1) + "\n")
    (DOCS / "learning.md").write_text(_page(result, arguments.models))


def _in_own_process(name: str) -> Any:
    command = [sys.executable, "-m", "benchmarks.learning", "--memory", name]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def cores_free(seconds: float = 1.0) -> float:
    """How many cores as many busy processes as there are cores get now; less than that where others are at work."""
    burn = f"import time; e = time.perf_counter() + {seconds}\nwhile time.perf_counter() < e: pass\n"
    burn += "print(time.process_time())"
    many = [subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE) for _ in range(os.cpu_count() or 1)]
    return sum(float(p.communicate()[0]) for p in many) / seconds


def _say(name: str, r: dict[str, Any], target: tuple[float, float] | None) -> None:
    wanted = "" if target is None else f" (targets {target[0]}, {target[1]})"
    path = ", ".join(sorted(set(r["path"].values())))
    print(
        f"{name}: bare {r['bare']:,.0f}/s, W1 {r['w1']:,.0f}/s = {r['w1_ratio']:.2f}x (per core {r['w1_core']:.2f}), "
        f"W2 {r['w2']:,.0f}/s = {r['w2_ratio']:.2f}x (per core {r['w2_core']:.2f}){wanted}, path {path}",
        flush=True,
    )


def _page(result: dict[str, Any], models: str) -> str:
    cores = " and ".join(f"{c:.1f}" for c in result["cores_free"])
    lines = [
        "# Speed of learning",
        "",
        "`python -m benchmarks.learning` wrote this page and `learning.json`. Client updates per second of a bare",
        "PyTorch loop (one thread), and ratios to it of the simulator end to end; see `benchmarks/learning.py`.",
        "Per core: the same with processor time instead of wall time, so on one core, whoever else is at work.",
        f"The machine had {cores} free cores of {os.cpu_count()} before and after.",
        "Other systems on the same workloads: [Beside other systems](peers.md). Models that are no chains of layers:",
        "[Modules mapped over clients](vmap.md).",
        "",
        "| model | bare loop | W1 ratio | per core | target | W2 ratio | per core | target | path |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, r in result["models"].items():
        one, two = TARGETS[name] if name in models else ("", "")
        path = ", ".join(sorted(set(r["path"].values())))
        lines.append(
            f"| {name} | {r['bare']:,.1f}/s | {r['w1_ratio']:.2f} | {r['w1_core']:.2f} | {one} | {r['w2_ratio']:.2f} "
            f"| {r['w2_core']:.2f} | {two} | {path} |"
        )
    lines += [
        "",
        "Peak memory of W2 in a process of its own (MB), and what it has to hold: the interpreter with torch, the",
        "data, the versions that clients still train from, and the results of 100 clients that are trained together.",
        "",
        "| model | peak | interpreter | data | live versions | chunk | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, m in result["memory_mb"].items():
        parts = " | ".join(f"{m[k]:,.0f}" for k in ("peak", "interpreter", "data", "live_versions", "chunk"))
        lines.append(f"| {name} | {parts} | {m['ratio']:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
