"""Planned routing on MNIST and Fashion-MNIST: ``python -m benchmarks.routing`` (ten minutes of one core).

The runs of ``hocket reproduce async-queueing-mnist`` and its like, see :mod:`hocket.reproduce.async_queueing_images`:
learning rates chosen on the validation split, seconds to the target for each law, and how far time-optimal routing is
ahead of AsyncSGD at several moments. ``HOCKET_DATA`` names the folder with the data; ``--quick`` takes two seeds,
``--laws`` some laws only.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from hocket.learning.local import LocalSGD
from hocket.learning.task import Task
from hocket.planning.history import arrivals
from hocket.report import svg
from hocket.report.chart import chart
from hocket.report.figures import standalone
from hocket.report.style import series
from hocket.report.svg import Axis
from hocket.reproduce import async_queueing_images as images
from hocket.reproduce.table_1 import LAWS, fleet
from hocket.simulation.run import simulate
from hocket.until import Until
from hocket.wire import FRAME

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
NAMES = {"mnist": "MNIST", "fashion": "Fashion-MNIST"}
METHODS = {"time": "time-optimal", "asyncsgd": "AsyncSGD", "rounds": "fewest rounds", "throughput": "most updates/s"}
PAIR = ("time", "asyncsgd")
SHARES = (0.6, 0.7, 0.8, 0.9, 0.95)
SHOWN, STARTS = 120.0, (2.0, 5.0, 10.0, 20.0)
"""Seconds of the figures; seconds of a start."""
HEAD = """# Planned routing on real images

`python -m benchmarks.routing{quick}` wrote this page and `routing.json`. 784-64-10 networks on the hundred clients of
2603.26231's Table 1, one gradient of 32 samples per job, Dirichlet(0.2), {seeds} seeds.

## Learning rates

