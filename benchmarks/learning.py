"""Client updates per second with real models, next to a bare PyTorch loop: ``python -m benchmarks.learning``.

Data: 1,000 clients x 100 samples of 28x28x1 in 62 classes, float32, seeded noise. A client update is 10 SGD steps of
batch 10 at rate 0.05. W1 is FedAvg with a cohort of 50 (model c: 20), W2 FedBuff with a buffer of 10, 100 in flight and
exponential times, both end to end through the simulator. The bare loop is ``nn.Module``, ``torch.optim.SGD`` and
``load_state_dict`` in one thread. All three are measured in turn in one process; medians of three passes.

| model | layers |
|---|---|
| a | 784-62 |
| b | 784-200-62, relu |
| c | conv 5x5x32, pool, conv 5x5x64, pool, 2048, 62 |
| d | conv 3x3x8, pool, conv 3x3x16, pool, 62 |

Stacks drawn from a seed follow (depth, widths, activation), with the path that each got.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import hocket as hk
from hocket.keyed import below, key
from hocket.learning import ClientData, Examples, LocalSGD
from hocket.setup import Setup
from hocket.simulation.run import prepare

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
CLASSES = 62
LOCAL = LocalSGD(lr=0.05, batch_size=10, steps=10)
TARGETS = {"a": (9.0, 6.0), "b": (6.0, 4.0), "d": (2.2, 2.2), "c": (1.8, 1.8)}  # W1, W2
Build = Callable[[], nn.Module]


def a() -> nn.Module:
    """Logistic regression."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, CLASSES))


def b() -> nn.Module:
    """One hidden layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, CLASSES))


def c() -> nn.Module:
    """The CNN of LEAF."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3136, 2048), nn.ReLU(), nn.Linear(2048, CLASSES),
    )  # fmt: skip


def d() -> nn.Module:
    """A light CNN."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(784, CLASSES),
    )  # fmt: skip


def drawn(seed: int) -> tuple[str, Build]:
    """A stack of a random depth, random widths and a random activation."""
    k = key(seed, "stack")
    depth = 1 + below(key(k, "depth"), 3)
    widths = [16 << below(key(k, "width", i), 5) for i in range(depth)]
    act = (nn.ReLU, nn.Tanh, nn.GELU)[below(key(k, "activation"), 3)]

    def build() -> nn.Module:
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in zip([784, *widths], widths, strict=False):
            layers += [nn.Linear(before, after), act()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES))

    return f"784-{'-'.join(map(str, widths))}-62 {act.__name__}", build


def data(clients: int) -> ClientData:
    """Seeded noise in the shape of FEMNIST."""
    draw = np.random.default_rng(0)
    n = clients * 100
    rows = Examples(draw.random((n, 1, 28, 28), dtype=np.float32), draw.integers(0, CLASSES, n))
    held = rows.take(slice(0, 100))
    return ClientData(rows, np.arange(clients + 1) * 100, held, held)


def bare(build: Build, given: ClientData, updates: int) -> float:
    """Client updates per second of a loop without a framework, in one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    model = build()
    start = {k: v.clone() for k, v in model.state_dict().items()}
    sgd = torch.optim.SGD(model.parameters(), 0.05)
    features, labels = torch.tensor(given.train.features), torch.tensor(given.train.labels)
    began = time.perf_counter()
    for client in range(updates):
        model.load_state_dict(start)
        order = torch.randperm(100) + client % len(given.samples) * 100
        for at in range(0, 100, 10):
            rows = order[at : at + 10]
            sgd.zero_grad()
            nn.functional.cross_entropy(model(features[rows]), labels[rows]).backward()
            sgd.step()
        {k: v - start[k] for k, v in model.state_dict().items()}
    spent = time.perf_counter() - began
    torch.set_num_threads(before)
    return updates / spent


