"""``[task]`` or several ``[tasks.NAME]``: a reference task, its arguments and its local work.

| kind | what it is |
|---|---|
| digits | :func:`hocket.reference_tasks.digits` |
| gaussian | :func:`hocket.reference_tasks.gaussian` |
| sized | :meth:`hocket.Task.sized`: sizes and times only, nothing learned |

``local`` sets single values of the task's own :class:`hocket.LocalSGD`; ``clients`` is the fleet's number if it
is left out, ``seed`` the experiment's.
"""

from typing import Any

import msgspec
from msgspec import Struct

from hocket.experiment.call import given, partial, plain, table, union
from hocket.experiment.strict import blaming, convert, dotted
from hocket.learning.local import LocalSGD
from hocket.learning.reference_tasks import digits, gaussian
from hocket.learning.task import Task

_LOCAL = partial(LocalSGD)
_COMMON = {"clients": (int | None, None), "local": (_LOCAL | None, None)}
_SEEDED = {**_COMMON, "seed": (int | None, None)}
TABLES: dict[str, type[Struct]] = {
    "digits": table(digits, "kind", "digits", **_SEEDED),
    "gaussian": table(gaussian, "kind", "gaussian", **_SEEDED),
    "sized": table(Task.sized, "kind", "sized", **_COMMON, samples=(int | tuple[int, ...], 100), name=(str, "sized")),
}
_CALLS: dict[str, Any] = {"digits": digits, "gaussian": gaussian, "sized": Task.sized}


def read(value: object, at: str) -> Struct:
    """The typed table of one task."""
    parsed: Struct = convert(value, union(TABLES.values()), at)
    return parsed


def make(parsed: Struct, name: str | None, clients: int, seed: int, at: str) -> tuple[Task, dict[str, Any]]:
    """The task, and its table with every value written out (the name apart).

    Raises:
        InvalidInput: what the task itself refuses, with the key of the file.
    """
    kind = str(parsed.__struct_config__.tag)
    arguments = {f: getattr(parsed, f) for f in parsed.__struct_fields__}
    local = arguments.pop("local")
    arguments["clients"] = clients
    if name is not None:
        arguments["name"] = name
    if "seed" in arguments and arguments["seed"] is None:
        arguments["seed"] = seed
    with blaming(arguments, at):
        task: Task = _CALLS[kind](**arguments)
    if local is not None:
        changes = given(local)
        other = {"steps": "epochs", "epochs": "steps"}
        changes |= {other[k]: None for k in set(changes) & set(other) if other[k] not in changes}
        with blaming(changes, dotted(at, "local")):
            task = msgspec.structs.replace(task, local=msgspec.structs.replace(task.local, **changes))
    arguments.pop("name")
    return task, {"kind": kind, **plain(arguments), "local": plain(task.local)}