Mean accuracy on the validation split over the first 120 units of an exponential run with a seed of its own; the
largest is the strategy's rate. 0.1 is a run that diverged or a model that says one class.
"""


def methods(name: str, law: str) -> tuple[str, ...]:
    """The other two strategies are run once, where the published table has the largest differences."""
    return tuple(METHODS) if (name, law) == ("fashion", "exponential") else PAIR


def measured(laws: list[str], quick: bool) -> dict[str, Any]:
    """All runs, in an order that leaves a usable whole when it is stopped: each is printed as it ends."""
    found: dict[str, Any] = {"quick": quick, "rates": [], "times": [], "moments": [], "start": []}
    for name in NAMES:
        for method in methods(name, "exponential"):
            each = {str(rate): images.worth(name, method, rate) for rate in images.RATES}
            _add(found["rates"], {"set": name, "method": method, "best": images.best(name, method), "worth": each})
    for law in laws:
        for name in NAMES:
            times: dict[str, list[float]] = {m: [] for m in methods(name, law)}
            for seed in images.seeds(quick):
                for method, each_time in times.items():
                    began = time.process_time()
                    each_time.append(images.seconds(name, method, law, seed, quick))
                    print(name, law, seed, method, f"{each_time[-1]:.1f} s,", f"{time.process_time() - began:.1f} s of CPU", flush=True)  # fmt: skip # noqa: E501
            _add(found["times"], {"set": name, "law": law, "times": times})
    for name in NAMES:
        for share in SHARES:
            at, ahead, ours = images.moment(name, share, quick)
            _add(found["moments"], {"set": name, "share": share, "at": at, "ahead": ahead, "ours": ours})
    for method in PAIR:
        _add(found["start"], start(method, quick))
    found["cpu_s"] = time.process_time()
    return found


def start(method: str, quick: bool) -> dict[str, Any]:
    """Updates by some seconds of exponential runs without learning, and how many of them started from version 0."""
    task = Task.sized(
        parameters=images.MODEL.schema.size, clients=100, samples=600, local=LocalSGD(lr=0.1, batch_size=32, steps=1)
    )
    devices = fleet(task.schema.nbytes + FRAME.size, 32, LAWS["exponential"])
    strategy = images.METHODS[method](images.constants("mnist"))
    rows = []
    for seed in images.seeds(quick):
        run = simulate(task, devices, strategy, Until(time=STARTS[-1]), seed=seed, log=True)
        assert run.log is not None, "asked for"
        seen = arrivals(run.log.table())
        first = seen.staleness == np.arange(len(seen.staleness))
        rows.append([(int((seen.time <= t).sum()), int(first[seen.time <= t].sum())) for t in STARTS])
    return {"method": method, "updates": np.mean(rows, axis=0).tolist()}


def _add(rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
    rows.append(row)
    print(json.dumps(row), flush=True)


def page(found: dict[str, Any]) -> str:
    """The tables as Markdown."""
    quick = found["quick"]
    lines = [HEAD.format(quick=" --quick" if quick else "", seeds=len(images.seeds(quick)))]
    lines += ["| set | strategy | " + " | ".join(f"{r:g}" for r in images.RATES) + " |"]
    lines += ["|" + "---|" * (2 + len(images.RATES))]
    for row in found["rates"]:
        values = (f"**{v:.3f}**" if float(r) == row["best"] else f"{v:.3f}" for r, v in row["worth"].items())
        lines.append(f"| {NAMES[row['set']]} | {METHODS[row['method']]} | " + " | ".join(values) + " |")
    lines += ["", "## Seconds to the target", ""]
    lines += [
        "Mean and standard deviation over seeds; what time-optimal routing saves, of the means and of each seed.",
        "",
    ]
    lines += ["| set, target | times | strategy | seconds | saved | seed by seed |", "|---|---|---|---|---|---|"]
    for row in found["times"]:
        ours = np.array(row["times"]["time"])
        for method, values in row["times"].items():
            theirs = np.array(values)
            saved = "" if method == "time" else f"{1 - ours.mean() / theirs.mean():.1%}"
            each = "" if method == "time" else ", ".join(f"{s:.0%}" for s in 1 - ours / theirs)
            target = f"{NAMES[row['set']]}, {images.TARGET[row['set']]:.0%}"
            lines.append(
                f"| {target} | {row['law']} | {METHODS[method]} | {theirs.mean():.1f} +- {theirs.std(ddof=1):.1f} | "
                f"{saved} | {each} |"
            )
    lines += ["", "## Ahead of AsyncSGD", ""]
    lines += ["Exponential times, curves averaged over seeds, when AsyncSGD is at a share of its last accuracy.", ""]
    lines += ["| set | share | after | AsyncSGD | time-optimal | points ahead |", "|---|---|---|---|---|---|"]
    for row in found["moments"]:
        lines.append(
            f"| {NAMES[row['set']]} | {row['share']:.0%} | {row['at']:.1f} s | {row['ours'] - row['ahead']:.3f} | "
            f"{row['ours']:.3f} | {100 * row['ahead']:.1f} |"
        )
    lines += [
        "",
        "Updates by then, and how many of them are of the first jobs, which go to clients drawn uniformly under any",
    ]
    lines += ["routing, MNIST's plan:", "", "| strategy | " + " | ".join(f"{t:.0f} s" for t in STARTS) + " |"]
    lines += ["|" + "---|" * (1 + len(STARTS))]
    for row in found["start"]:
        lines.append(
            f"| {METHODS[row['method']]} | " + " | ".join(f"{a:.0f}, {b:.0f}" for a, b in row["updates"]) + " |"
        )
    lines += ["", *(f"![accuracy on {NAMES[n]}](routing-{n}.svg)" for n in NAMES), ""]
    return "\n".join(lines)


def drawn(name: str, quick: bool) -> str:
    """Mean accuracy over seconds and the range over seeds, an SVG that stands alone."""
    times = np.arange(0.0, SHOWN + 0.5, 0.5)
    curves = {
        METHODS[m]: np.stack(
            [images.accuracy(images.curve(name, m, "exponential", s, quick), times) for s in images.seeds(quick)]
        )
        for m in PAIR
    }

    def draw(width: float) -> str:
        f = svg.frame(width, 280, Axis("seconds", 0.0, SHOWN), Axis("test accuracy", 0.0, 1.0))
        marks = svg.axes(f)
        for i, each in enumerate(curves.values()):
            marks += svg.area(f, times, each.min(0), each.max(0), i) + svg.line(f, times, each.mean(0), i)
        return svg.svg(f, marks, "accuracy")

    text = f"Accuracy on {NAMES[name]}, mean and range over seeds, exponential times"
    return standalone(chart(name, text, text, tuple((k, series(i)) for i, k in enumerate(curves)), draw))


def main() -> None:
    """Measure, print, and write docs/benchmarks/routing.json, routing.md and its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--laws", nargs="*", default=list(LAWS), choices=list(LAWS))
    parser.add_argument("--out", type=Path, default=DOCS)
    given = parser.parse_args()
    found = measured(given.laws, given.quick)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "routing.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    (given.out / "routing.md").write_text(page(found), encoding="utf-8")
    for name in NAMES:
        (given.out / f"routing-{name}.svg").write_text(drawn(name, given.quick), encoding="utf-8")


if __name__ == "__main__":
    main()
