"""``kind = "python"``: a task that a function of yours makes, in a Python file beside the experiment.

```toml
[task]
kind = "python"
make = "mine.py:make"           # a file, relative to this one, and a function in it
clients = 20                    # as many as the task has; the fleet's number if left out
arguments = { width = 64 }      # given to the function; may be left out
local = { lr = 0.1 }            # changes the task's own LocalSGD; may be left out
```

The function returns a :class:`hocket.Task`. It gets ``arguments`` by name, and ``clients`` and ``seed`` if it has
parameters of these names. A run directory gets a copy of the file (not of modules that it imports from beside it), and
its ``experiment.toml`` the SHA-256 of it, so that a run does not go on with another model. The file is run as a
program of yours: no device takes one from a server. Policies that it registers (``hocket.strategy.policy``) can be
named in ``[strategy]``.
"""

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from msgspec import Struct, structs

from hocket.errors import HocketError, InvalidInput
from hocket.experiment.call import partial
from hocket.learning.local import LocalSGD
from hocket.learning.task import Task

KIND = "python"


class Made(Struct, frozen=True, kw_only=True, tag_field="kind", tag=KIND, forbid_unknown_fields=True):
    """What a function in a Python file of yours makes; ``sha256`` is what the file must have, if it is given."""

    make: str
    arguments: dict[str, Any] = {}
    clients: int | None = None
    seed: int | None = None
    sha256: str | None = None
    local: partial(LocalSGD) | None = None  # type: ignore[valid-type]

    @property
    def file(self) -> str:
        """The file, as it is named."""
        return self.make.rpartition(":")[0]


def call(table: Made, folder: Path, clients: int, seed: int, name: str | None, at: str) -> tuple[Task, str]:
    """The task, and the SHA-256 of its file; ``at`` is the dotted key of the table.

    Raises:
        InvalidInput: no such file or function, another file than was asked for, anything that the function raises
            (names its line), or a result that is no task of so many clients.
    """
    module, found = module_of(table, folder, at)
    path, name_of = folder / table.file, table.make.rpartition(":")[2]
    function = getattr(module, name_of, None)
    if not callable(function):
        raise InvalidInput(f"{at}.make = {table.make!r}: {path} has no function {name_of!r}")
    given = {"clients": clients, "seed": seed if table.seed is None else table.seed}
    own = {k: v for k, v in given.items() if k in inspect.signature(function).parameters}
    task = _blaming(path, at, lambda: function(**{**own, **table.arguments}))
    if not isinstance(task, Task):
        raise InvalidInput(f"{at}.make = {table.make!r}: it returned a {type(task).__name__}, not a hocket.Task")
    if task.clients != clients:
        raise InvalidInput(
            f"{at}.clients = {clients}: {table.make} made a task of {task.clients}; write clients = {task.clients}"
        )
    return (task if name is None else structs.replace(task, name=name)), found


def module_of(table: Made, folder: Path, at: str) -> tuple[ModuleType, str]:
    """The file as a module, and its SHA-256.

    Raises:
        InvalidInput: as :func:`call`, of the file.
    """
    path = folder / table.file
    if not table.file.endswith(".py") or not table.make.rpartition(":")[2].isidentifier():
        raise InvalidInput(f'{at}.make = {table.make!r}: give a file and a function in it, such as "mine.py:make"')
    try:
        found = sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidInput(f"{at}.make = {table.make!r}: {path} cannot be read ({error.strerror})") from None
    if table.sha256 not in (None, found):
        raise InvalidInput(
            f"{at}.sha256 = {table.sha256!r}: {path} has {found}; bring the file back as it was, or begin another run"
        )
    return _module(path, found, at), found


def _module(path: Path, digest: str, at: str) -> ModuleType:
    """The file as a module, run once for what is in it; its own folder is searched while it is."""
    path = path.resolve()
    name = f"hocket_made_{path.stem}_{sha256(f'{path} {digest}'.encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        _blaming(path, at, lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.pop(0)
    return module


def _blaming(path: Path, at: str, run: Callable[[], Any]) -> Any:
    """Run code of the file; what goes wrong in it names its line."""
    try:
        return run()
    except HocketError as error:
        raise InvalidInput(f"{at}.make: {path.name}: {error}") from error
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path.resolve())]
        if isinstance(error, SyntaxError):
            lines = [error.lineno]
        line = f", line {lines[-1]}" if lines else ""
        said = str(error).splitlines()[0] if str(error) else ""
        raise InvalidInput(
            f"{at}.make: {path.name}{line}: {type(error).__name__}{': ' if said else ''}{said}"
        ) from error
