"""Questions that PR-FL's paper leaves open, each with a figure: ``python -m benchmarks.prfl [question ...]``.

A case that ``docs/benchmarks/prfl.json`` has already is not run again; :mod:`benchmarks.prfl_page` draws what it holds.
About 50 minutes of one core in all; the setting is that of ``hocket.reproduce.prfl``.

* cifar: 20,000 images at half the resolution, two 5x5 convolutions (16, 32) and a linear layer, charged as VGG-11's
  37.2 MiB, at the local rate of the reference task (0.05); cifar_perceptron: the same with an MLP 768-128-64-10
* schedule: PR-FL as published, with wider windows and all ages alike, with updates in place of models, and in rounds,
  at two least densities, on handwritten digits with an MLP 64-32-10, 1,200 virtual seconds, five seeds
* sensitivity: an argument of PR-FL changed at a time, there too, 2,500 s
* waiting: what a job's time goes to, up to 0.80, twelve seeds: rounds, windows, and a step per update
* clients: 10 and 100 clients share the 20,000 images of Fashion-MNIST, 1,500 and 1,000 virtual seconds
* thousand: 10 to 1,000 clients share them at half the resolution with an MLP 196-32-10, 400 virtual seconds
* sizes: 10 to 1,000 clients without learning, 300 virtual seconds
* bits: updates and a hidden state per band of four bits, up to 0.80
* presence: clients come (900 s on average) and go (300 s)
* table: heart disease in four hospitals, an MLP of 32 units charged as 25.19 MiB, on links 0, 3, 6 and 9
* text: the next character of ten roles of Shakespeare, an LSTM of 64 units charged as 25.19 MiB, 1,000 virtual seconds
* recovery: a patience of 2 in place of 5, so that it sets in early, Fashion-MNIST
"""

import argparse
import json
import time
from collections.abc import Callable
from fcntl import LOCK_EX, flock
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

import hocket as hk
from hocket.codec import QSGD
from hocket.fleet import Fleet, Renewal, ten_links
from hocket.guard import Constant
from hocket.keyed import key
from hocket.learning.data import ClientData, Examples
from hocket.learning.learner import Learner
from hocket.learning.local import LocalSGD
from hocket.learning.mlp import MLP
from hocket.learning.numpy_learner import NumpyLearner
from hocket.learning.partition import dirichlet, iid
from hocket.learning.reference_tasks import heart_disease, shakespeare
from hocket.learning.reference_tasks.images import _cifar
from hocket.learning.reference_tasks.models import cnn
from hocket.learning.slices import SlicedLearner
from hocket.learning.task import Task
from hocket.learning.torch_learner import TorchLearner
from hocket.pacing import InFlight, Rounds
from hocket.queueing.power import Power
from hocket.report.activity import activity
from hocket.reproduce import prfl as setting
from hocket.reproduce.prfl import METHODS, OURS, SECONDS
from hocket.strategies import heterofl, prfl
from hocket.strategy import Strategy
from hocket.until import Evaluation, Until

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks"
FILE = DOCS / "prfl.json"
RATE = 0.1
"""Local rate of the MLP on CIFAR-10: of 0.01, 0.03 and 0.1 the one at which FedAsyn and FedAvg end highest (seed 0)."""
VGG = 37.2 * 2**20
WIDTHS = (1.0, 0.5, 0.25)
POWER = Power(compute=4.0, download=1.0, upload=2.0)
"""Watts of a phone, stated, not measured: the processor at work, receiving, sending."""

ALL: dict[str, Strategy] = {
    **{k: METHODS[k] for k in ("PR-FL", "synchronous", "FedAsyn", "FedAsync", "FedFIX", "FedAvg", "fixed densities")},
    "updates": METHODS["updates"],
    "no waiting": METHODS["no waiting"],
    "HeteroFL": heterofl(10, WIDTHS),
    "HeteroFL, pruned": METHODS["fixed densities"],
}


