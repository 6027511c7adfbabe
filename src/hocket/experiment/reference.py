"""What an experiment file may say, as a page: ``python -m hocket.experiment.reference > docs/experiments.md``.

Nothing on it is written by hand but the sentences: keys, types and defaults are those of the typed tables that read a
file, and what a kind is, the first line of its docstring.
"""

import inspect
import re
from collections.abc import Iterable
from typing import Any, get_args

import msgspec
from msgspec import NODEFAULT, Struct, structs

from hocket import strategies
from hocket.codec import Coded
from hocket.experiment import fleet_table, strategy_table, task_table
from hocket.fleet import Availability, Law
from hocket.learning.local import LocalSGD
from hocket.schedule import Change
from hocket.strategy import LEVELS, OPTIONAL, Local, registry
from hocket.until import Evaluation, Until

HEAD = """# Experiment files

An experiment is a TOML file; `hocket simulate FILE` runs it, `hocket serve FILE` serves it. Every key and default is
below (`python -m hocket.experiment.reference` writes this page): `key` alone must be given, `key = …` is left out
unless it is. A key that is not known is refused with the nearest one that is. Seconds, bytes, bytes per second
everywhere. The run directory's `experiment.toml` is the file with every default written out, and runs again to the same
bits.

```toml
name = "first"                # what reports call it; the file's name if left out
seed = 0                      # fixes everything random

[task]                        # or several: [tasks.NAME]
kind = "digits"
clients = 100                 # the fleet's number, or 100, if left out
local = { lr = 0.5, batch_size = 10, epochs = 1 }

[fleet]
kind = "synthetic"

[strategy]
use = "fedbuff"               # a method, with its arguments beside it
buffer = 5
in_flight = 40
uplink = { kind = "plain", codec = { kind = "qsgd", bits = 4 } }   # a part in place of the method's own

[until]                       # the first that is met ends the run
accuracy = 0.9
confirm = 3
updates = 10_000

[evaluation]
every = 5
```

From the command line `--set KEY=VALUE` changes a value for one run: `--set strategy.buffer=10`, or with text in quotes,
as in the file, `--set 'strategy.use="fedavg"'`.
"""
PARTS = """## [strategy]: parts

`[strategy.PART]`, or `PART = { kind = ... }`, takes the place of what the method sets; without `use`, a strategy is
made of parts alone, and what it leaves out is the plain choice. `[strategy.tasks.NAME]` is a strategy for one task,
`[[strategy]]` written several times composes several ([several tasks](fedast.md#one-task-another-way)). A part of your
own: [extend](extend.md).
"""
ATTACH = """`attach`: the model that a client trains from, `"issue"` that of when its job was given out, `"start"` that
of when it begins. `local` changes the local work of all tasks: """


def page() -> str:
    """The whole page, in Markdown."""
    levels = [*LEVELS, *(name for name in OPTIONAL if name in registry)]
    extra = {*levels, "local", "attach", "name", "tasks"}
    tables = strategy_table.tables_of_methods()
    methods = [(f"`{n}`", _first(getattr(strategies, n)), _keys(tables[n], extra)) for n in sorted(strategies.__all__)]
    parts = [_table(f"### {level}", "kind", _kinds(registry[level].values())) for level in levels]
    tasks = [
        (f"`{kind}`", _first(task_table.CALLS.get(kind, table)), _keys(table, {"name", "local"}))
        for kind, table in task_table.TABLES.items()
    ]
    fleets = get_args(fleet_table.Table)
    return "\n".join(
        [
            HEAD,
            _table("## [task]", "kind", tasks),
            "Every kind takes `local`, which changes the task's own local SGD:",
            "",
            _keys(LocalSGD) + ".",
            "",
            "Where data sets are looked for: [data](data.md). Your own model and data: [first steps](start.md).",
            "",
            _table("## [fleet]", "kind", _kinds(fleets, set(fleet_table.Options.__struct_fields__))),
            "All kinds but `links` also take: " + _keys(fleet_table.Options) + ".",
            "",
            _table("### compute_law, down_law, up_law", "kind", _kinds(_members(Law))),
            _table("### availability", "kind", _kinds(_members(Availability))),
            _table("## [strategy]: methods", "use", methods),
            "Settings that several share:",
            "",
            *(f"- `{name.replace(', ', '`, `')}`: {_prose(text)}" for name, text in shared().items()),
            "",
            PARTS,
            *parts,
            _table("### Codecs, wherever a part takes one", "kind", _kinds(_members(Coded))),
            "### attach, local",
            "",
            ATTACH + _keys(Local) + ".",
            "",
            *(
                _plain(head, kind)
                for head, kind in (("[until]", Until), ("[evaluation]", Evaluation), ("[[schedule]]", Change))
            ),
        ]
    )


def shared() -> dict[str, str]:
    """Settings that several methods have, and what they mean."""
    told = re.findall(r"^    (\w+(?:, \w+)*): (.*)$", inspect.getdoc(strategies) or "", re.M)
    return dict(told)


def _table(head: str, first: str, rows: Iterable[tuple[str, str, str]]) -> str:
    body = "\n".join(f"| {name} | {what} | {keys} |" for name, what, keys in rows)
    return f"{head}\n\n| {first} | what it is | keys and defaults |\n|---|---|---|\n{body}\n"


def _plain(head: str, kind: type[Struct]) -> str:
    paragraph = inspect.getdoc(kind) or ""
    body = paragraph.split("\n\nRaises:")[0].split("\n\n>>>")[0]
    return f"## {head}\n\n{_prose(body)}\n\n{_keys(kind)}.\n"


def _kinds(kinds: Iterable[Any], less: Iterable[str] = ()) -> list[tuple[str, str, str]]:
    return sorted((f"`{k.__struct_config__.tag}`", _first(k), _keys(k, less)) for k in kinds)


def _members(union: Any) -> list[Any]:
    """The types of a union, however it is nested."""
    inside = get_args(getattr(union, "__value__", union))
    return [m for part in inside for m in _members(part)] if inside else [union]


def _keys(kind: Any, less: Iterable[str] = ()) -> str:
    """Keys with their defaults, or with their types where there is none."""
    told = []
    for field in structs.fields(kind):
        if field.name in less:
            continue
        default = field.default if field.default is not NODEFAULT else None
        if field.default is NODEFAULT and field.default_factory is not NODEFAULT:
            default = field.default_factory()
        told.append(f"`{field.encode_name}`" if field.required else f"`{field.encode_name} = {_value(default)}`")
    return ", ".join(told) or "–"


def _value(value: object) -> str:
    """A default as a file would have it; an empty word for what is left out."""
    value = msgspec.to_builtins(value)
    if value is None or value == {} or value == ():
        return "…"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else repr(value)


def _first(thing: object) -> str:
    """The first sentence of a docstring, for a cell of a table."""
    text = (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")
    return _prose(text).replace("|", "\\|")


def _prose(text: str) -> str:
    """reStructuredText roles and double backquotes as Markdown."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`").strip()


if __name__ == "__main__":
    print(page(), end="")
