"""``[task]`` or several ``[tasks.NAME]``: a reference task, its arguments and its local work.

| kind | what it is |
|---|---|
| digits | :func:`hocket.reference_tasks.digits` |
| gaussian | :func:`hocket.reference_tasks.gaussian` |
| mnist, fashion_mnist, cifar10 | :func:`hocket.reference_tasks.mnist` and its relatives |
| shakespeare | :func:`hocket.reference_tasks.shakespeare` |
| heart_disease | :func:`hocket.reference_tasks.heart_disease` |
| parkinsons | :func:`hocket.reference_tasks.parkinsons` |
| sized | :meth:`hocket.Task.sized`: sizes and times only, nothing learned |
| python | your own: :mod:`hocket.experiment.python_task` |

``data`` is the folder of the files, relative to the experiment file; left out, it is ``--data`` or ``HOCKET_DATA``.
``local`` sets single values of the task's own :class:`hocket.LocalSGD`; ``clients`` is the fleet's number if it
is left out, ``seed`` the experiment's.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from hocket.errors import InvalidInput
from hocket.experiment.call import given, partial, plain, table, union
from hocket.experiment.python_task import KIND, Made, call, module_of
from hocket.experiment.strict import blaming, convert, dotted
from hocket.learning import reference_tasks
from hocket.learning.local import LocalSGD
from hocket.learning.reference_tasks.heart_disease import HOSPITALS
from hocket.learning.reference_tasks.parkinsons import SUBJECTS
from hocket.learning.task import Task

_LOCAL = partial(LocalSGD)
_COMMON = {"clients": (int | None, None), "local": (_LOCAL | None, None)}
_SEEDED = {**_COMMON, "seed": (int | None, None)}
_DATA = {"data": (str | None, None)}
_REFERENCE: dict[str, dict[str, Any]] = {
    "digits": _SEEDED,
    "gaussian": _SEEDED,
    "mushrooms": _SEEDED,
    "even_digits": {**_SEEDED, **_DATA},
    "mnist": {**_SEEDED, **_DATA},
    "fashion_mnist": {**_SEEDED, **_DATA},
    "cifar10": {**_SEEDED, **_DATA},
    "shakespeare": {**_COMMON, **_DATA},
    "heart_disease": {**_SEEDED, **_DATA, "clients": (int, len(HOSPITALS))},
    "parkinsons": {**_COMMON, **_DATA, "clients": (int, SUBJECTS)},
}
CALLS: dict[str, Any] = {**{kind: getattr(reference_tasks, kind) for kind in _REFERENCE}, "sized": Task.sized}
TABLES: dict[str, type[Struct]] = {
    **{kind: table(CALLS[kind], "kind", kind, **changed) for kind, changed in _REFERENCE.items()},
    KIND: Made,
    "sized": table(Task.sized, "kind", "sized", **_COMMON, samples=(int | tuple[int, ...], 100), name=(str, "sized")),
}


def read(value: object, at: str) -> Struct:
    """The typed table of one task."""
    parsed: Struct = convert(value, union(TABLES.values()), at)
    return parsed


def prepare(parsed: Mapping[str, Struct], folder: Path) -> None:
    """Run the files that make tasks, by their dotted keys: policies that they register are known from now on.

    Raises:
        InvalidInput: as :func:`make`.
    """
    for at, own in parsed.items():
        if isinstance(own, Made):
            module_of(own, folder, at)


def make(
    parsed: Struct, name: str | None, clients: int, seed: int, at: str, folder: Path, data: Path | None
) -> tuple[Task, dict[str, Any]]:
    """The task, and its table with every value written out (the name and the folder of the data apart).

    Raises:
        InvalidInput: what the task itself refuses, with the key of the file.
    """
    kind = str(parsed.__struct_config__.tag)
    if isinstance(parsed, Made):
        task, digest = call(parsed, folder, clients, seed, name, at)
        task = _worked(task, parsed.local, at)
        said: dict[str, Any] = {"make": f"{Path(parsed.file).name}:{parsed.make.rpartition(':')[2]}", "sha256": digest}
        said |= {
            "arguments": parsed.arguments,
            "clients": clients,
            "seed": seed if parsed.seed is None else parsed.seed,
        }
        return task, {"kind": kind, **plain(said), "local": plain(task.local)}
    arguments = {f: getattr(parsed, f) for f in parsed.__struct_fields__}
    local = arguments.pop("local")
    arguments["clients"] = clients
    if name is not None:
        arguments["name"] = name
    if "seed" in arguments and arguments["seed"] is None:
        arguments["seed"] = seed
    if "data" in arguments:
        arguments["data"] = data if arguments["data"] is None else folder / arguments["data"]
    with blaming(arguments, at):
        task = CALLS[kind](**arguments)
    task = _worked(task, local, at)
    for apart in {"name", "data"} & set(arguments):
        del arguments[apart]
    return task, {"kind": kind, **plain(arguments), "local": plain(task.local)}


def files(tables: Iterable[Struct], folder: Path) -> dict[str, Path]:
    """The files that tasks are made by, by their names in a run directory.

    Raises:
        InvalidInput: two files of one name.
    """
    found: dict[str, Path] = {}
    for made in tables:
        if isinstance(made, Made):
            path = folder / made.file
            if found.setdefault(path.name, path).resolve() != path.resolve():
                raise InvalidInput(
                    f"make: two files are called {path.name}; rename one, so that both fit into a run directory"
                )
    return found


def _worked(task: Task, local: Struct | None, at: str) -> Task:
    """The task with what a file changes in its local work."""
    if local is None:
        return task
    changes = given(local)
    other = {"steps": "epochs", "epochs": "steps"}
    changes |= {other[k]: None for k in set(changes) & set(other) if other[k] not in changes}
    with blaming(changes, dotted(at, "local")):
        return structs.replace(task, local=structs.replace(task.local, **changes))
