"""FedFetch: speed of its schedule and of runs without arrays, and the trade of time for bytes as a picture.

``python -m benchmarks.fedfetch`` measures speed; ``--frontier`` runs both rules at several settings on the authors'
devices (``HOCKET_DATA``, minutes) and draws ``docs/benchmarks/fedfetch-frontier.svg``.
"""

import argparse
import json
import statistics
import time
from array import array
from pathlib import Path

import numpy as np

import hocket as hk
from hocket.index_set import IndexSet
from hocket.lease import Node
from hocket.policies import Estimate, Pick
from hocket.prefetch import Calendar
from hocket.reproduce import fedfetch as figures
from hocket.view import TaskState, View

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
CLIENTS, WINDOW = 10_000, 10


def schedule() -> float:
    """Seconds to plan the starts of 10,000 clients over ten rounds, median of nine."""
    everybody = IndexSet.empty(CLIENTS)
    for c in range(CLIENTS):
        everybody.add(c)
    none = array("i", bytes(4 * CLIENTS))
    view = View(CLIENTS, {"a": TaskState("a", Node("a", 20), none, none, none)}, {}, everybody, everybody, none)
    policy = Calendar(1.3, rates="known", warm_up=0)
    picks = [Pick("a", c, 1.0, for_version=20 + WINDOW) for c in range(CLIENTS)]
    rates = np.random.default_rng(0).lognormal(16, 1.5, CLIENTS)
    times = []
    for _ in range(9):
        state = policy.init(view)
        seen = state.tasks["a"]
        seen.length, seen.sizes[1], seen.held[:] = 25.0, 5e6, np.arange(CLIENTS) % 20
        began = time.perf_counter()
        starts = policy.starts(state, picks, view, Estimate(22_000_000, rates))
        times.append(time.perf_counter() - began)
        assert starts
    return statistics.median(times)


def size_only() -> float:
    """Seconds for 1,000 rounds of 39 of 2,800 clients, with prefetch."""
    local = hk.LocalSGD(lr=0.01, batch_size=20, steps=10)
    task = hk.Task.sized(parameters=figures.PARAMETERS, clients=2800, local=local)
    fleet = hk.Fleet.synthetic(2800, seed=0, augmentation=0.4)
    began = time.perf_counter()
    hk.simulate(task, fleet, hk.strategies.fedfetch(), hk.Until(steps=1000))
    return time.perf_counter() - began


def frontier() -> dict[str, list[tuple[float, float]]]:
    """(extra bytes, time ratio) of STC by setting, for the released rule and for two of ours."""
    large = figures.LARGE
    base = figures.baseline("stc", large)
    slacks = (0.25, 0.0, -0.3)
    rules = {
        "released": [figures.released("stc", large, slack=b) for b in (0.0, 0.25, 0.5, 0.75)],
        "useful": [figures.ours("stc", large, tail="useful", slack=b) for b in slacks],
        "finish": [figures.ours("stc", large, by="finish", tail="useful", slack=b) for b in slacks],
    }
    out = {}
    for name, strategies in rules.items():
        each = [figures.ratios(s, base) for s in strategies]
        out[name] = sorted((r.bytes - 1, r.total) for r in each)
    return out


def draw(points: dict[str, list[tuple[float, float]]], path: Path) -> None:
    """Time ratio against extra bytes."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "hocket"
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    labels = {
        "released": "released rule, slack 0 to 0.75",
        "useful": "the tail only as early as it helps, slack -0.3 to 0.25",
        "finish": "the same, limit on when a client finishes",
    }
    for (name, each), colour, mark in zip(points.items(), ("#8a8a8a", "#c9782b", "#1f6f8b"), "s^o", strict=True):
        axes.plot([100 * x for x, _ in each], [y for _, y in each], mark + "-", color=colour, label=labels[name])
    axes.axvline(13, color="#c0c0c0", linewidth=1, linestyle="--")
    axes.set_xlabel("extra bytes, %")
    axes.set_ylabel("time without prefetch / time with it")
    axes.set_title("STC, 2,800 devices, 1,000 rounds, cohort 30 of 39", fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frontier", action="store_true")
    asked = parser.parse_args()
    if asked.frontier:
        points = frontier()
        (DOCS / "fedfetch.json").write_text(json.dumps(points, indent=1) + "\n")
        draw(points, DOCS / "fedfetch-frontier.svg")
        print(json.dumps(points))
        return
    print(f"schedule of {CLIENTS} clients, {WINDOW} rounds: {schedule() * 1e3:.1f} ms")
    print(f"2,800 clients, 1,000 rounds without arrays: {size_only():.2f} s")


if __name__ == "__main__":
    main()
