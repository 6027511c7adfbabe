"""From runs to the page: medians of ratios within a pass, accuracies beside that of a plain loop."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.table import ENVIRONMENTS, SYSTEMS
from benchmarks.peers.work import STEPS

TOLERANCE = {"W1": 0.03, "W2": 0.06}
"""Of accuracy, between a system and a plain loop with other draws (2,000 test samples: 0.005 of it is theirs)."""
CALM = 1.5
NOT_CALM = (
    "**The machine was not calm**: other work took most of it, and not evenly, so that speeds below can be off by "
    "several times either way; accuracies are not touched. Repeat it on a calm one."
)
"""Said where fewer cores than ``CALM`` were free."""
TARGETS = {("W1", "pfl-2", "a"): 7.0, ("W2", "flsim", "a"): 33.0, ("W2", "flsim", "b"): 13.0, ("W2", "flsim", "d"): 3.5}
"""How far ahead hocket is to be; elsewhere: ahead."""


def cells(runs: Mapping[str, Mapping[str, Any]], free: Sequence[float]) -> dict[str, dict[str, Any]]:
    """By "model workload system": median rate, by the bare loop, hocket by it, accuracy and the plain loop's."""
    found: dict[str, dict[str, Any]] = {}
    for cell in dict.fromkeys(key.rsplit(" ", 1)[0] for key in runs):
        model, workload, _ = cell.split()
        rows = {n: runs[key] for n in range(9) if (key := f"{cell} {n}") in runs}
        if "error" in rows[min(rows)]:
            found[cell] = {"error": rows[min(rows)]["error"], "cores_free": list(free)}
            continue
        rates = {n: r["rate"] for n, r in rows.items() if "rate" in r}
        bare = {n: runs[key]["rate"] for n in rates if "rate" in runs.get(key := f"{model} W1 bare {n}", {})}
        ours = {n: runs[key]["rate"] for n in rates if "rate" in runs.get(key := f"{model} {workload} hocket {n}", {})}
        plain = runs.get(f"{model} {workload} bare 0", {}).get("accuracy")
        accuracy = rows[min(rows)].get("accuracy")
        found[cell] = {
            "rate": statistics.median(rates.values()),
            "passes": len(rates),
            "by_bare": statistics.median(rates[n] / bare[n] for n in bare) if bare else None,
            "hocket_by_it": statistics.median(ours[n] / rates[n] for n in ours) if ours else None,
            "accuracy": accuracy,
            "plain": plain,
            "equal": None if plain is None or accuracy is None else abs(accuracy - plain) <= TOLERANCE[workload],
            "versions": rows[min(rows)]["versions"],
            "cores_free": list(free),
        }
    return found


def page(result: Mapping[str, Any]) -> str:
    """docs/benchmarks/peers.md."""
    found = result["cells"]
    free = sorted(c for cell in found.values() for c in cell["cores_free"])
    passes = sorted({cell["passes"] for cell in found.values() if "passes" in cell})
    models = [m for m in "abdc" if any(key.startswith(f"{m} ") for key in found)]
    lines = [
        "# Beside other systems",
        "",
        f"`{result['command']}` wrote this page and `peers.json`. Each run had its own process, all systems in turn;",
        f"ratios are medians over passes ({', '.join(map(str, passes))}) of ratios within a pass.",
        f"Machine: {result['machine']}, of which {free[0]:.1f} to {free[-1]:.1f} were free before and after models.",
        *(() if free[0] >= CALM else (NOT_CALM,)),
        "Workloads, models and data are those of [Speed of learning](learning.md), but samples carry their class's",
        "prototype, so that there is something to learn; all start from the same model.",
    ]
    for workload, what in (("W1", "synchronous FedAvg"), ("W2", "asynchronous FedBuff")):
        names = [n for n in SYSTEMS if any(f"{m} {workload} {n}" in found for m in models)]
        head = [f"| {{}} | {' | '.join(models)} |", "|---|" + "---|" * len(models)]

        def row(name: str, show: Any, workload: str = workload) -> str:
            at = [found.get(f"{m} {workload} {name}") for m in models]
            return f"| {SYSTEMS[name].title} | " + " | ".join("" if c is None else show(c) for c in at) + " |"

        lines += ["", f"## {workload}: {what}", "", "Client updates per second, and by the bare loop:", ""]
        lines += [head[0].format(""), head[1], *(row(n, _rate) for n in names if (workload, n) != ("W2", "bare"))]
        lines += ["", "How many times as fast hocket is (targets: ahead in every cell):", ""]
        lines += [head[0].format(""), head[1], *(row(n, _ahead) for n in names if n not in ("bare", "hocket"))]
        lines += [f"| target: {SYSTEMS[n].title} | " + " | ".join(_target(workload, n, m) for m in models) + " |"
                  for n in names if any((workload, n, m) in TARGETS for m in models)]  # fmt: skip
        steps = ", ".join(f"{m}: {STEPS[workload][m]}" for m in models)
        lines += [
            "",
            f"Accuracy after equally many server steps ({steps}); it differs if by over {TOLERANCE[workload]} from the",
            "bare loop's:",
            "",
        ]
        lines += [head[0].format(""), head[1], *(row(n, _accuracy) for n in names)]
    lines += ["", "## What was set", "", "| system | version | how |", "|---|---|---|"]
    for name, system in SYSTEMS.items():
        mine = [c for key, c in found.items() if key.endswith(f" {name}") and "versions" in c]
        versions = ", ".join(f"{p} {v}" for p, v in mine[0]["versions"].items()) if mine else ""
        lines.append(f"| {system.title} | {versions} | {system.how} |")
    lines += ["", "Each system is driven by its own file in `benchmarks/peers/`; one thread per process.", ""]
    broken = {key: c["error"] for key, c in found.items() if "error" in c}
    if result["refused"] or broken:
        lines += ["## What did not run", ""]
        lines += [f"- {', '.join(ENVIRONMENTS[n])}: `{said}`" for n, said in result["refused"].items()]
        lines += [f"- {key}: `{said}`" for key, said in broken.items()]
        lines += [""]
    return "\n".join(lines)


def _rate(cell: Mapping[str, Any]) -> str:
    if "error" in cell:
        return "failed"
    by = "" if cell["by_bare"] is None else f" ({cell['by_bare']:.2f})"
    return f"{cell['rate']:,.{0 if cell['rate'] >= 100 else 1}f}{by}"


def _ahead(cell: Mapping[str, Any]) -> str:
    return "" if cell.get("hocket_by_it") is None else f"{cell['hocket_by_it']:.1f}"


def _accuracy(cell: Mapping[str, Any]) -> str:
    if cell.get("accuracy") is None:
        return ""
    return f"{cell['accuracy']:.3f}" + ("" if cell["equal"] is not False else " **differs**")


def _target(workload: str, name: str, model: str) -> str:
    target = TARGETS.get((workload, name, model))
    return "" if target is None else f"{target:g}"