def outcome(
    task: Task,
    fleet: Fleet,
    method: Strategy,
    seed: int,
    seconds: float,
    targets: tuple[float, ...],
    every: int = 4,
    stop: bool = False,
) -> dict[str, Any]:
    """Times to the targets (None: never), accuracy over the last tenth, rounds, bytes, joules; ``stop`` at the last
    target."""
    began = time.process_time()
    rounds = isinstance(method.pacing, Rounds)
    until = Until(time=seconds, confirm=3, accuracy=targets[-1] if stop else None)
    measured = Evaluation(1 if rounds else every)
    run = hk.simulate(task, fleet, method, until, seed=seed, evaluation=measured, log=True)
    each = np.array(setting.jobs(run))
    out: dict[str, Any] = {
        "gap": run.curve.points[-1].time_ns / 1e9 / len(run.curve.points) if run.curve.points else None,
        "job": parts_of_a_job(run, fleet),
        "swing": swing([p.metrics["accuracy"] for p in run.curve.points], targets[0]) if targets else None,
        "final": setting.final(run) if task.learner is not None else None,
        "to": {str(a): run.time_to(a) for a in targets},
        "updates": run.summary["updates"],
        "rarest": float(each.min() / each.max()),
        "published": run.summary["bytes"]["published"],
        "down": run.summary["bytes"]["down"],
        "up": run.summary["bytes"]["up"],
        "joules": {str(a): joules(run, fleet, run.time_to(a)) for a in targets},
        "curve": [[p.time_ns / 1e9, p.metrics["accuracy"]] for p in run.curve.points][
            :: max(1, len(run.curve.points) // 60)
        ],
    }
    return {**out, "cpu_s": time.process_time() - began}


def swing(accuracies: list[float], above: float) -> float | None:
    """Standard deviation of an evaluation around its neighbours' mean, from the first one at ``above`` on; None if
    there are fewer than ten."""
    first = next((i for i, a in enumerate(accuracies) if a >= above), len(accuracies))
    x = np.array(accuracies[first:])
    return float(np.sqrt(np.mean((x[1:-1] - (x[:-2] + x[2:]) / 2) ** 2) / 1.5)) if len(x) >= 10 else None


def parts_of_a_job(run: hk.Run, fleet: Fleet) -> dict[str, float]:
    """Mean seconds of a client's job: downloading, computing, uploading, and waiting for its next one."""
    assert run.log is not None
    (task,) = run.tasks.values()
    leases = activity(run.log.table(), tuple(run.tasks)).accepted()
    leases = leases.of(np.lexsort((leases.assigned, leases.client)))
    again = np.flatnonzero(leases.client[1:] == leases.client[:-1])
    computing = float(fleet.compute[0]) * task.cost * task.local.samples(100)
    spans = {
        "down": leases.started - leases.assigned,
        "up": leases.ended - leases.started - computing,
        "wait": (leases.assigned[1:] - leases.ended[:-1])[again],
    }
    return {"compute": computing, **{k: float(np.mean(v)) for k, v in spans.items()}}


def joules(run: hk.Run, fleet: Fleet, until: float | None) -> float | None:
    """Energy that all devices spent by some time, at :data:`POWER`: seconds of each kind of work times its watts."""
    if until is None or run.log is None:
        return None
    (task,) = run.tasks.values()
    leases = activity(run.log.table(), tuple(run.tasks)).leases
    computing = float(fleet.compute[0]) * task.cost * task.local.samples(100)
    trained = np.minimum(leases.started + computing, leases.ended)
    spent = 0.0
    for begin, end, watts in (
        (leases.assigned, np.where(np.isnan(leases.started), leases.ended, leases.started), POWER.download),
        (leases.started, trained, POWER.compute),
        (trained, leases.ended, POWER.upload),
    ):
        assert isinstance(watts, float)
        spent += watts * float(np.nansum(np.clip(np.minimum(end, until) - begin, 0, None)))
    return spent


# --- the questions ---------------------------------------------------------------------------------------


@cache
def halved() -> tuple[Examples, Examples, Examples]:
    """CIFAR-10 at 16x16: training, validation and test rows of 768 numbers of mean 0 and spread 1."""
    sets = [_cifar(b, None) for b in ("data_batch_1", "data_batch_2", "test_batch")]
    rows = []
    for s in sets:
        x = s.pixels.astype(np.float32).reshape(-1, 3, 16, 2, 16, 2).mean(axis=(3, 5)).reshape(len(s.classes), -1)
        rows.append(((x - np.float32(120)) / np.float32(60), s.classes))
    x, y = (np.concatenate(both) for both in zip(*rows[:2], strict=True))
    tx, ty = rows[2]
    return (
        Examples(x[:18_500], y[:18_500], "cifar train"),
        Examples(x[18_500:], y[18_500:], "cifar validation"),
        Examples(tx[:1500], ty[:1500], "cifar test"),
    )


def divided(sets: tuple[Examples, ...], seed: int, clients: int, alpha: float | None) -> ClientData:
    train, validation, test = sets
    parts = (
        iid(len(train), clients, key(seed, "prfl"))
        if alpha is None
        else dirichlet(train.labels, clients, alpha, key(seed, "prfl"), 20)
    )
    return ClientData.partitioned(train, sorted(parts, key=len), validation, test)


def perceptron(data: ClientData, r: float) -> Learner:
    return NumpyLearner(MLP(768, (round(128 * r), round(64 * r)), 10), data)


def convolutions(data: ClientData, r: float) -> Learner:
    return TorchLearner(lambda: cnn(3, 16, 10, (round(16 * r), round(32 * r))), data, threads=1)


SPACED = {"PR-FL": 6, "aligned": 4, "updates": 6, "no waiting": 11, "synchronous": 1}
"""Steps from one evaluation to the next: 9 to 10 virtual seconds, so that three in a row say the same of all."""


def cifar(method: str, alpha: float, seed: int, build: Any = convolutions, lr: float = 0.05) -> dict[str, Any]:
    sets = tuple(Examples(e.features.reshape(-1, 3, 16, 16), e.labels, e.name) for e in halved())
    data = divided(halved() if build is perceptron else sets, seed, 10, alpha if alpha < 1e6 else None)
    learner = SlicedLearner(partial(build, data), WIDTHS) if method == "HeteroFL" else build(data, 1.0)
    task = Task.of(learner, LocalSGD(lr=lr, batch_size=20, steps=5), name="fashion")
    fleet = ten_links(scale=task.schema.nbytes / VGG)
    targets = (0.35, 0.38) if build is perceptron else (0.35, 0.4)
    return outcome(task, fleet, ALL[method], seed, SECONDS, targets, SPACED.get(method, 4))


def cifar_perceptron(method: str, alpha: float, seed: int) -> dict[str, Any]:
    return cifar(method, alpha, seed, perceptron, RATE)


SCHEDULES: dict[str, dict[str, Any]] = {
    "PR-FL": {}, "aligned": {"window": 1.5, "decay": Constant()}, "updates": {"of": "updates"},
    "no waiting": {"of": "updates", "window": 0.0}, "synchronous": {"cohort": 10},
}  # fmt: skip


@cache
def digits(seed: int) -> Task:
    base = hk.reference_tasks.digits(clients=10, alpha=1.0, seed=seed)
    assert isinstance(base.learner, NumpyLearner)
    learner = NumpyLearner(MLP(64, (32,), 10), base.learner._data)
    return Task.of(learner, LocalSGD(lr=0.05, batch_size=10, steps=5), name="fashion")


def on_digits(part: Strategy, seed: int, every: int, seconds: float) -> dict[str, Any]:
    task = digits(seed)
    fleet = ten_links(scale=task.schema.nbytes / setting.CHARGED, compute=0.01)
    return outcome(task, fleet, part, seed, seconds, (0.8, 0.85), every)


def schedule(least: float, method: str, seed: int) -> dict[str, Any]:
    return on_digits(prfl(**{**OURS, "least": least, **SCHEDULES[method]}), seed, SPACED[method], 1200.0)  # type: ignore[arg-type]


BITS: dict[str, dict[str, Any]] = {
    "32 both ways": {}, "4 up": {"up": QSGD()}, "4 both ways": {"up": QSGD(), "down": QSGD()},
    "4 both ways, updates": {"up": QSGD(), "down": QSGD(), "of": "updates"},
}  # fmt: skip


def bits(change: str, seed: int) -> dict[str, Any]:
    part = prfl(**{**OURS, **BITS[change]})  # type: ignore[arg-type]
    return outcome(setting.task(seed), setting.fleet(), part, seed, SECONDS, (0.7, 0.8), 6, stop=True)


CHANGES: dict[str, dict[str, Any]] = {
    "as in the list": {}, "patience 2": {"patience": 2}, "patience 2, step 0.1": {"patience": 2, "step": 0.1},
    "patience 2, step 0.4": {"patience": 2, "step": 0.4}, "no recovery": {"recovery": False},
    "least 0.1": {"least": 0.1}, "least 0.2": {"least": 0.2}, "interval 5": {"interval": 5},
    "interval 20": {"interval": 20}, "no buffer": {"buffer": False},
}  # fmt: skip


def sensitivity(change: str, seed: int) -> dict[str, Any]:
    return on_digits(prfl(**{**OURS, **CHANGES[change]}), seed, 6, SECONDS)  # type: ignore[arg-type]


def among(method: str, number: int) -> Strategy:
    """A method with so many clients at work."""
    part = ALL[method]
    match part.pacing:
        case Rounds():
            return replace(part, pacing=replace(part.pacing, cohort=number))
        case InFlight():
            return replace(part, pacing=replace(part.pacing, in_flight=number))
    return part


def waiting(method: str, seed: int) -> dict[str, Any]:
    targets = (0.7, 0.75, 0.78, 0.8)
    return outcome(setting.task(seed), setting.fleet(), ALL[method], seed, SECONDS, targets, SPACED[method], stop=True)


LENGTH = {10: 1500.0, 100: 1000.0}
STEPS = {
    10: {"FedFIX": 5, "no waiting": 11},
    100: {"FedFIX": 15, "single": 60, "windows": 16, "no waiting": 110},
    1000: {"single": 600, "windows": 19},
}
"""Steps from one evaluation to the next where many clients are at work: about 10 virtual seconds."""


def clients(method: str, number: int, seed: int) -> dict[str, Any]:
    task, fleet = setting.task(seed, number), setting.fleet(number)
    targets = (0.6, 0.7, 0.75, 0.8)
    return outcome(task, fleet, among(method, number), seed, LENGTH[number], targets, spaced(method, number))


def spaced(method: str, number: int) -> int:
    kind = "single" if isinstance(ALL[method].pacing, InFlight) else "windows"
    return STEPS[number].get(method, STEPS[number].get(kind, 6))


def thousand(method: str, number: int, seed: int) -> dict[str, Any]:
    """The images at half the resolution and an MLP 196-32-10, so that a thousand clients train in a minute."""
    halves = [
        Examples(e.features.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196), e.labels, e.name)
        for e in setting.images()
    ]
    learner = NumpyLearner(MLP(196, (32,), 10), divided(tuple(halves), seed, number, 1.0))
    task = Task.of(learner, LocalSGD(lr=0.1, batch_size=20, steps=5), name="fashion")
    fleet = ten_links(number, scale=task.schema.nbytes / setting.CHARGED)
    return outcome(task, fleet, among(method, number), seed, 400.0, (0.6, 0.65, 0.7), spaced(method, number))


