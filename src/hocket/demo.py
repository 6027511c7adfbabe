"""The demo: FedAvg and FedBuff train one model on one fleet, and the clock says what waiting costs.

A small MLP learns handwritten digits that 100 clients hold unevenly (Dirichlet 0.3), on devices whose speeds and
links differ by orders of magnitude, until three evaluations in a row reach 0.90 test accuracy. Both methods keep
40 clients at work and give them the same local work: one pass, batches of 10, rate 0.5.

The server's settings are the best found for each method by mean time to target over the seeds 10 to 19 (the demo's
own seed, 0, is not among them):

    hocket simulate examples/fedavg.toml --seeds 10:20 --set strategy.cohort=30 --set strategy.overcommit=1.3

FedAvg, asking 40 and stepping with the first 20 at server rate 1.5: 63 s. Tried: 10 of 13, 20 of 26, 30 of 39, 40 of
40, 20 of 40, each at server rates 1, 1.5, 2 and 3; local rate 0.2. Asking 40 for 10 takes 49 s for 1.7 times the
bytes down, more than most would pay. FedBuff, stepping with every 5th update at server rate 1: 34 s. Tried: buffers of
5, 10 and 20, the same rates, weights divided by count and by their sum.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hocket.errors import InvalidInput
from hocket.experiment import FILE, Experiment, parse
from hocket.experiment.folder import PAGE, views, write_report
from hocket.report import RunView, human_seconds
from hocket.simulation import checkpoint
from hocket.simulation.run import Interrupted

METHODS: dict[str, dict[str, Any]] = {
    "FedAvg": {"use": "fedavg", "cohort": 20, "overcommit": 2.0, "lr": 1.5},
    "FedBuff": {"use": "fedbuff", "buffer": 5, "in_flight": 40, "lr": 1.0},
}
TITLE = "FedAvg and FedBuff on handwritten digits"
_OWN = (*checkpoint.RESULTS, "model-digits.safetensors", FILE)


def experiments(
    seed: int = 0, clients: int = 100, target: float = 0.9, methods: dict[str, dict[str, Any]] = METHODS
) -> list[Experiment]:
    """The two runs, as experiments that differ in their strategy only."""
    common = {
        "seed": seed,
        "task": {
            "kind": "digits",
            "clients": clients,
            "alpha": 0.3,
            "model": "mlp",
            "local": {"lr": 0.5, "batch_size": 10, "epochs": 1},
        },
        "fleet": {"kind": "synthetic"},
        "until": {"accuracy": target, "confirm": 3, "updates": 10_000},
    }
    return [parse({**common, "name": name, "strategy": strategy}) for name, strategy in methods.items()]


def run(
    out: Path,
    seed: int = 0,
    *,
    clients: int = 100,
    target: float = 0.9,
    methods: dict[str, dict[str, Any]] = METHODS,
    report: Callable[[str, dict[str, Any]], None] = lambda name, state: None,
) -> list[RunView]:
    """Run both, into ``out/FedAvg`` and ``out/FedBuff``, and write ``out/report.html``.

    What an earlier demo left in ``out`` is replaced; anything else there is left alone.

    Raises:
        InvalidInput: ``out`` is a file, or holds a run that is not the demo's.
    """
    runs = experiments(seed, clients, target, methods)
    _clear(out, [e.name for e in runs])
    try:
        for e in runs:
            e.run(out / e.name, report=lambda state, name=e.name: report(name, state))  # type: ignore[misc]
    except Interrupted:
        raise Interrupted("stopped; the next hocket demo begins from the start") from None
    write_report(out, title=TITLE)
    return views(out)


def verdict(shown: Sequence[RunView]) -> str:
    """What came out, in one sentence."""
    first, second = shown
    times = [v.summary["tasks"]["digits"]["time_to_target_s"] for v in shown]  # type: ignore[index]
    if None in times:
        return f"{' and '.join(v.label for v, t in zip(shown, times, strict=True) if t is None)} did not reach it."
    moved = [v.summary["bytes"]["up"] + v.summary["bytes"]["down"] for v in shown]  # type: ignore[index]
    return (
        f"{second.label} took {human_seconds(times[1])} of virtual time where {first.label} took "
        f"{human_seconds(times[0])} (x {times[1] / times[0]:.2f}), for x {moved[1] / moved[0]:.2f} the bytes."
    )


def _clear(out: Path, names: Sequence[str]) -> None:
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"{out} is a file; give a directory")
    if (out / "summary.json").exists():
        raise InvalidInput(f"{out} holds a run that is not the demo's; give another directory")
    for folder in (out / name for name in names):
        for path in [folder / f for f in _OWN] + sorted((folder / "events").glob("*.parquet")):
            path.unlink(missing_ok=True)
    (out / PAGE).unlink(missing_ok=True)
