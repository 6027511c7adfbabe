"""The life of tasks in the server's tables: added, paused, stepping, measured, ended; and the end of the run."""

from collections.abc import Sequence
from math import inf

from hocket import actions as do
from hocket import events as on
from hocket.errors import InvalidInput
from hocket.lease import Node
from hocket.lease_table import Actions, LeaseTable
from hocket.server_state import ServerState
from hocket.until import Evaluation, Until
from hocket.view import TaskState


class TaskTable:
    """Keeps ``state.tasks``; every method that takes an event says whether decisions may differ now.

    ``both``: a policy observes measurements, which are then also made on the validation split. ``changed``: where the
    names of tasks go that decisions are to look at.
    """

    __slots__ = ("_both", "_changed", "_evaluation", "_leases", "_max_steps", "_state", "_until")

    def __init__(
        self,
        state: ServerState,
        leases: LeaseTable,
        until: Until | None,
        evaluation: Evaluation,
        both: bool,
        changed: dict[str, None],
    ) -> None:
        self._state, self._leases, self._until, self._evaluation = state, leases, until, evaluation
        self._changed = changed
        self._max_steps = inf if until is None else until.limits.get("steps", inf)
        self._both = both and evaluation.split != "validation"

    def named(self, name: str) -> TaskState:
        """A task by name.

        Raises:
            InvalidInput: there is none.
        """
        task = self._state.tasks.get(name)
        if task is None:
            raise InvalidInput(f"no task {name!r}; this run has {', '.join(self._state.tasks)}")
        return task

    def ask(self, requests: Sequence[do.Request], out: Actions) -> None:
        """Pass requests on; a restore keeps its task from new work until it is done, and waits for an open step."""
        for request in requests:
            if isinstance(request, do.Restore):
                task = self.named(request.task)
                if task.stepping:
                    if request not in self._state.asked:
                        self._state.asked.append(request)
                    continue
                task.stepping = task.restoring = True
            out.append(request)

    def measure(self, task: TaskState, out: Actions) -> None:
        """Have the model of a task measured."""
        ev = self._evaluation
        out.append(do.Evaluate(task.name, ev.subject, ev.split))
        if self._both:
            out.append(do.Evaluate(task.name, ev.subject, "validation"))

    def finish(self, reason: str, out: Actions) -> None:
        """End the run, once."""
        if not self._state.finished:
            self._state.finished = reason = reason or "halted"
            out += (do.Save(), do.Finish(reason))

    # --- operators ---------------------------------------------------------------------------------------

    def added(self, e: on.TaskAdded, now: int, out: Actions) -> bool:
        task = self.named(e.task)
        paused = task.status == "paused"
        if paused:
            task.status = "active"
            self._changed[task.name] = None
        return paused

    def paused(self, e: on.TaskPaused, now: int, out: Actions) -> bool:
        task = self.named(e.task)
        if task.status == "active":
            task.status = "paused"
            self._changed[task.name] = None
            return True
        return False

    def ended(self, e: on.TaskEnded, now: int, out: Actions) -> bool:
        return self._end(self.named(e.task), e.reason, out)

    def halted(self, e: on.Halted, now: int, out: Actions) -> bool:
        self.finish(e.reason, out)
        return False

    def _end(self, task: TaskState, reason: str, out: Actions) -> bool:
        if task.status == "ended":
            return False
        s = self._state
        task.status = "ended"
        self._changed[task.name] = None
        for lease in [x for x in s.leases.values() if x.task == task.name]:
            self._leases.cancel(lease, "ended", out)
        out += (do.Release(lease_id, task.name, "ended") for lease_id in task.buffer)
        dropped = set(task.buffer)
        out += (do.Refuse(i, c, "ended") for _, i, c in s.unacknowledged if i in dropped)
        s.unacknowledged = [x for x in s.unacknowledged if x[1] not in dropped]
        s.answers.update((i, (s.answers[i][0], "ended")) for i in dropped if i in s.answers)
        s.offers = [x for x in s.offers if x[1] != task.name]
        task.buffer.clear()
        if all(t.status == "ended" for t in s.tasks.values()):
            self.finish(reason, out)
        return True

    # --- results of actions ------------------------------------------------------------------------------

    def stepped(self, e: on.Stepped, now: int, out: Actions) -> bool:
        task = self.named(e.task)
        _check_next(task, e.node)
        if not task.stepping or task.restoring:
            raise InvalidInput(f"task {e.task!r} stepped to version {e.node.version} without being asked")
        self._advance(task, e.node, now, out)
        self._state.broadcast += e.size
        task.stepping = False
        s = self._state
        if s.asked:
            waiting = [r for r in s.asked if r.task == e.task]
            s.asked = [r for r in s.asked if r.task != e.task]
            self.ask(waiting, out)
        return True

    def restored(self, e: on.Restored, now: int, out: Actions) -> bool:
        task = self.named(e.task)
        _check_next(task, e.node)
        if not task.restoring:
            raise InvalidInput(f"task {e.task!r} was restored to version {e.node.version} without being asked")
        self._advance(task, e.node, now, out)
        task.stepping = task.restoring = False
        task.epoch = e.epoch
        return True

    def _advance(self, task: TaskState, node: Node, now: int, out: Actions) -> None:
        task.node = node
        task.last_step = now
        self._changed[task.name] = None
        out.append(do.Publish(node))
        if node.version % self._evaluation.every == 0:
            self.measure(task, out)
        if node.version >= self._max_steps:
            self.finish("steps", out)

    def evaluated(self, e: on.Evaluated, now: int, out: Actions) -> bool:
        task = self.named(e.task)
        until, ev = self._until and self._until.of(e.task), self._evaluation
        if until is None or not (until.floors or until.ceilings) or not e.metrics or e.version <= task.measured:
            return False
        if (e.split, e.subject) != (ev.split, ev.subject):
            return False
        reached = until.reached(e.metrics)
        task.measured = e.version
        task.streak = task.streak + 1 if reached else 0
        return task.streak >= until.confirm and self._end(task, "target", out)

    def ranked(self, e: on.Ranked, now: int, out: Actions) -> bool:
        self.named(e.task).epoch = e.epoch
        return False

    def noted(self, e: on.Kept | on.Planned, now: int, out: Actions) -> bool:
        self.named(e.task)
        return True


def _check_next(task: TaskState, node: Node) -> None:
    if node.task != task.name:
        raise InvalidInput(f"task {task.name!r} cannot publish a node of task {node.task!r}")
    if node.version != task.version + 1:
        raise InvalidInput(f"task {task.name!r}: version {node.version} after {task.version}; versions go up by one")