def sizes(method: str, number: int) -> dict[str, Any]:
    task = Task("fashion", setting.task(0).schema, None, np.full(number, 100), LocalSGD(lr=0.1, batch_size=20, steps=5))
    return outcome(task, setting.fleet(number), among(method, number), 0, 300.0, ())


def presence(method: str, seed: int) -> dict[str, Any]:
    fleet = replace(setting.fleet(), availability=Renewal(on=900.0, off=300.0))
    part = ALL[method]
    if isinstance(part.pacing, Rounds):
        part = replace(part, pacing=Rounds(10, timeout=60.0))
    return outcome(setting.task(seed), fleet, part, seed, SECONDS, (0.8, 0.82))


def recovery(change: str, seed: int) -> dict[str, Any]:
    part = prfl(**{**OURS, **CHANGES[change]})  # type: ignore[arg-type]
    return outcome(setting.task(seed), setting.fleet(), part, seed, SECONDS, (0.8, 0.82))


def table(method: str, seed: int) -> dict[str, Any]:
    task = heart_disease(seed=seed, hidden=(32,), local=LocalSGD(lr=0.05, batch_size=16, steps=5))
    links = ten_links(scale=task.schema.nbytes / setting.CHARGED)
    rows = [0, 3, 6, 9]
    fleet = replace(links, **{f: getattr(links, f)[rows] for f in ("compute", "down", "up", "latency", "kind")})
    four = {**OURS, "start": (1.0, 0.6, 0.3, 0.1)}
    part = {
        "PR-FL": prfl(**four),  # type: ignore[arg-type]
        "synchronous": prfl(**four, cohort=4),  # type: ignore[arg-type]
        "updates": prfl(**four, of="updates"),  # type: ignore[arg-type]
        "FedAsyn": among("FedAsyn", 4),
        "FedAsync": among("FedAsync", 4),
        "FedAvg": among("FedAvg", 4),
    }[method]
    return outcome(replace(task, name="fashion"), fleet, part, seed, 600.0, (0.75, 0.8))


