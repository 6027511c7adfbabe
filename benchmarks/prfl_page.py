"""What ``docs/benchmarks/prfl.json`` holds, as SVG or as Markdown: ``python -m benchmarks.prfl_page [--tables]``.

The cases are those of :mod:`benchmarks.prfl`. A method has one colour in all pictures; marks across a bar are seeds.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

import matplotlib
import numpy as np

from benchmarks.prfl import DOCS, MANY, SCHEDULES, STEPS, TEN, known
from hocket.reproduce.prfl import SECONDS

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "hocket", "axes.spines.top": False, "axes.spines.right": False})
from matplotlib import pyplot as plt  # noqa: E402

NAMES = {
    "PR-FL": "PR-FL, as published",
    "aligned": "PR-FL, wide windows, equal ages",
    "updates": "PR-FL, updates over the fleet",
    "no waiting": "PR-FL, updates, a step each",
    "synchronous": "PR-FL, rounds",
    "FedAsync": "FedAsync, its own mixing",
    "HeteroFL": "HeteroFL, width slices",
    "HeteroFL, pruned": "HeteroFL as in the paper",
}
COLOURS = {
    "PR-FL": "C0", "updates": "C1", "no waiting": "C3", "synchronous": "C2", "FedAsyn": "C4", "FedAsync": "C5",
    "FedFIX": "C6", "FedAvg": "C7", "HeteroFL": "C8", "HeteroFL, pruned": "C9", "aligned": "C9",
}  # fmt: skip
OURS = ("PR-FL", "updates", "no waiting")

Row = dict[str, Any]


def grouped(rows: list[Row]) -> Iterator[tuple[list[Any], list[Row]]]:
    """Cases that differ in their seed alone."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(json.dumps(row["case"][:-1]), []).append(row)
    return ((json.loads(k), v) for k, v in groups.items())


# --- tables ----------------------------------------------------------------------------------------------


def average(values: Sequence[float | None], none: str = "never") -> str:
    """The mean if all there are, else how many are."""
    there = [v for v in values if v is not None]
    if len(there) < len(values):
        return none if not there else f"{len(there)} of {len(values)}"
    return f"{mean(there):.0f}"


def sizes(rows: list[Row]) -> None:
    print("| method, clients | updates | published MB | received MB | rarest |\n|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['case'][0]}, {r['case'][1]} | {r['updates']} | {r['published'] / 1e6:.0f} | "
            f"{r['down'] / 1e6:.0f} | {r['rarest']:.2f} |"
        )


