"""``simulate``: one run from tasks, a fleet and a strategy to curves, bytes and a model."""

import platform
import resource
import signal
import sys
import time as wall
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket import events as on
from hocket.core import Tasks
from hocket.errors import HocketError, InvalidInput, MissingExtra
from hocket.fleet import Fleet
from hocket.learning.task import Task
from hocket.planner import Planner
from hocket.record.curve import Curve, Moved
from hocket.record.log import SEGMENT, EventLog
from hocket.record.summary import summarise
from hocket.schedule import Change
from hocket.server import Server
from hocket.setup import Setup
from hocket.simulation import checkpoint
from hocket.simulation.engine import SLICE, Engine
from hocket.simulation.training import LazyTraining
from hocket.sink.sink import Sink, Telling
from hocket.store.spill import SpillFile
from hocket.strategy import FullStrategy, Strategy
from hocket.until import SECOND, Evaluation, Until

if TYPE_CHECKING:
    import pandas
    import torch

Report = Callable[[dict[str, Any]], None]
"""Called a few times a second with time_s, updates, accuracy, target and fraction of a run."""


class Interrupted(HocketError):
    """A run was stopped by hand; its directory holds a checkpoint to go on from."""

    exit_code = 130


class Run(Struct, frozen=True):
    """What a simulation left: ``summary`` is what ``summary.json`` holds, ``curve`` its evaluations."""

    tasks: Mapping[str, Task]
    strategy: FullStrategy
    summary: dict[str, Any]
    machine: dict[str, Any]
    curve: Curve
    models: Mapping[str, NDArray[np.float32] | None]
    log: EventLog | None = None
    out: Path | None = None

    def time_to(self, accuracy: float, task: str | None = None) -> float | None:
        """Virtual seconds until the first of ``confirm`` consecutive evaluations at or above; None: never."""
        at = self.curve.first(self._named(task), accuracy)
        return None if at is None else at.time_ns / SECOND

    def bytes_to(self, accuracy: float, task: str | None = None) -> Moved | None:
        """Bytes sent by then, parts of transfers included; None if the accuracy was never reached."""
        at = self.curve.first(self._named(task), accuracy)
        return None if at is None else Moved(at.up, at.down)

    def model(self, task: str | None = None) -> dict[str, NDArray[Any]]:
        """The published model by segment name.

        A run directory has it as ``model-TASK.safetensors``; ``safetensors.numpy.load_file`` (or
        ``safetensors.torch.load_file``) reads it.

        Raises:
            InvalidInput: the task is size-only.
        """
        name = self._named(task)
        x = self.models[name]
        if x is None:
            raise InvalidInput(f"task {name!r} is size-only; it has no model")
        return self.tasks[name].schema.views(x)

    def state_dict(self, task: str | None = None) -> "dict[str, torch.Tensor]":
        """:meth:`model` as tensors that torch's ``load_state_dict`` takes, float32, each under all its names.

        What did not travel is as it was.

        Raises:
            InvalidInput: the task is size-only.
            MissingExtra: torch is not installed.
        """
        model, name = self.model(task), self._named(task)
        try:
            import torch
        except ImportError as error:
            raise MissingExtra("state_dict: torch is not installed; pip install 'hocket[torch]'") from error
        whole = getattr(self.tasks[name].learner, "state_dict", None)
        if whole is not None:
            found: dict[str, torch.Tensor] = whole(self.models[name])
            return found
        return {name: torch.tensor(value) for name, value in model.items()}

    def to_pandas(self) -> "pandas.DataFrame":
        """The evaluations of all tasks as a data frame, a row each, times in seconds.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            import pandas  # noqa: F401  # pyarrow's own message does not name the extra
        except ImportError as error:
            raise MissingExtra("to_pandas: pandas is not installed; pip install 'hocket[pandas]'") from error
        return self.curve.table().to_pandas()

    def __repr__(self) -> str:
        ends = [
            f"{name}: " + ", ".join(f"{k} {t[k]:.4g}" for k in ("accuracy", "loss") if k in t)
            for name, t in self.summary["tasks"].items()
        ]
        at = f" in {self.out}" if self.out else ""
        done, took = self.summary["updates"], self.summary["virtual_time_s"]
        return f"<Run {self.strategy.name}: {done:,} updates in {took:,.1f} virtual seconds; {'; '.join(ends)}{at}>"

    def _named(self, task: str | None) -> str:
        if task is None and len(self.tasks) > 1:
            raise InvalidInput(f"this run has tasks {', '.join(self.tasks)}; say which")
        if task is not None and task not in self.tasks:
            raise InvalidInput(f"this run has no task {task!r}; it has {', '.join(self.tasks)}")
        return task or next(iter(self.tasks))


class Simulation(Struct, frozen=True):
    """A run that is ready to go: drive ``engine`` yourself, or let :func:`simulate` do it."""

    tasks: Mapping[str, Task]
    strategy: FullStrategy
    engine: Engine
    curve: Curve
    name: str


def prepare(
    setup: Setup,
    fleet: Fleet,
    *,
    log: bool = False,
    folder: Path | None = None,
    eager: bool = False,
    planner: Callable[[str, Server], on.Planned] | None = None,
) -> Simulation:
    """Build a run without starting it; the options are those of :func:`simulate`, ``folder`` takes the log.

    Raises:
        InvalidInput: something contradicts something else.
    """
    setup.check_clients(len(fleet))
    tasks, strategy, evaluation = setup.tasks, setup.strategy, setup.evaluation
    if fleet.dropout > 0 and strategy.pacing.timeout is None:
        raise InvalidInput(
            f"fleet.dropout = {fleet.dropout}: a silent device is only noticed by a timeout, and the pacing has "
            "none; set timeout (seconds), or use fleet.failure for losses that are reported"
        )
    training = LazyTraining(setup, eager=eager, down=fleet.down)
    training.book.spill(lambda t: SpillFile(None if folder is None else folder / checkpoint.SPILL.format(t)))
    planner = planner or Planner(setup, fleet, training.book)
    events = EventLog(tuple(tasks), folder) if log else None
    curve = Curve(confirm=setup.until.confirm)
    engine = Engine(training.server, training.book, training, fleet, tasks, setup.seed, events, planner, setup.schedule)
    engine.on_evaluated = lambda now, e: _evaluated(curve, engine, now, e, evaluation)
    devices = {f: getattr(fleet, f) for f in fleet.__struct_fields__}
    return Simulation(tasks, strategy, engine, curve, setup.digest([t.cost for t in tasks.values()], devices))


def simulate(
    task: Tasks,
    fleet: Fleet,
    method: Strategy,
    until: Until,
    *,
    seed: int = 0,
    evaluation: Evaluation | None = None,
    schedule: Sequence[Change] = (),
    out: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: float = 30.0,
    eager: bool = False,
    log: bool = False,
    planner: Callable[[str, Server], on.Planned] | None = None,
    report: Report | None = None,
    sinks: Sequence[Sink] = (),
) -> Run:
    """Train tasks on a fleet under a virtual clock.

    Args:
        task: one task or several; each has as many clients as the fleet has devices.
        fleet: the devices.
        method: a strategy; what it leaves open is filled with the plain choice.
        until: when to stop.
        seed: fixes everything random.
        evaluation: when models are measured (every version on the test split by default).
        schedule: tasks that are added, paused or ended on the way, or whose work becomes harder.
        out: run directory; with it, the run writes its log, checkpoints and summary there.
        resume: go on from the checkpoint in ``out`` if there is one.
        checkpoint_every: wall seconds between checkpoints.
        eager: train each lease alone when it starts, instead of in lazy batches.
        log: keep the event log although there is no ``out``.
        planner: answers policies that ask for a plan; by default from the fleet and what was tracked.
        report: called with the progress of the run, about four times a second.
        sinks: told of every evaluation while the run goes on; see :mod:`hocket.sink`.

    Raises:
        InvalidInput: something contradicts something else, before anything is written.
        Stalled: nothing can happen any more.
        Diverged: a model stopped being finite.
        Interrupted: Ctrl-C; the checkpoint is written.

    >>> import hocket as hk
    >>> task = hk.reference_tasks.gaussian(clients=20, samples=40)
    >>> fleet = hk.Fleet.synthetic(clients=20, seed=0)
    >>> run = hk.simulate(task, fleet, hk.strategies.fedbuff(5, 10), until=hk.Until(accuracy=0.6))
    >>> run.summary["finished"], run.time_to(0.6) == run.summary["virtual_time_s"]
    ('target', True)
    """
    began = wall.perf_counter()
    folder = None if out is None else Path(out)
    events = None if folder is None else folder / "events"
    setup = Setup.of(task, method, until, seed=seed, evaluation=evaluation, schedule=schedule)
    sim = prepare(setup, fleet, log=log or folder is not None, folder=events, eager=eager, planner=planner)
    engine, curve = sim.engine, sim.curve
    if folder is not None and not (resume and checkpoint.load(folder, engine, curve, sim.name)):
        checkpoint.begin(folder, resume)
    about = {"strategy": sim.strategy.name, "tasks": ", ".join(sim.tasks), "clients": len(fleet), "seed": setup.seed}
    with Telling(sinks, about, curve) as telling:
        _drive(engine, curve, folder, sim.name, checkpoint_every, until, report, telling)
        summary = summarise(engine.server, engine.ledger, engine.totals(), curve, engine.now, until, setup.seed)
        telling.summary = summary
    machine = _machine(engine, wall.perf_counter() - began)
    models = {n: engine.book.model(n) for n in sim.tasks}
    run = Run(sim.tasks, sim.strategy, summary, machine, curve, models, engine.log, folder)
    engine.close()
    if folder is not None:
        checkpoint.finish(folder, run)
    return run


def _evaluated(curve: Curve, engine: Engine, now: int, e: on.Evaluated, evaluation: Evaluation) -> None:
    if e.split == evaluation.split and e.subject == evaluation.subject:
        down, up = engine.under_way()
        ledger, state = engine.ledger, engine.server.state
        curve.add(e, now, state.tasks[e.task].accepted, ledger.up + up, ledger.down + down)


def _drive(
    engine: Engine,
    curve: Curve,
    folder: Path | None,
    name: str,
    checkpoint_every: float,
    until: Until,
    report: Report | None,
    telling: Telling,
) -> None:
    saved = shown = wall.perf_counter()
    if report is not None:
        report(_progress(engine, curve, until))  # where rates count from
    with _ctrl_c(folder is not None) as interrupted:
        while not engine.run(SLICE):
            now = wall.perf_counter()
            telling.fresh()
            if engine.log is not None:
                engine.log.flush(SEGMENT)
            if report is not None and now - shown > 0.25:
                shown = now
                report(_progress(engine, curve, until))
            if folder is not None and (now - saved > checkpoint_every or interrupted[0]):
                checkpoint.save(folder, engine, curve, name)
                saved = wall.perf_counter()
            if interrupted[0]:
                raise Interrupted(
                    f"stopped at {engine.now / SECOND:.6g} s of virtual time; the checkpoint is in {folder}: "
                    "the same command with --resume goes on from there"
                )
    telling.fresh()
    if report is not None:
        report({**_progress(engine, curve, until), "fraction": 1.0})


@contextmanager
def _ctrl_c(catch: bool) -> Iterator[list[bool]]:
    """Turn the first Ctrl-C into a flag; the second one interrupts as usual."""
    flag = [False]
    if not catch:
        yield flag
        return

    def handler(number: int, frame: FrameType | None) -> None:
        if flag[0]:
            raise KeyboardInterrupt
        flag[0] = True

    try:
        before = signal.signal(signal.SIGINT, handler)
    except ValueError:  # not the main thread: Ctrl-C is somebody else's
        yield flag
        return
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)


def _progress(engine: Engine, curve: Curve, until: Until) -> dict[str, Any]:
    state = engine.server.state
    done = [0.0]
    if until.updates is not None:
        done.append(state.updates / until.updates)
    if until.time is not None:
        done.append(engine.now / SECOND / until.time)
    if until.steps is not None:
        done.append(max(t.version for t in state.tasks.values()) / until.steps)
    return {
        "now_s": engine.now / SECOND,
        "updates": state.updates,
        "accuracy": curve.latest("accuracy"),
        "target": until.accuracy,
        "fraction": max(done) or None,
    }


def _machine(engine: Engine, seconds: float) -> dict[str, Any]:
    training = engine.training
    return {
        "wall_s": seconds,
        "updates_per_s": engine.server.state.updates / seconds,
        "mean_batch": training.trained / training.batches if training.batches else None,
        "kernels": training.kernels,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "platform": platform.platform(),
    }
