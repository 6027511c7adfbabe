"""An experiment file: TOML in, an :class:`Experiment` out, and the same with every default written out.

```toml
seed = 0
[task]                # or [tasks.NAME], several times
kind = "digits"
[fleet]
kind = "synthetic"
[strategy]
use = "fedbuff"
[until]
accuracy = 0.9
[evaluation]          # may be left out
every = 1
[[schedule]]          # may be left out, or be there several times; see hocket.schedule
at = 120.0            # seconds
task = "digits"
do = "pause"          # or "add" (also: resume), "end"
```

``seed`` fixes everything random: the data and the devices too, unless ``task.seed`` or ``fleet.seed`` says
otherwise. Number of clients: the fleet's or the tasks', whichever is given (100 if neither is).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from msgspec import Struct, structs

from hocket.errors import InvalidInput
from hocket.experiment import edits, fleet_table, strategy_table, task_table, toml
from hocket.experiment.call import plain
from hocket.experiment.strict import blaming, convert, unknown
from hocket.fleet import Fleet
from hocket.keyed import seeded
from hocket.learning.task import Task
from hocket.schedule import Change
from hocket.setup import Setup
from hocket.simulation.run import Report, Run, prepare
from hocket.sink.sink import Sink
from hocket.strategy import Strategy
from hocket.until import Evaluation, Until

CLIENTS = 100
_NAME = re.compile(r"[\w-]{1,100}")
FILE = "experiment.toml"
"""The name of the resolved experiment in a run directory."""


class Document(Struct, frozen=True, forbid_unknown_fields=True):
    """The top level of a file; its tables are read by the modules named after them."""

    fleet: dict[str, Any]
    strategy: dict[str, Any] | list[dict[str, Any]]
    until: Until
    evaluation: Evaluation = Evaluation()
    schedule: tuple[Change, ...] = ()
    task: dict[str, Any] | None = None
    tasks: dict[str, dict[str, Any]] | None = None
    name: str | None = None
    seed: int = 0


class Experiment(Struct, frozen=True, eq=False):
    """Everything a run depends on. ``table`` is the file with every default written out."""

    name: str
    tasks: tuple[Task, ...]
    fleet: Fleet
    strategy: Strategy
    until: Until
    evaluation: Evaluation
    seed: int
    schedule: tuple[Change, ...]
    table: dict[str, Any]
    files: Mapping[str, Path]

    def resolved(self) -> dict[str, Any]:
        """The experiment as a file has it, with every default; nothing in it depends on the machine.

        A Parquet fleet, and what makes a task, are named as they are in a run directory, where the files are copied to.
        """
        return self.table

    def setup(self, measure: tuple[str, ...] = ()) -> Setup:
        """What a driver starts from."""
        return Setup.of(
            self.tasks, self.strategy, self.until, seed=self.seed, evaluation=self.evaluation, measure=measure,
            schedule=self.schedule,
        )  # fmt: skip

    def toml(self) -> str:
        """:meth:`resolved` as TOML text."""
        return tomli_w.dumps(self.table)

    def told(self, client: int) -> str:
        """:meth:`toml` for a device to build its tasks from; of a fleet in files it learns its own row."""
        if not self.files:
            return self.toml()
        return tomli_w.dumps({**self.table, "fleet": fleet_table.own(self.table["fleet"], self.fleet, client)})

    def named(self, name: str) -> "Experiment":
        """The same experiment under another name; a name is what reports call it."""
        return structs.replace(self, name=name, table={**self.table, "name": name})

    def run(
        self,
        out: str | Path | None = None,
        resume: bool = False,
        report: Report | None = None,
        sinks: Sequence[Sink] = (),
    ) -> Run:
        """Simulate; see :func:`hocket.experiment.folder.run`."""
        from hocket.experiment import folder  # knows this module

        return folder.run(self, out, resume, report, sinks)


def load(path: str | Path, overrides: Iterable[str] = (), data: Path | None = None) -> Experiment:
    """The experiment in a file, with ``key=value`` overrides applied; ``data`` is for tasks that name no folder.

    Raises:
        InvalidInput: no such file, no TOML, or anything in it that cannot be run; the line names the key.

    >>> load("examples/fedbuff.toml", ["strategy.buffer=5"]).strategy.pacing.buffer
    5
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInput(f"{path}: no such file; give an experiment in TOML") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not TOML ({error})") from None
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from None
    return parse(toml.loads(text, str(path)), overrides, name=path.stem, folder=path.parent, data=data)