def ours(learner: Any, clients: int, method: hk.Strategy, updates: int) -> tuple[float, float]:
    """Client updates per second end to end, and the mean batch, after a first step."""
    task = hk.Task.of(learner, LOCAL)
    fleet = hk.Fleet.synthetic(clients, seed=0, compute_law=hk.fleet.Exponential())
    setup = Setup.of(task, method, hk.Until(updates=updates), evaluation=hk.Evaluation(every=10**6))
    sim = prepare(setup, fleet)
    training = sim.engine.training
    while not sim.engine.server.state.tasks["task"].version:
        sim.engine.run(1)
    first, began = sim.engine.server.state.updates, time.perf_counter()
    sim.engine.run()
    spent = time.perf_counter() - began
    return (sim.engine.server.state.updates - first) / spent, training.trained / max(1, training.batches)


def measure(build: Build, given: ClientData, updates: int, cohort: int, passes: int) -> dict[str, Any]:
    """Bare loop, W1 and W2 in turn; ratios of each pass, and their medians."""
    clients = len(given.samples)
    learner = hk.TorchLearner(build, given)
    w1 = hk.strategies.fedavg(cohort=cohort)
    w2 = hk.strategies.fedbuff(buffer=10, in_flight=100)
    rows = []
    for _ in range(passes + 1):  # the first warms up
        base = bare(build, given, max(10, updates // 8))
        rows.append((base, *ours(learner, clients, w1, updates), *ours(learner, clients, w2, updates)))
    rows = rows[1:]
    median = statistics.median
    return {
        "bare": median(r[0] for r in rows),
        "w1": median(r[1] for r in rows),
        "w2": median(r[3] for r in rows),
        "w1_ratio": median(r[1] / r[0] for r in rows),
        "w2_ratio": median(r[3] / r[0] for r in rows),
        "mean_batch": {"w1": rows[-1][2], "w2": rows[-1][4]},
        "path": learner.kernels,
    }


def main() -> None:
    """Measure, print, and write docs/benchmarks/learning.json and learning.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the clients and one pass; nothing written")
    parser.add_argument("--models", default="abdc", help="which of a, b, c, d")
    parser.add_argument("--stacks", type=int, default=4, help="random stacks after them")
    arguments = parser.parse_args()
    given = data(200 if arguments.quick else 1000)
    passes = 1 if arguments.quick else 3
    known: dict[str, tuple[Build, int]] = {"a": (a, 1500), "b": (b, 600), "d": (d, 200), "c": (c, 60)}
    found: dict[str, Any] = {}
    for name in arguments.models:
        build, updates = known[name]
        found[name] = row = measure(build, given, updates, 20 if name == "c" else 50, passes)
        _say(name, row, TARGETS[name])
    for seed in range(arguments.stacks):
        label, build = drawn(seed)
        found[label] = row = measure(build, given, 400, 50, passes)
        _say(label, row, None)
    if arguments.quick:
        return
    result = {
        "command": "python -m benchmarks.learning",
        "machine": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        },
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "models": found,
    }
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "learning.json").write_text(json.dumps(result, indent=1) + "\n")
    (DOCS / "learning.md").write_text(_page(found, arguments.models))


def _say(name: str, r: dict[str, Any], target: tuple[float, float] | None) -> None:
    wanted = "" if target is None else f" (targets {target[0]}, {target[1]})"
    path = ", ".join(sorted(set(r["path"].values())))
    print(
        f"{name}: bare {r['bare']:,.0f}/s, W1 {r['w1']:,.0f}/s = {r['w1_ratio']:.2f}x, "
        f"W2 {r['w2']:,.0f}/s = {r['w2_ratio']:.2f}x{wanted}, path {path}",
        flush=True,
    )


def _page(found: dict[str, Any], models: str) -> str:
    lines = [
        "# Speed of learning",
        "",
        "`python -m benchmarks.learning` wrote this page and `learning.json`. Client updates per second of a bare",
        "PyTorch loop (one thread), and ratios to it of the simulator end to end; see `benchmarks/learning.py`.",
        "",
        "| model | bare loop | W1 ratio | target | W2 ratio | target | path |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, r in found.items():
        one, two = TARGETS[name] if name in models else ("", "")
        path = ", ".join(sorted(set(r["path"].values())))
        lines.append(
            f"| {name} | {r['bare']:,.1f}/s | {r['w1_ratio']:.2f} | {one} | {r['w2_ratio']:.2f} | {two} | {path} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
