"""Sub-models sized to the time their clients take, and recovered when they stop learning (PR-FL).

Every ``interval`` rounds of the fastest client:

1. stage one: densities are adjusted so that all clients take the same time (:mod:`hocket.submodel.density`);
2. a client whose returned models have not got better for ``patience`` evaluations gets ``step`` more density;
3. when the server's own model has not for as long, the best one so far is restored (``rollback``) and the least density
   of all clients goes up by ``step``;
4. the weights are ranked anew, which begins an epoch.

Stage one is over when recovery first raises a density; with ``rebalance`` times are balanced in stage two as well, the
raised densities being the floors (the author's slides; the released code does not). Scores are accuracies on the
validation split. A client's round time is that from the issue of a lease to the arrival of its update.

Ma, "Federated learning based on pruning and recovery", 2024 (arXiv 2403.15439).
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket import events as on
from hocket.actions import Evaluate, Keep, Rank, Request, Restore
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.lease import Cover, Lease
from hocket.ranking import Positions
from hocket.schema import Schema, Vector
from hocket.strategy import FullStrategy, FullTask, policy
from hocket.submodel import pruned
from hocket.submodel.density import Controller
from hocket.submodel.pruned import Sizes
from hocket.submodel.tracker import Tracker
from hocket.until import SECOND
from hocket.view import View

START = (1.0, 1.0, 0.6, 0.6, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1)


class Recovery(Struct, frozen=True, forbid_unknown_fields=True):
    """``step`` of density after ``patience`` evaluations without a better one; ``rollback`` to the best model."""

    step: float = 0.2
    patience: int = 10
    rollback: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.step <= 1 or self.patience < 1:
            raise InvalidInput(
                f"recovery: step = {self.step}, patience = {self.patience}; the step is in (0, 1], patience 1 or more"
            )


class Schedule(Struct):
    """Densities, floors, times (the last of each client, seconds) and scores; ``epoch`` is that of the next lease.

    ``seen``: densities and mean times of the last intervals. ``asked``: leases whose model is being measured, with
    their clients. ``first``: still stage one; ``kept``: there is something to go back to; ``due``: an interval is over
    at the next step.
    """

    task: str
    sizes: Sizes
    densities: list[float]
    floors: list[float]
    least: float
    times: list[list[float]]
    seen: list[list[tuple[float, float]]]
    rounds: list[int]
    clients: list[Tracker]
    server: Tracker
    asked: dict[int, int] = {}
    epoch: int = 0
    intervals: int = 0
    first: bool = True
    due: bool = False
    scoring: bool = False
    saving: bool = False
    kept: bool = False


@policy("submodel")
class Pruning(Struct, frozen=True, tag="pruning", tag_field="kind", forbid_unknown_fields=True):
    """Unstructured pruning by one ranking.

    Args:
        start: densities at the start; a fleet of another size is divided into as many equal parts.
        least: no density is below this one (rho_min) before recovery raises it.
        base: share of each layer that every client keeps.
        interval: rounds of the fastest client from one ranking to the next.
        controller: how densities follow times in stage one; None leaves them as they start.
        recovery: how they are raised; None never does.
        rebalance: balance times in stage two as well.
        importance: rank by squared gradients that clients upload, or by the size of the weights.
        every: jobs of a client from one upload of squared gradients to the next.
    """

    start: tuple[float, ...] = START
    least: float = 0.1
    base: float = 0.05
    interval: int = 50
    controller: Controller | None = Controller()
    recovery: Recovery | None = Recovery()
    rebalance: bool = False
    importance: Literal["gradient", "weight"] = "gradient"
    every: int = 5
    observes: ClassVar[tuple[type[Event], ...]] = (on.Closed, on.Stepped, on.Evaluated, on.Restored)
    listed: ClassVar[bool] = True
    structured: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.start or not all(0 < rho <= 1 for rho in self.start):
            raise InvalidInput(f"pruning: start = {list(self.start)}; give one density or more, each in (0, 1]")
        if not 0 < self.least <= 1 or not 0 <= self.base <= 1:
            raise InvalidInput(f"pruning: least = {self.least}, base = {self.base}; both are shares, least above 0")
        if self.interval < 1 or self.every < 1:
            raise InvalidInput(f"pruning: interval = {self.interval}, every = {self.every}; both are 1 or more")

    # --- the ranking -------------------------------------------------------------------------------------

    def cuts(self, schema: Schema) -> tuple[int, ...]:
        sizes = Sizes.of(schema, self.base)
        return tuple(sorted({sizes.length(rho) for rho in self.start}))

    def order(self, schema: Schema, x: Vector | None, importance: NDArray[np.float64] | None) -> Positions:
        assert x is not None, "a listed ranking is made where the model is"
        return pruned.order(schema, x, importance if self.importance == "gradient" else None, self.base)

    def squares(self, lease: Lease) -> bool:
        return self.importance == "gradient" and lease.ordinal % self.every == self.every - 1

    # --- the schedule ------------------------------------------------------------------------------------

    def init(self, view: View, task: str) -> Schedule:
        n, k = view.clients, len(self.start)
        densities = [self.start[c * k // n] for c in range(n)]
        return Schedule(
            task, Sizes.of(view.schemas[task], self.base), densities, [self.least] * n, self.least,
            [[] for _ in range(n)], [[] for _ in range(n)], [0] * n, [Tracker() for _ in range(n)], Tracker(),
        )  # fmt: skip

    def cover(self, state: Schedule, client: int) -> Cover:
        return Cover(state.epoch, state.sizes.length(state.densities[client]))

    def observe(self, state: Schedule, fact: Event, view: View, now: int) -> Sequence[Request]:
        if isinstance(fact, on.Closed):
            mine = fact.lease.task == state.task and fact.outcome == "accepted"
            return self._delivered(state, fact.lease, now) if mine else ()
        if isinstance(fact, on.Stepped | on.Evaluated | on.Restored) and fact.task != state.task:
            return ()
        if isinstance(fact, on.Evaluated):
            return self._scored(state, fact)
        if isinstance(fact, on.Restored):
            state.epoch = fact.epoch
            return self._rank(state)
        return self._interval(state) if state.due else ()

    def _delivered(self, state: Schedule, lease: Lease, now: int) -> Sequence[Request]:
        c = lease.client
        if lease.cover.length == self.cover(state, c).length:
            state.times[c] = [*state.times[c], (now - lease.issued) / SECOND][-self.interval :]
        state.rounds[c] += 1
        if state.rounds[c] >= (state.intervals + 1) * self.interval:
            state.intervals = state.rounds[c] // self.interval
            state.due = True
        if self.recovery is None or (state.rounds[c] - 1) % self.interval:
            return ()
        state.asked[lease.id] = c
        return (Evaluate(state.task, "returned", "validation", lease.id),)

    def _scored(self, state: Schedule, e: on.Evaluated) -> Sequence[Request]:
        if e.split != "validation" or "accuracy" not in e.metrics:
            return ()
        if e.subject == "returned":
            client = state.asked.pop(e.lease, None)
            if client is not None:
                state.clients[client].see(e.metrics["accuracy"])
            return ()
        if e.subject != "published" or not state.scoring:
            return ()
        state.scoring = False
        if state.server.see(e.metrics["accuracy"]) and state.saving:
            state.kept = True
            return (Keep(state.task),)
        return ()

    def _interval(self, state: Schedule) -> Sequence[Request]:
        state.due = False
        before = list(state.densities)
        if self.controller is not None and (state.first or self.rebalance):
            self._balance(state, self.controller)
        back = self.recovery is not None and self._recover(state, self.recovery)
        for c, rho in enumerate(before):
            if state.densities[c] != rho:
                state.times[c] = []
        state.scoring = self.recovery is not None
        score = (Evaluate(state.task, "published", "validation"),) if state.scoring else ()
        return (*score, Restore(state.task)) if back else (*self._rank(state), *score)

    def _balance(self, state: Schedule, controller: Controller) -> None:
        means = [sum(q) / len(q) if q else 0.0 for q in state.times]
        after = controller.adjust(state.densities, means, state.floors, state.seen)
        for c, t in enumerate(means):
            if t > 0:
                state.seen[c] = [*state.seen[c], (state.densities[c], t)][-4:]
        state.densities = after

    def _recover(self, state: Schedule, recovery: Recovery) -> bool:
        """Raise densities of clients, or of all, that have run out of patience; whether to go back to the best
        model."""
        for c, tracker in enumerate(state.clients):
            if tracker.count >= recovery.patience and state.densities[c] < 1:
                tracker.count = 0
                self._lift(state, c, state.densities[c] + recovery.step)
        back = False
        patience = recovery.patience * (8 if state.least >= 1 else 1)
        if state.server.count >= patience and state.least < 1:
            back = state.kept and recovery.rollback
            state.server.count, state.saving = 0, recovery.rollback
            state.least = min(1.0, round(state.least + recovery.step, 6))
            for c in range(len(state.densities)):
                self._lift(state, c, state.least)
        state.least = max(state.least, min(state.floors))
        return back

    def _lift(self, state: Schedule, client: int, density: float) -> None:
        raised = min(1.0, round(density, 6))
        if raised > state.densities[client]:
            state.densities[client] = raised
            state.first = False
        state.floors[client] = max(state.floors[client], min(raised, 1.0))

    def _rank(self, state: Schedule) -> Sequence[Request]:
        state.epoch += 1
        cuts = {state.sizes.length(rho) for rho in state.densities}
        return (Rank(state.task, tuple(sorted(cuts))),)

    def objection(self, strategy: FullStrategy, task: FullTask | None) -> str | None:
        """Parts of a model need a downlink that sends parts."""
        return needs_parts("pruning", task)


def needs_parts(submodel: str, task: FullTask | None) -> str | None:
    """Why a task cannot send sub-models, if it cannot."""
    if task is None or getattr(task.downlink, "covers", False):
        return None
    kind = task.downlink.__struct_config__.tag  # type: ignore[attr-defined]
    return f"submodel {submodel} gives clients parts of the model, downlink {kind} sends all of it; use downlink bands"
