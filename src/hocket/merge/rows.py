"""The updates of one step side by side, for rules that compare them; clipping; how many a rule needs.

A row is w_i d_i, the update times its weight, cut to a norm of ``clip`` if that is set. Rules that withstand up to f
wrong updates do so only among enough of them: a strategy whose steps may have fewer is refused when it is built, and a
step that has fewer all the same is not made.
"""

from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.chunks import chunks, norm
from hocket.errors import Diverged, InvalidInput
from hocket.policies import Contribution
from hocket.strategy import FullStrategy, FullTask


class Rows(Struct):
    """Updates float32[size] in the order in which they were accepted, and what each is multiplied by."""

    updates: list[np.ndarray] = []
    scales: list[float] = []

    def add(self, c: Contribution, clip: float | None) -> float:
        """One more; its norm before clipping."""
        length = norm(c.delta) * abs(c.weight)
        cut = 1.0 if clip is None or length <= clip else clip / length
        self.updates.append(c.delta)
        self.scales.append(c.weight * cut)
        return length

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """All rows a block of coordinates at a time: where, and float64[updates, block]."""
        scales = np.asarray(self.scales)[:, None]
        for part in chunks(len(self.updates[0]) if self.updates else 0):
            yield part, np.stack([u[part] for u in self.updates]) * scales

    def clear(self) -> None:
        """Begin the next step."""
        self.updates.clear()
        self.scales.clear()


def check(name: str, faulty: int, clip: float | None) -> None:
    """Raise :class:`InvalidInput` for what no rule can be given."""
    if faulty < 0:
        raise InvalidInput(f"{name}.faulty = {faulty}: must be 0 or more updates per step")
    if clip is not None and not 0 < clip < float("inf"):
        raise InvalidInput(f"{name}.clip = {clip}: must be above 0, or left out")


def enough(name: str, rows: Rows, least: int) -> None:
    """Raise :class:`Diverged` for a step of fewer updates than a rule needs."""
    if rows.updates and len(rows.updates) < least:
        raise Diverged(f"merge {name}: a step of {len(rows.updates)} updates; it withstands wrong ones from {least} on")


def objection(name: str, least: int, strategy: FullStrategy, task: FullTask | None) -> str | None:
    """Why a rule that needs ``least`` updates per step does not go with a strategy."""
    pacing = strategy.pacing.__struct_config__.tag  # type: ignore[attr-defined]
    field = {"in_flight": "buffer", "rounds": "cohort", "joint_rounds": "cohort", "budgets": "buffer"}.get(pacing, "")
    given = getattr(strategy.pacing, field, None)
    known = min(given.values()) if isinstance(given, dict) and given else given
    if getattr(strategy.pacing, "deadline", None) is not None:
        known = min(known or 0, getattr(strategy.pacing, "minimum", 1))
    if not isinstance(known, int):
        few = f"pacing {pacing} may step with fewer, use in_flight or rounds"
        return f"merge {name} needs {least} updates in every step; {few}"
    if known < least:
        return f"merge {name} needs {least} updates in every step; pacing {pacing} steps with {known}, so raise {field}"
    submodel = None if task is None else task.submodel.__struct_config__.tag  # type: ignore[attr-defined]
    if submodel not in (None, "whole"):
        return f"merge {name} compares whole updates, submodel {submodel} sends parts of them; use masked_deltas"
    return None