def text(method: str, seed: int) -> dict[str, Any]:
    local = LocalSGD(lr=2.0, batch_size=10, steps=5)
    task = shakespeare(clients=10, length=20, hidden=64, held_out=400, local=local, objective="samples")
    fleet = ten_links(scale=task.schema.nbytes / setting.CHARGED, compute=0.01)
    part = ALL[method]
    return outcome(replace(task, name="fashion"), fleet, part, seed, 1000.0, (0.3, 0.35), SPACED.get(method, 5))


IID = 1e9
MANY = ("PR-FL", "updates", "synchronous", "FedAsyn", "FedAsync", "FedFIX", "FedAvg")
TEN = [m for m in ALL if m not in ("fixed densities", "FedAsync", "no waiting")]
QUESTIONS: dict[str, tuple[Callable[..., dict[str, Any]], list[tuple[Any, ...]]]] = {
    "cifar": (
        cifar,
        [(m, 1.0, s) for s in range(3) for m in TEN] + [(m, IID, 0) for m in ("PR-FL", "updates", "FedAsyn")],
    ),
    "cifar_perceptron": (cifar_perceptron, [(m, 1.0, s) for s in range(2) for m in TEN]),
    "schedule": (schedule, [(x, m, s) for s in range(5) for x in (0.1, 0.05) for m in SCHEDULES]),
    "bits": (bits, [(c, 0) for c in BITS]),
    "sensitivity": (sensitivity, [(c, s) for s in range(3) for c in CHANGES]),
    "waiting": (waiting, [(m, s) for s in range(12) for m in ("synchronous", "updates", "no waiting")]),
    "clients": (
        clients,
        [(m, n, s) for s in range(3) for n in (10, 100) for m in MANY],
    ),
    "thousand": (
        thousand,
        [(m, n, 0) for n in (10, 100) for m in (*MANY, "no waiting")]
        + [(m, 1000, 0) for m in ("PR-FL", "updates", "FedAsyn", "FedAsync")],
    ),
    "sizes": (sizes, [(m, n) for n in (10, 100, 1000) for m in ("PR-FL", "synchronous", "FedAvg")]),
    "presence": (presence, [(m, 0) for m in ("PR-FL", "updates", "synchronous", "FedAsyn")]),
    "text": (
        text,
        [(m, s) for s in range(3) for m in (*(m for m in MANY if m != "FedAsync"), "no waiting")],
    ),
    "recovery": (recovery, [("patience 2", s) for s in range(3)]),
    "table": (table, [(m, s) for s in range(3) for m in ("PR-FL", "updates", "synchronous", "FedAsyn", "FedAvg")]),
}


def known() -> dict[str, list[dict[str, Any]]]:
    return json.loads(FILE.read_text() or "{}") if FILE.exists() else {}


def answered(names: list[str], seeds: int | None) -> None:
    """Run what is missing, a case at a time."""
    for name in names:
        ask, cases = QUESTIONS[name]
        for case in cases:
            have = {json.dumps(row["case"]) for row in known().get(name, [])}
            if json.dumps(list(case)) in have or (seeds is not None and name != "sizes" and case[-1] >= seeds):
                continue
            row = {"case": list(case), **ask(*case)}
            print(name, case, {k: v for k, v in row.items() if k not in ("case", "curve")}, flush=True)
            if name != "cifar":
                del row["curve"]  # nothing draws it
            with open(FILE, "a+") as file:
                flock(file, LOCK_EX)  # another question may be under way
                found = known()
                found.setdefault(name, []).append(row)
                FILE.write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("questions", nargs="*", default=list(QUESTIONS))
    parser.add_argument("--seeds", type=int, help="only those below; all by default")
    given = parser.parse_args()
    answered(given.questions, given.seeds)
