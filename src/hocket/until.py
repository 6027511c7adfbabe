"""When a run ends and how it is measured on the way: stop conditions and the evaluation rule."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from hocket.errors import InvalidInput

SECOND = 1_000_000_000
"""Nanoseconds."""

LONGEST = 1e9
"""Seconds, about 32 years: the longest time any setting may name."""

Split = Literal["validation", "test"]


class Until(Struct, frozen=True, forbid_unknown_fields=True):
    """Stop conditions: the run ends at the first that is met; a task ends when it meets its target.

    Targets: ``accuracy`` and ``at_least`` (metric name to value) are reached from below, ``loss`` and
    ``at_most`` from above; all of them must hold at ``confirm`` consecutive evaluations. Limits: ``time`` in
    virtual seconds, ``updates`` accepted, ``steps`` of one task, ``bytes`` moved (up and down). ``tasks``: targets of
    single tasks, in place of these; limits are those of the run.

    Raises:
        InvalidInput: no condition at all, an accuracy outside (0, 1], a limit that is not positive, or a limit for a
            single task.

    >>> Until(accuracy=0.9, tasks={"words": Until(accuracy=0.4)}).of("words").accuracy
    0.4
    """

    accuracy: float | None = None
    loss: float | None = None
    at_least: dict[str, float] = {}
    at_most: dict[str, float] = {}
    confirm: int = 1
    time: float | None = None
    updates: int | None = None
    steps: int | None = None
    bytes: int | None = None
    tasks: dict[str, "Until"] = {}

    def __post_init__(self) -> None:
        if self.accuracy is not None and not 0 < self.accuracy <= 1:
            raise InvalidInput(f"until.accuracy = {self.accuracy}: must be above 0 and at most 1")
        for name, value in self.at_least.items():
            if name == "accuracy" and not 0 < value <= 1:
                raise InvalidInput(f"until.at_least.accuracy = {value}: must be above 0 and at most 1")
        for name, given in (("accuracy", self.at_least), ("loss", self.at_most)):
            if getattr(self, name) is not None and name in given:
                raise InvalidInput(f"until: {name} is given twice, {getattr(self, name)} and {given[name]}; give one")
        for name in ("time", "updates", "steps", "bytes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidInput(f"until.{name} = {value}: must be above 0")
        if self.time is not None and not self.time <= LONGEST:
            raise InvalidInput(f"until.time = {self.time}: must be at most {LONGEST:.0e} seconds")
        if self.confirm < 1:
            raise InvalidInput(f"until.confirm = {self.confirm}: must be 1 or more")
        for name, own in self.tasks.items():
            if own.limits or own.tasks:
                raise InvalidInput(f"until.tasks.{name}: has limits of its own; a single task has targets only")
        if not self.targeted and self.limits == {}:
            raise InvalidInput(
                "until: no stop condition; give accuracy, loss, at_least, at_most, time, updates, steps or bytes"
            )

    @property
    def floors(self) -> dict[str, float]:
        """Metrics that must be at least so much."""
        return self.at_least if self.accuracy is None else {"accuracy": self.accuracy, **self.at_least}

    @property
    def ceilings(self) -> dict[str, float]:
        """Metrics that must be at most so much."""
        return self.at_most if self.loss is None else {"loss": self.loss, **self.at_most}

    @property
    def targeted(self) -> bool:
        """Whether there is a target on a metric."""
        return bool(self.floors or self.ceilings or self.tasks)

    def of(self, task: str) -> "Until":
        """The targets of one task."""
        return self.tasks.get(task, self)

    @property
    def limits(self) -> dict[str, float]:
        """The limits that were set, by name."""
        named = {"time": self.time, "updates": self.updates, "steps": self.steps, "bytes": self.bytes}
        return {k: v for k, v in named.items() if v is not None}

    def reached(self, metrics: Mapping[str, float]) -> bool:
        """Whether one evaluation meets every target.

        >>> Until(accuracy=0.9).reached({"accuracy": 0.91, "loss": 0.3})
        True

        Raises:
            InvalidInput: a target names a metric that the task does not have.
        """
        for name in (*self.floors, *self.ceilings):
            if name not in metrics:
                raise InvalidInput(f"until: no metric {name!r}; this task measures {', '.join(sorted(metrics))}")
        return all(metrics[n] >= v for n, v in self.floors.items()) and all(
            metrics[n] <= v for n, v in self.ceilings.items()
        )


class Evaluation(Struct, frozen=True, forbid_unknown_fields=True):
    """How models are measured: every ``every`` versions, which ``subject``, on which split.

    ``subject`` "published" is the node clients start from, "kept" the model the server keeps (they differ
    under a lossy downlink). ``split``: the one that targets and reports are measured on; policies that
    decide by accuracy get the validation split.

    Raises:
        InvalidInput: ``every`` is below 1.
    """

    every: int = 1
    subject: Literal["published", "kept"] = "published"
    split: Split = "test"

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InvalidInput(f"evaluation.every = {self.every}: must be 1 or more versions")