def parse(
    tree: Mapping[str, Any],
    overrides: Iterable[str] = (),
    *,
    name: str = "experiment",
    folder: Path = Path(),
    data: Path | None = None,
    checked: bool = False,
) -> Experiment:
    """The experiment in a tree of plain values; paths in it are relative to ``folder``.

    ``checked``: that it can be run was seen to elsewhere (a device gets it from its server).

    Raises:
        InvalidInput: anything that cannot be run; the line names the key.
    """
    edited = {k: _copy(v) for k, v in tree.items()}
    edits.assign(edited, overrides)
    document: Document = convert(edited, Document, "")
    seeded(document.seed)
    tables = _tasks(document)
    parsed = {at: task_table.read(table, at) for at, table in tables.values()}
    fleet_read = fleet_table.read(document.fleet)
    task_table.prepare(parsed, folder)
    strategy = strategy_table.build(document.strategy)
    counts, clients = _clients(parsed, fleet_read)
    fleet, fleet_resolved, files = fleet_table.make(fleet_read, clients, document.seed, folder)
    for key, n in counts.items():
        if n != len(fleet):
            raise InvalidInput(
                f"{key} = {n}: the fleet has {len(fleet)} devices; each task has a client per device, so make them "
                "equal or leave this out"
            )
    made = {
        key: task_table.make(
            parsed[at], None if document.tasks is None else key, len(fleet), document.seed, at, folder, data
        )
        for key, (at, _) in tables.items()
    }
    files |= task_table.files(parsed.values(), folder)
    each = {task.name: (task, table) for task, table in made.values()}
    tasks = tuple(task for task, _ in each.values())
    if bad := [n for n in each if not _NAME.fullmatch(n)]:
        raise InvalidInput(f"task name {bad[0]!r}: must be letters, digits, - and _, since files are named after it")
    if stray := set(strategy.tasks) - set(each):
        raise unknown(f"strategy.tasks.{min(stray)}", each, "no such task")
    until, evaluation, seed = document.until, document.evaluation, document.seed
    with blaming(document.strategy, "strategy"):
        setup = Setup.of(tasks, strategy, until, seed=seed, evaluation=evaluation, schedule=document.schedule)
    if not checked:
        prepare(setup, fleet)  # what cannot be run is refused here
    _check_metrics(document, tasks)
    resolved = {
        "name": document.name or name,
        "seed": seed,
        "tasks": {n: table for n, (_, table) in each.items()},
        "fleet": fleet_resolved,
        "strategy": plain(setup.strategy),
        "until": plain(until),
        "evaluation": plain(evaluation),
        **({"schedule": plain(setup.schedule)} if setup.schedule else {}),
    }
    return Experiment(
        resolved["name"], tasks, fleet, strategy, until, evaluation, seed, setup.schedule, resolved, files
    )


def _tasks(document: Document) -> dict[str, tuple[str, dict[str, Any]]]:
    """By name (the name in the file, or the task's own): dotted key and table."""
    if document.task is not None and document.tasks is not None:
        raise InvalidInput("task, tasks: both are given; write [task] for one task or [tasks.NAME] for each")
    if document.task is not None:
        return {"task": ("task", document.task)}
    if not document.tasks:
        raise InvalidInput('task: missing; give a table such as [task] with kind = "digits"')
    for name, table in document.tasks.items():
        if "name" in table:
            raise InvalidInput(f"tasks.{name}.name: the task is called {name!r} by its table; leave this out")
    return {n: (f"tasks.{n}", table) for n, table in document.tasks.items()}


def _clients(tasks: Mapping[str, Struct], fleet: Struct) -> tuple[dict[str, int], int]:
    """What the file says about the number of clients, by key, and the number itself."""
    said = {f"{at}.clients": getattr(p, "clients", None) for at, p in {**tasks, "fleet": fleet}.items()}
    counts = {key: n for key, n in said.items() if n is not None}
    for key, n in counts.items():
        if n < 1:
            raise InvalidInput(f"{key} = {n}: must be 1 or more")
    lists = [len(v) for p in tasks.values() if isinstance(v := getattr(p, "samples", None), tuple)]
    return counts, next(iter([*counts.values(), *lists]), CLIENTS)


def _check_metrics(document: Document, tasks: Iterable[Task]) -> None:
    """Targets on other metrics than the two that every learner has are looked for in a first evaluation."""
    for task in tasks:
        own, learner = document.until.of(task.name), task.learner
        at = f"until.tasks.{task.name}" if task.name in document.until.tasks else "until"
        for key, targets in (("at_least", own.at_least), ("at_most", own.at_most)):
            for name in set(targets) - {"accuracy", "loss"}:
                if learner is None:
                    break
                known = learner.evaluate(learner.initial(document.seed), document.evaluation.split)
                if name not in known:
                    raise unknown(f"{at}.{key}.{name}", sorted(known), "no such metric")


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value
