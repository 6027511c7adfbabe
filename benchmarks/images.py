"""Quantized against full precision on real images: ``python -m benchmarks.images`` (an hour on two cores).

Fashion-MNIST, 1,000 clients, labels from Dirichlet(0.3), a small convolutional network, 100 clients at work, buffer 10.
For each of three seeds FedBuff runs until the target; so does QAFeL with codecs of 4 bits both ways. Uploads and bytes
to the target are compared; ``HOCKET_DATA`` names the folder with the data.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import hocket as hk
from hocket.codec import QSGD
from hocket.downlink.frame import FRAME
from hocket.guard import Constant
from hocket.strategies import fedbuff, qafel

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
SETTING: dict[str, Any] = {"buffer": 10, "in_flight": 100, "refill_first": True}
METHODS = {
    "FedBuff": fedbuff(decay=Constant(), **SETTING),
    "QAFeL 4/4 bits": qafel(up=QSGD(4, 128), down=QSGD(4, 128), **SETTING),
    "QAFeL 8/4 bits": qafel(up=QSGD(8, 128), down=QSGD(4, 128), **SETTING),
    "QAFeL 2/4 bits": qafel(up=QSGD(2, 128), down=QSGD(4, 128), **SETTING),
}


def one(name: str, seed: int, target: float, most: int) -> dict[str, Any]:
    """A run to the target, or ``most`` uploads."""
    began = time.perf_counter()
    local = hk.LocalSGD(lr=0.03, batch_size=10, epochs=1)
    task = hk.reference_tasks.fashion_mnist(clients=1000, alpha=0.3, seed=seed, local=local)
    fleet = hk.Fleet.equal(1000, compute=0.01, compute_law=hk.fleet.HalfNormal(), down=1e7, up=1e7)
    until = hk.Until(accuracy=target, updates=most)
    run = hk.simulate(task, fleet, METHODS[name], until, seed=seed, evaluation=hk.Evaluation(every=10))
    said, bytes_ = run.summary["tasks"]["fashion_mnist"], run.summary["bytes"]
    return {
        "method": name,
        "seed": seed,
        "parameters": task.schema.size,
        "reached": said["time_to_target_s"] is not None,
        "accuracy": said["accuracy"],
        "uploads": run.summary["updates"],
        "up": bytes_["up"],
        "broadcast": bytes_["broadcast"],
        "per_receiver": bytes_["down"],
        "mean_staleness": run.summary["staleness"]["mean"],
        "wall_s": time.perf_counter() - began,
    }


def main() -> None:
    """Measure, print, and write docs/benchmarks/images.json and images.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", type=float, default=0.80)
    parser.add_argument("--most", type=int, default=8000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    a = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in range(a.seeds):
        for name in a.methods:
            rows.append(one(name, seed, a.target, a.most))
            print(json.dumps(rows[-1]), flush=True)
    base = {r["seed"]: r for r in rows if r["method"] == "FedBuff"}
    lines = []
    for name in a.methods:
        mine = [r for r in rows if r["method"] == name]

        def ratio(what: str, mine: list[dict[str, Any]] = mine) -> str:
            each = [base[r["seed"]][what] / r[what] for r in mine]
            return f"{statistics.mean(each):.2f} ({min(each):.2f}-{max(each):.2f})"

        uploads = [r["uploads"] / base[r["seed"]]["uploads"] for r in mine]
        lines.append(
            f"| {name} | {sum(r['reached'] for r in mine)} of {len(mine)} | "
            f"{statistics.mean(r['uploads'] for r in mine):,.0f} | {statistics.mean(uploads):.2f} "
            f"({min(uploads):.2f}-{max(uploads):.2f}) | "
            + " | ".join(map(ratio, ("up", "broadcast", "per_receiver")))
            + " |"
        )
    table = "\n".join(lines)
    print(table)
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / "images.json").write_text(json.dumps({"target": a.target, "runs": rows}, indent=1) + "\n")
    (DOCS / "images.md").write_text(
        PAGE.format(target=a.target, n=rows[0]["parameters"], table=table, frame=FRAME.size)
    )


PAGE = """# Quantized against full precision on real images

`python -m benchmarks.images` wrote this page and `images.json`. Fashion-MNIST, 1,000 clients, labels from
Dirichlet(0.3), a convolutional network of {n:,} parameters, one pass over the client's data in batches of 10 at rate
0.03, 100 clients at work, buffer 10, staleness weight 1. Runs end at test accuracy {target}, measured every 10 steps;
means over seeds, ranges in brackets. Bytes include every frame (28 bytes up, {frame} down); the last three columns are
FedBuff's bytes by the method's.

| method | reached | uploads | by FedBuff's | bytes up | broadcast | per receiver |
|---|---|---|---|---|---|---|
{table}

Broadcast is what one channel to everybody carries, each step's message once; per receiver is what clients fetch one by
one when they are given work, replays or snapshots of the hidden state.
"""

if __name__ == "__main__":
    main()
