"""A strategy is a composition: one policy per question, some for the fleet, some for each task.

A paper is a function in :mod:`hocket.strategies` that returns a :class:`Strategy` with only its own parts
set. :func:`compose` overlays several and refuses a part set twice; :func:`tasks` gives each task a task part
of its own. What nobody set is filled with the plain choice when a run is built.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from hocket.errors import InvalidInput
from hocket.policies import Downlink, Guard, Matching, Merge, Optimizer, Pacing, Prefetch, Privacy, Submodel, Uplink

LEVELS = (
    "pacing", "matching", "prefetch", "submodel", "downlink", "uplink", "merge", "optimizer", "guard"
)  # fmt: skip
FLEET = LEVELS[:3]
PER_TASK = LEVELS[3:]
OPTIONAL = ("local", "privacy")
"""What a task part may have besides its policies."""

registry: dict[str, dict[str, type[Any]]] = {level: {} for level in (*LEVELS, "codec", "privacy")}
"""Level to tag to policy class: what experiment files may name and what the composition matrix runs."""

P = TypeVar("P", bound=type)


def policy(level: str) -> Callable[[P], P]:
    """Class decorator: put a policy (a tagged frozen Struct, all fields with defaults) in the registry.

    Raises:
        InvalidInput: the level does not exist, or its tag is taken.
    """
    if level not in registry:
        raise InvalidInput(f"policy level {level!r}: must be one of {', '.join(registry)}")

    def add(cls: P) -> P:
        tag = str(cls.__struct_config__.tag)  # type: ignore[attr-defined]
        if registry[level].setdefault(tag, cls) is not cls:
            raise InvalidInput(f"{level} {tag!r} is registered twice; choose another tag")
        return cls

    return add


class Local(Struct, frozen=True, forbid_unknown_fields=True):
    """What a strategy changes in the tasks' local work; None leaves the task's own value."""

    proximal: float | None = None
    steps: int | None = None
    epochs: int | None = None
    lr: float | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise InvalidInput(f"local: steps = {self.steps} and epochs = {self.epochs}; set only one of them")


class TaskPart(Struct, frozen=True):
    """The policies of one task; None: not set by this strategy."""

    submodel: Submodel | None = None
    downlink: Downlink | None = None
    uplink: Uplink | None = None
    merge: Merge | None = None
    optimizer: Optimizer | None = None
    guard: Guard | None = None
    local: Local | None = None
    privacy: Privacy | None = None


class Strategy(Struct, frozen=True):
    """Fleet policies, a task part for every task, and task parts of single tasks.

    ``attach`` "issue": a lease carries the newest node when its client is drawn. "start": a lease waits
    at the server until its client has no other one, and gets the newest node then.
    """

    name: str = "strategy"
    pacing: Pacing | None = None
    matching: Matching | None = None
    prefetch: Prefetch | None = None
    attach: Literal["issue", "start"] | None = None
    task: TaskPart = TaskPart()
    tasks: Mapping[str, TaskPart] = {}


class FullTask(Struct, frozen=True, omit_defaults=True):
    """A task part with every policy set; ``privacy`` None: nothing is hidden."""

    submodel: Submodel
    downlink: Downlink
    uplink: Uplink
    merge: Merge
    optimizer: Optimizer
    guard: Guard
    local: Local
    privacy: Privacy | None = None


class FullStrategy(Struct, frozen=True):
    """A strategy with every policy set, for named tasks: what a server is built from."""

    name: str
    pacing: Pacing
    matching: Matching
    prefetch: Prefetch
    attach: Literal["issue", "start"]
    tasks: Mapping[str, FullTask]


def compose(*strategies: Strategy) -> Strategy:
    """One strategy with the parts of all.

    Raises:
        InvalidInput: two of them set the same part; the sentence names both.
    """
    owner: dict[str, str] = {}
    fleet: dict[str, Any] = {}
    task: dict[str, Any] = {}
    named: dict[str, dict[str, Any]] = {}

    def put(into: dict[str, Any], prefix: str, part: Any, fields: tuple[str, ...], who: str) -> None:
        for f in fields:
            value = getattr(part, f)
            if value is None:
                continue
            if f in into:
                raise InvalidInput(
                    f"compose: {owner[prefix + f]} and {who} both set {prefix}{f}; keep one of them or build "
                    "the part by hand"
                )
            into[f], owner[prefix + f] = value, who

    parts = (*PER_TASK, *OPTIONAL)
    for s in strategies:
        put(fleet, "", s, (*FLEET, "attach"), s.name)
        put(task, "", s.task, parts, s.name)
        for name, part in s.tasks.items():
            put(named.setdefault(name, {}), f"{name}.", part, parts, s.name)
    return Strategy(
        name="+".join(s.name for s in strategies),
        **fleet,
        task=TaskPart(**task),
        tasks={n: TaskPart(**p) for n, p in named.items()},
    )


def tasks(**each: Strategy) -> Strategy:
    """A strategy per task name: their task parts side by side, their fleet parts composed.

    Fleet policies that are equal in all of them (or set in one only) are taken over; different ones are
    refused, since there is one fleet.
    """
    fleet: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for name, s in each.items():
        if s.tasks:
            raise InvalidInput(f"tasks: {name} = {s.name} is itself split by task; give it one task part")
        for f in (*FLEET, "attach"):
            value = getattr(s, f)
            if value is None:
                continue
            if f in fleet and fleet[f] != value:
                raise InvalidInput(
                    f"tasks: {owner[f]} and {name} bring different fleet policies for {f}; there is one fleet, "
                    "so set it once with compose"
                )
            fleet[f], owner[f] = value, name
    return Strategy(
        name=" ".join(f"{n}:{s.name}" for n, s in each.items()),
        **fleet,
        tasks={n: s.task for n, s in each.items()},
    )


def fill(strategy: Strategy, names: tuple[str, ...]) -> FullStrategy:
    """Every part set: what the strategy says, else the plain choice; checked for contradictions.

    Raises:
        InvalidInput: a task part for a task that does not exist, or policies that contradict each other.
    """
    from hocket import plain  # the defaults know every policy package; those know this module

    if unknown := sorted(set(strategy.tasks) - set(names)):
        raise InvalidInput(f"strategy {strategy.name}: no task {unknown[0]!r}; this run has {', '.join(names)}")
    full = FullStrategy(
        name=strategy.name,
        attach=strategy.attach or "issue",
        tasks={n: _full_task(strategy.task, strategy.tasks.get(n, TaskPart()), plain.TASK) for n in names},
        **{f: getattr(strategy, f) or getattr(plain.STRATEGY, f) for f in FLEET},
    )
    check(full)
    return full


def _full_task(common: TaskPart, own: TaskPart, default: TaskPart) -> FullTask:
    def pick(f: str) -> Any:
        for part in (own, common, default):
            if (value := getattr(part, f)) is not None:
                return value
        raise InvalidInput(f"strategy: no {f}")

    return FullTask(**{f: pick(f) for f in (*PER_TASK, "local")}, privacy=own.privacy or common.privacy)


def check(strategy: FullStrategy) -> None:
    """Refuse policies that contradict each other, with the sentence of the policy that objects.

    A policy objects through an optional method ``objection(strategy, task: FullTask | None) -> str | None``.
    """
    for level in FLEET:
        _ask(getattr(strategy, level), strategy, None)
    for task in strategy.tasks.values():
        for level in (*PER_TASK, "privacy"):
            _ask(getattr(task, level), strategy, task)


def policies_of(strategy: FullStrategy, task: str) -> tuple[object, ...]:
    """The nine policies that a task meets."""
    part = strategy.tasks[task]
    return (*(getattr(strategy, f) for f in FLEET), *(getattr(part, f) for f in PER_TASK))


def _ask(p: object, strategy: FullStrategy, task: FullTask | None) -> None:
    objection = getattr(p, "objection", None)
    if objection is not None and (sentence := objection(strategy, task)):
        raise InvalidInput(f"strategy {strategy.name}: {sentence}")


def describe(part: object) -> Any:
    """Plain values (dicts, lists, numbers) that say what a policy or strategy is, for files and logs."""
    return msgspec.to_builtins(part, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """Numbers of NumPy as Python's own."""
    if hasattr(value, "item"):
        return value.item()
    raise InvalidInput(f"strategy: {value!r} is {type(value).__name__}; give numbers, text, or policies of these")
