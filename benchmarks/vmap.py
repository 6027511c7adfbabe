"""Modules that are no chains of layers, mapped over clients and one at a time: ``python -m benchmarks.vmap``.

Processor time per step of a client (batches of 10, or 12 where batch norm is in the way) with one thread: on the path
"vmap" with 1, 8 and 32 jobs at hand, and one client after another, for images in the faster of the two layouts of
memory. The paths take turns; ratios are medians over turns. "measured" is what a learner chooses with 32 jobs.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import hocket as hk
from benchmarks.models import CLASSES, Build
from hocket.errors import InvalidInput
from hocket.learning import ClientData, Examples, Job, LocalSGD

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
CLIENTS, SAMPLES, STEPS, LENGTH = 32, 60, 5, 32
JOBS = (1, 8, 32)


class Branch(nn.Module):
    """``x + body(x)``."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class Attention(nn.Module):
    """Causal attention of four heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = (z.view(n, t, 4, d // 4).transpose(1, 2) for z in self.into(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.out(y.transpose(1, 2).reshape(n, t, d))
        return out


class Mean(nn.Module):
    """Mean over the positions of a text."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class LowRank(nn.Linear):
    """A frozen layer, and a product of two thin matrices beside it (LoRA)."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__(ins, outs)
        self.requires_grad_(False)
        self.a, self.b = nn.Parameter(torch.randn(4, ins) / 30), nn.Parameter(torch.zeros(outs, 4))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x) + x @ self.a.T @ self.b.T
        return out


class Recurrent(nn.Module):
    """An LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm, self.out = nn.Embedding(80, 8), nn.LSTM(8, 32, batch_first=True), nn.Linear(32, 80)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.lstm(self.embed(x))[0])
        return out


def rows(width: int) -> nn.Module:
    """Two residual blocks on rows."""
    blocks = [Branch(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in "12"]
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), *blocks, nn.Linear(width, CLASSES))