def table(rows: list[Row]) -> None:
    targets = list(rows[0]["to"])
    head = ["case", "seeds", *(f"s to {a}" for a in targets), "at the end", "rarest"]
    head += [*(f"kJ to {a}" for a in targets), "up, down, published MB"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for case, runs in grouped(rows):
        cells = [", ".join(str(c) for c in case), str(len(runs))]
        cells += [average([r["to"][a] for r in runs]) for a in targets]
        cells += [f"{mean(r['final'] for r in runs):.3f}", f"{mean(r['rarest'] for r in runs):.2f}"]
        cells += [
            average([None if r["joules"][a] is None else r["joules"][a] / 1e3 for r in runs], "") for a in targets
        ]
        cells.append(", ".join(f"{mean(r[k] for r in runs) / 1e6:.0f}" for k in ("up", "down", "published")))
        print("| " + " | ".join(cells) + " |")


def waits(rows: list[Row]) -> None:
    """Where the time of a job goes, and how far evaluations swing."""
    parts = ("down", "compute", "up", "wait")
    print("| case | " + " | ".join(parts) + " | updates to the last target | swing |\n" + "|---" * 7 + "|")
    for case, runs in grouped(rows):
        cells = [f"{mean(r['job'][k] for r in runs):.2f}" for k in parts]
        cells += [f"{mean(r['updates'] for r in runs):.0f}", f"{mean(r['swing'] for r in runs):.4f}"]
        print(f"| {case[0]} | " + " | ".join(cells) + " |")


def tables() -> None:
    """Markdown of all that is known."""
    for name, rows in known().items():
        print(f"\n### {name}\n")
        (sizes if name == "sizes" else table)(rows)
        if name == "waiting":
            waits(rows)


# --- pictures --------------------------------------------------------------------------------------------


def save(name: str) -> None:
    plt.tight_layout()
    plt.savefig(DOCS / f"prfl-{name}.svg", metadata={"Date": None})
    plt.close()


def look(method: str) -> dict[str, Any]:
    """How a method is drawn as a line."""
    width = 2.2 if method in OURS else 1.2
    return {"label": NAMES.get(method, method), "color": COLOURS[method], "linewidth": width}


def cifar(rows: list[Row]) -> None:
    """Accuracy by time, mean of the seeds that all methods have."""
    curves = {m: {r["case"][2]: r["curve"] for r in rows if r["case"][:2] == [m, 1.0]} for m in TEN}
    curves = {m: c for m, c in curves.items() if c}
    seeds = sorted(set.intersection(*(set(c) for c in curves.values())))
    at = np.linspace(50, 2450, 49)
    plt.figure(figsize=(8.5, 4))
    for method, runs in curves.items():
        lines = [np.interp(at, *zip(*runs[s], strict=True)) for s in seeds]  # type: ignore[arg-type]
        smooth = np.convolve(np.mean(lines, axis=0), np.ones(5) / 5, "valid")
        plt.plot(at[2:-2], smooth, **look(method))
    plt.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    plt.grid(axis="y", alpha=0.3)
    plt.xlabel("virtual seconds")
    plt.ylabel("test accuracy, mean over 250 s")
    plt.title(f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}", fontsize=10)
    save("cifar")


def clients(rows: list[Row]) -> None:
    """Time to two accuracies by the number of clients."""
    _, sides = plt.subplots(1, 2, figsize=(8.5, 3.4), sharey=True)
    groups = {tuple(case): runs for case, runs in grouped(rows)}
    for side, target in zip(sides, ("0.6", "0.65"), strict=True):
        for method in (*OURS, *(m for m in MANY if m not in OURS)):
            each = [(n, [r["to"][target] for r in groups.get((method, n), [])]) for n in STEPS]
            points = [(n, mean(times)) for n, times in each if times and None not in times]
            if points:
                side.plot(*zip(*points, strict=True), "o-", **look(method))
        side.set_xscale("log")
        side.set_yscale("log")
        side.set_xticks(list(STEPS), [f"{n:,}" for n in STEPS])
        side.minorticks_off()
        side.set_yticks([50, 100, 200, 400], ["50", "100", "200", "400"])
        side.set_ylim(45, 420)
        side.grid(axis="y", alpha=0.3)
        side.set_xlabel("clients")
        side.set_title(f"virtual seconds to {float(target):.2f}", fontsize=10)
    sides[1].legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save("clients")


def schedule(rows: list[Row]) -> None:
    """Time to two accuracies on digits, by schedule."""
    _, sides = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for side, least in zip(sides, (0.05, 0.1), strict=True):
        for target, offset, shade in (("0.8", 0.2, "C0"), ("0.85", -0.2, "C1")):
            for i, method in enumerate(reversed(SCHEDULES)):
                value = mean(r["to"][target] or 1200.0 for r in rows if r["case"][:2] == [least, method])
                label = f"to {float(target):.2f}" if i == 0 else None
                side.barh(i + offset, value, 0.36, color=shade, label=label)
                side.text(value + 15, i + offset, f"{value:.0f}", va="center", fontsize=8)
        side.set_title(f"least density {least}", fontsize=10)
        side.set_xlim(right=900)
        side.set_xlabel("virtual seconds, mean of five seeds")
        side.set_yticks(range(len(SCHEDULES)), [NAMES[m] for m in reversed(SCHEDULES)])
    sides[1].legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save("schedule")


def sensitivity(rows: list[Row]) -> None:
    """What one argument does to a time and to the end."""
    _, sides = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True)
    each = {case[0]: runs for case, runs in grouped(rows)}
    for i, runs in enumerate(reversed(each.values())):
        times, ends = [r["to"]["0.85"] or SECONDS for r in runs], [r["final"] for r in runs]
        sides[0].barh(i, mean(times), 0.6, color="C0", alpha=0.7)
        sides[0].plot(times, [i] * len(times), "k|")
        sides[1].plot(mean(ends), i, "o", color="C0")
        sides[1].plot(ends, [i] * len(ends), "k|")
    sides[0].set_yticks(range(len(each)), list(reversed(each)))
    sides[0].set_xlabel("virtual seconds to 0.85 (marks: seeds)")
    sides[1].set_xlabel("accuracy at the end (marks: seeds)")
    sides[1].set_xlim(0.9, 0.97)
    sides[1].grid(axis="y", alpha=0.3)
    save("sensitivity")


def waiting(rows: list[Row]) -> None:
    """What the time of a job goes to, and the time to accuracies, with ten clients."""
    _, sides = plt.subplots(1, 2, figsize=(9.5, 3.4), width_ratios=(1, 1.25))
    groups = {case[0]: runs for case, runs in grouped(rows)}
    left, right = sides
    methods, bottom = list(groups), np.zeros(len(groups))
    parts = {"down": "downloading", "compute": "computing", "up": "uploading", "wait": "waiting"}
    for (part, name), shade in zip(parts.items(), ("0.55", "0.3", "0.75", "C1"), strict=True):
        spans = np.array([mean(r["job"][part] for r in groups[m]) for m in methods])
        left.barh([NAMES[m] for m in methods], spans, 0.6, left=bottom, color=shade, label=name)
        bottom += spans
    left.invert_yaxis()
    left.set_xlabel("seconds of a client's job")
    left.legend(frameon=False, ncols=4, fontsize=8, loc="lower center", bbox_to_anchor=(0.2, 1.0), columnspacing=1.0)
    targets = list(rows[0]["to"])
    for i, method in enumerate(methods):
        for at, target in enumerate(targets):
            times, place = [r["to"][target] for r in groups[method]], at + 0.27 * (i - 1)
            label = NAMES[method] if at == 0 else None
            right.bar(place, mean(times), 0.24, color=COLOURS[method], alpha=0.7, label=label)
            right.plot([place] * len(times), times, "k_", markersize=6)
    right.set_xticks(range(len(targets)), [f"{float(t):.2f}" for t in targets])
    right.set_xlabel("test accuracy (marks: seeds)")
    right.set_ylabel("virtual seconds to it", labelpad=8)
    right.legend(frameon=False, fontsize=8, loc="upper left")
    save("waiting")


def figures() -> None:
    found = known()
    for name, draw in (
        ("cifar", cifar), ("thousand", clients), ("schedule", schedule), ("sensitivity", sensitivity),
        ("waiting", waiting),
    ):  # fmt: skip
        draw(found[name])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", action="store_true", help="Markdown in place of pictures")
    (tables if parser.parse_args().tables else figures)()
