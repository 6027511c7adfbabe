"""Synchronous rounds of several tasks at once, with one barrier over all of them (Sync-ST).

A round asks ``asked`` clients in all and splits them at random over the tasks that go on, in proportion to ``shares``.
A task takes the first ``cohort`` updates that arrive; the round ends for every task when all tasks have theirs.
Whoever is still at work then is cancelled, which frees them, or finishes (``late``), for nothing: who is asked again
before begins the new job when the old one is done, as in the program of the FedAST comparison.

Bhuyan, Moharir, "Multi-model federated learning", COMSNETS 2022, the baseline that FedAST is compared with.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from msgspec import Struct

from hocket.actions import Request
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.pacing.allocation import proportional
from hocket.pacing.in_flight import PerTask, check_timeout, of, positive
from hocket.policies import Due, Slots
from hocket.strategy import policy
from hocket.view import TaskState, View


class Round(Struct):
    """Per task of the round: the version it started from, and how many clients were asked.

    ``late``: leases (keys) of rounds before that went on, and are at work or wait in a buffer.
    """

    version: dict[str, int] = {}
    asked: dict[str, int] = {}
    late: dict[int, None] = {}


@policy("pacing")
class JointRounds(Struct, frozen=True, tag="joint_rounds", tag_field="kind", forbid_unknown_fields=True):
    """Rounds of all tasks together.

    Args:
        asked: clients asked per round, over all tasks.
        cohort: updates that a task waits for (one number, or per task); at most what it asks.
        shares: what each task's part of ``asked`` is in proportion to; equal if left out.
        late: whether who is at work when the round ends is cancelled, or finishes; what then comes is discarded, at
            once if a guard refuses what is stale.
        timeout: seconds after which a lease expires and another client is asked.
    """

    asked: int = 20
    cohort: PerTask = 10
    shares: dict[str, float] | None = None
    late: Literal["cancel", "finish"] = "cancel"
    timeout: float | None = None
    refill_first: ClassVar[bool] = False
    observes: ClassVar[tuple[type[Event], ...]] = ()

    def __post_init__(self) -> None:
        positive(self.asked, "asked")
        positive(self.cohort, "cohort")
        check_timeout(self.timeout)
        if self.shares is not None and not all(0 < s < float("inf") for s in self.shares.values()):
            raise InvalidInput(f"joint_rounds: shares = {self.shares}; every one must be above 0")

    def init(self, view: View) -> Round:
        for name, asked in self._split(list(view.tasks)).items():
            if asked < of(self.cohort, name, "cohort"):
                raise InvalidInput(
                    f"joint_rounds: task {name!r} would ask {asked} clients and wait for "
                    f"{of(self.cohort, name, 'cohort')}; raise asked or its share, or lower cohort"
                )
        return Round()

    def _split(self, names: Sequence[str]) -> dict[str, int]:
        shares = dict.fromkeys(names, 1.0) if self.shares is None else self.shares
        if missing := [n for n in names if n not in shares]:
            raise InvalidInput(f"joint_rounds: no share for task {missing[0]!r}; shares has {', '.join(shares)}")
        return proportional(self.asked, {n: shares[n] for n in names})

    def room(self, state: Round, view: View, now: int) -> Slots:
        going = {n: t for n, t in view.tasks.items() if t.status == "active"}
        if any(t.stepping for t in going.values()):
            return {}
        if all(state.version.get(n) != t.version for n, t in going.items()):
            state.version = {n: t.version for n, t in going.items()}
            state.asked = self._split(list(going)) if going else {}
        here = {n: going[n] for n in state.asked if n in going and state.version[n] == going[n].version}
        before = Counter(x.task for i in state.late if (x := view.leases.get(i)) is not None)
        missing = {n: state.asked[n] - (t.open - before[n]) - len(_fresh(t, state)) for n, t in here.items()}
        return {n: k for n, k in missing.items() if k > 0}

    def due(self, state: Round, view: View, now: int) -> Due | None:
        ready: TaskState | None = None
        for name, t in view.tasks.items():
            if t.status != "active" or state.version.get(name) != t.version or t.stepping:
                continue  # over, not in this round, or done with it
            if len(_fresh(t, state)) < of(self.cohort, name, "cohort"):
                return None
            ready = ready or t
        if ready is None:
            return None
        first = tuple(_fresh(ready, state)[: of(self.cohort, ready.name, "cohort")])
        at_work = tuple(i for i, x in view.leases.items() if x.task == ready.name)
        if self.late == "cancel":
            return Due(ready.name, first, at_work)
        waiting = {i for t in view.tasks.values() if t is not ready for i in t.buffer}
        state.late = {i: None for i in state.late if i in view.leases or i in waiting} | dict.fromkeys(at_work)
        return Due(ready.name, first)

    def observe(self, state: Round, fact: Event, view: View, now: int) -> Sequence[Request]:
        return ()

    def largest(self, tasks: Mapping[str, object]) -> int | None:
        """Leases open at once over these tasks; None where late ones wait for slow clients as long as it takes."""
        return self.asked if self.late == "cancel" else None


def _fresh(task: TaskState, state: Round) -> list[int]:
    """Updates of this round that came so far."""
    return [i for i in task.buffer if i not in state.late] if state.late else task.buffer