def images(width: int, batch_norm: bool = False) -> nn.Module:
    """Two residual blocks on images."""

    def block() -> nn.Module:
        norm = nn.BatchNorm2d(width) if batch_norm else nn.GroupNorm(2, width)
        inner = (nn.Conv2d(width, width, 3, padding=1), norm, nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
        return nn.Sequential(Branch(*inner), nn.ReLU(), nn.MaxPool2d(2))

    ends = nn.Conv2d(1, width, 3, padding=1, stride=2), nn.Linear(9 * width, CLASSES)
    return nn.Sequential(ends[0], block(), block(), nn.Flatten(), ends[1])


def transformer(width: int, blocks: int) -> nn.Module:
    """Blocks of attention and two layers, each with a norm, to the next of 80 characters."""
    inner: list[nn.Module] = []
    for _ in range(blocks):
        wide = (nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        inner += [Branch(nn.LayerNorm(width), Attention(width)), Branch(nn.LayerNorm(width), *wide)]
    return nn.Sequential(nn.Embedding(80, width), *inner, nn.Linear(width, 80))


MODULES: dict[str, tuple[Build, str]] = {
    "embedding, mean, linear": (lambda: nn.Sequential(nn.Embedding(80, 16), Mean(), nn.Linear(16, CLASSES)), "text"),
    "low rank beside 784-200-62": (
        lambda: nn.Sequential(nn.Flatten(), LowRank(784, 200), nn.ReLU(), LowRank(200, CLASSES)), "image",
    ),
    "residual rows, 64": (lambda: rows(64), "image"),
    "residual images, 8 channels": (lambda: images(8), "image"),
    "residual images, 8 channels, batch norm": (lambda: images(8, True), "image"),
    "transformer block, 32": (lambda: transformer(32, 1), "characters"),
    "transformer, two blocks, 128": (lambda: transformer(128, 2), "characters"),
    "residual images, 32 channels": (lambda: images(32), "image"),
    "residual rows, 256": (lambda: rows(256), "image"),
    "LSTM, 32": (Recurrent, "characters"),
}  # fmt: skip


def data(kind: str) -> ClientData:
    """Seeded noise."""
    draw, n = np.random.default_rng(0), CLIENTS * SAMPLES
    images = kind == "image"
    features = draw.random((n, 1, 28, 28), dtype=np.float32) if images else draw.integers(0, 80, (n, LENGTH))
    labels = draw.integers(0, 80, (n, LENGTH)) if kind == "characters" else draw.integers(0, CLASSES, n)
    given = Examples(features, labels)
    return ClientData(given, np.arange(CLIENTS + 1) * SAMPLES, given.take(slice(0, 8)), given.take(slice(0, 8)))


def measure(name: str, turns: int) -> dict[str, Any]:
    """Microseconds per step alone, ratios by jobs at hand, and the path of "measured"."""
    build, kind = MODULES[name]
    given, loss = data(kind), "next_character" if kind == "characters" else "cross_entropy"
    local = LocalSGD(lr=0.05, batch_size=12 if "batch norm" in name else 10, steps=STEPS)

    def learner(path: str) -> hk.TorchLearner:
        return hk.TorchLearner(build, given, loss=loss, threads=1, path=path)

    def spent(own: hk.TorchLearner, jobs: int) -> float:
        began = time.process_time()
        own.train([Job(i, i, x, local, i, 0) for i in range(jobs)])
        return 1e6 * (time.process_time() - began) / jobs / STEPS

    chosen = learner("measured")
    x = chosen.initial(0)
    spent(chosen, JOBS[-1])
    row: dict[str, Any] = {"parameters": chosen.schema.size, "measured": next(iter(chosen.kernels.values()))}
    alone = [learner(path) for path in ("single", "single-last")[: 2 if kind == "image" else 1]]
    try:
        mapped = learner("vmap")
    except InvalidInput as error:
        return {**row, "refused": str(error).split("model: ")[1].split(";")[0]}
    times: list[tuple[float, dict[int, float]]] = []
    for _ in range(turns + 1):  # the first warms up
        times.append((min(spent(own, 4) for own in alone), {n: spent(mapped, n) for n in JOBS}))
    ratios = {n: statistics.median(one / several[n] for one, several in times[1:]) for n in JOBS}
    assert set(mapped.kernels.values()) == {"vmap"}, mapped.kernels
    return {**row, "alone_us": statistics.median(one for one, _ in times[1:]), "ratio": ratios}


def page(found: dict[str, Any]) -> str:
    """The table."""
    lines = [
        "# Modules mapped over clients",
        "",
        "`python -m benchmarks.vmap` wrote this page and `vmap.json`. Processor time per step of a client, one at a",
        "time, and how many times less it is mapped over clients with `torch.func.vmap` in blocks of 8 lanes, by the",
        "jobs at hand; one thread, batches of 10 (padded to 12; 12 with batch norm). The last",
        'column is what `path="measured"` chose with 32 jobs; see `benchmarks/vmap.py`.',
        "",
        "| module | parameters | one at a time | 1 job | 8 jobs | 32 jobs | measured |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, r in found.items():
        if "refused" in r:
            lines.append(f"| {name} | {r['parameters']:,} | | {r['refused']} | | | {r['measured']} |")
            continue
        ratios = " | ".join(f"{r['ratio'][n]:.2f}" for n in JOBS)
        lines.append(f"| {name} | {r['parameters']:,} | {r['alone_us']:,.0f} us | {ratios} | {r['measured']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write docs/benchmarks/vmap.json and vmap.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5, help="how often each path is measured")
    turns = parser.parse_args().turns
    found = {}
    for name in MODULES:
        found[name] = measure(name, turns)
        print(name, found[name], flush=True)
    machine = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
    result = {"command": "python -m benchmarks.vmap", "machine": machine, "turns": turns, "modules": found}
    (DOCS / "vmap.json").write_text(json.dumps(result, indent=1) + "\n")
    (DOCS / "vmap.md").write_text(page(found))


if __name__ == "__main__":
    main()
