"""Which strategies let one client move a step by no more than C/K, and nothing else that leaves the server.

Codecs are not asked: updates are cut after they were decoded, whatever error a quantizer makes, so its bound does not
matter. Optimizers and downlinks are not asked either: they work on what has its noise already.
"""

from collections.abc import Iterator, Mapping

from hocket.errors import InvalidInput
from hocket.learning.task import Task
from hocket.policies import Guard
from hocket.strategy import PER_TASK, FullStrategy, FullTask

LOOKED_AT = 1000  # versions of staleness up to which weights are looked at
_MEANS = 'use merge = {kind = "mean_by_count"}'
_WEIGHTED = ("mean_by_weight", "mixing")
_ROBUST = ("median", "trimmed_mean", "krum", "geometric_median")


def unbounded(strategy: FullStrategy, task: FullTask) -> str | None:
    """Why the noise would not cover what one client does to a step; None if it does."""
    for reason in (_submodel(task), _merge(task), _staleness(task.guard), _routing(strategy), _watched(strategy, task)):
        if reason is not None:
            return f"privacy: {reason}"
    return None


def check(strategy: FullStrategy, tasks: Mapping[str, Task]) -> None:
    """Refuse what only shows beside the tasks.

    Raises:
        InvalidInput: some tasks are private and others are not, or clients weigh what samples they have.
    """
    private = [n for n, part in strategy.tasks.items() if part.privacy is not None]
    if not private:
        return
    if open_ := [n for n in strategy.tasks if n not in private]:
        raise InvalidInput(
            f"strategy.privacy: task {private[0]!r} is private and {open_[0]!r} is not; they train on the same "
            "clients, so nothing could be said of them. Make all tasks private, or none"
        )
    for name in private:
        if tasks[name].objective == "samples":
            raise InvalidInput(
                f"strategy.privacy: task {name!r} weighs clients by their samples, above one for those that have more "
                'than most; set objective = "uniform"'
            )


def _merge(task: FullTask) -> str | None:
    kind = _tag(task.merge)
    if kind == "mean_by_count":
        if getattr(task.merge, "order", "journal") == "journal":
            return None
        return 'merge mean_by_count rounds what was cut when order = "free"; use order = "journal"'
    if kind in _WEIGHTED:
        return f"merge {kind} divides by the weights, so one client can move the step by more than clip / K; {_MEANS}"
    if kind in _ROBUST:
        return f"merge {kind} is no sum, and how far one client moves it is not bounded by clip / K; {_MEANS}"
    if kind == "clipped_mean":
        return f"merge clipped_mean clips single updates, and a client may have several in a step; {_MEANS}"
    return f"merge {kind} does not promise that a client moves the step by clip / K at most; {_MEANS}"


def _submodel(task: FullTask) -> str | None:
    kind = _tag(task.submodel)
    return (
        None if kind == "whole" else f"submodel {kind} sends parts of a model, the noise covers whole ones; use whole"
    )


def _staleness(guard: Guard) -> str | None:
    for single in getattr(guard, "guards", (guard,)):
        decay = getattr(single, "decay", None)
        if decay is None:
            continue
        age = next((t for t in range(LOOKED_AT) if decay.weight(t) > 1.0), None)
        if age is not None:
            return (
                f"an update {age} versions old weighs {decay.weight(age):.3g} by staleness {_tag(decay)}, above "
                "one; use constant, hinge or polynomial with average = 0"
            )
    return None


def _routing(strategy: FullStrategy) -> str | None:
    matching = strategy.matching
    kind = _tag(matching)
    if kind in ("planned", "sticky") or (getattr(matching, "weigh", False) and getattr(matching, "routing", ())):
        return f"matching {kind} weighs updates by how they were drawn, above one for some; use uniform"
    return None


def _watched(strategy: FullStrategy, task: FullTask) -> str | None:
    for level, part in _parts(strategy, task):
        if needs := getattr(part, "needs", ()):
            return (
                f"{level} {_tag(part)} decides by the {needs[0]} of single updates, which no noise covers; use another "
                f"{level}"
            )
    return None


def _parts(strategy: FullStrategy, task: FullTask) -> Iterator[tuple[str, object]]:
    yield from ((f, getattr(strategy, f)) for f in ("pacing", "matching", "prefetch"))
    yield from ((f, getattr(task, f)) for f in PER_TASK)


def _tag(part: object) -> str:
    return str(part.__struct_config__.tag)  # type: ignore[attr-defined]
