"""From tasks and a strategy to a server and a book; and ask/tell, for those who have a loop of their own."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket import actions as do
from hocket import events as on
from hocket.book import Book, Source
from hocket.errors import InvalidInput
from hocket.events import Event
from hocket.keyed import key, seeded
from hocket.learning.learner import Trained, measured
from hocket.learning.local import LocalSGD
from hocket.learning.task import Task
from hocket.lease import Lease, Node
from hocket.policies import Estimate
from hocket.privacy import sensitivity
from hocket.privacy.accountant import within
from hocket.server import Server
from hocket.strategy import FullStrategy, Local, Strategy, fill
from hocket.until import SECOND, Evaluation, Until

Tasks = Task | Sequence[Task]
LAST = 9e9
"""Seconds that still fit into 64 bits as nanoseconds, about 285 years."""


def named(tasks: Tasks) -> dict[str, Task]:
    """Tasks by name.

    Raises:
        InvalidInput: none, two of the same name, or different numbers of clients.
    """
    listed = [tasks] if isinstance(tasks, Task) else list(tasks)
    if not listed:
        raise InvalidInput("tasks: none given; a run trains at least one")
    out = {t.name: t for t in listed}
    if len(out) != len(listed):
        raise InvalidInput(f"tasks: names {', '.join(t.name for t in listed)} are not all different")
    counts = {t.name: t.clients for t in listed}
    if len(set(counts.values())) > 1:
        raise InvalidInput(f"tasks: numbers of clients differ ({counts}); one fleet serves all tasks")
    return out


def local_work(base: LocalSGD, change: Local) -> LocalSGD:
    """The task's local work with what a strategy changes in it."""
    fields: dict[str, Any] = {f: v for f in ("proximal", "lr") if (v := getattr(change, f)) is not None}
    if change.steps is not None:
        fields |= {"steps": change.steps, "epochs": None}
    if change.epochs is not None:
        fields |= {"steps": None, "epochs": change.epochs}
    return msgspec.structs.replace(base, **fields) if fields else base


def resolve(tasks: Mapping[str, Task], method: Strategy) -> tuple[FullStrategy, dict[str, Task]]:
    """The strategy with every part set, and the tasks with the local work it asks for.

    Raises:
        InvalidInput: the strategy contradicts itself or asks for more clients than there are.
    """
    full = fill(method, tuple(tasks))
    clients = next(iter(tasks.values())).clients
    largest = getattr(full.pacing, "largest", lambda _: None)(full.tasks)
    if largest is not None and largest > clients and getattr(full.matching, "busy", "skip") == "skip":
        raise InvalidInput(
            f"strategy {full.name}: {full.pacing} wants {largest} clients at work at once; the fleet has "
            f"{clients}. Lower cohort, overcommit or in_flight, or let busy clients queue jobs"
        )
    sensitivity.check(full, tasks)
    return full, {
        n: msgspec.structs.replace(t, local=local_work(t.local, full.tasks[n].local)) for n, t in tasks.items()
    }


def objective_weights(task: Task) -> NDArray[np.float64] | None:
    """What each client counts for in the objective, mean 1, float64[clients]; None if all count the same."""
    if task.objective == "uniform":
        return None
    return np.asarray(task.samples / task.samples.mean(), np.float64)


def build(
    tasks: Mapping[str, Task],
    strategy: FullStrategy,
    source: Source,
    *,
    seed: int,
    until: Until | None = None,
    evaluation: Evaluation | None = None,
    measure: tuple[str, ...] = (),
    journaled: bool = False,
    down: NDArray[np.float64] | None = None,
    secret: bytes | None = None,
) -> tuple[Server, Book]:
    """A server and a book for tasks resolved with :func:`resolve`; ``down``: rates of the devices' links, if known.

    ``secret``: what noise for privacy is drawn from (the seed, if left out).

    Raises:
        InvalidInput: a target on a metric for a task without a learner.
    """
    _check_targets(tasks, until)
    until = within(until, strategy)
    weights = {n: w.tolist() for n, t in tasks.items() if (w := objective_weights(t)) is not None}
    book = Book(
        strategy.tasks,
        {n: t.schema for n, t in tasks.items()},
        {n: t.learner.initial(key(seed, "initial", n)) for n, t in tasks.items() if t.learner is not None},
        {n: t.clients for n, t in tasks.items()},
        source,
        seed,
        secret,
    )
    server = Server(
        strategy,
        next(iter(tasks.values())).clients,
        {n: t.local for n, t in tasks.items()},
        seed=seed,
        until=until,
        evaluation=evaluation,
        objective=weights,
        measure=measure,
        journaled=journaled,
        estimate={n: Estimate(_size(book, shelf.node), down) for n, shelf in book.shelves.items()},
        first={n: shelf.node for n, shelf in book.shelves.items()},
        schemas={n: t.schema for n, t in tasks.items()},
    )
    return server, book


def _size(book: Book, node: Node) -> int:
    return sum(edge.size for edge in book.path(None, node))


def _check_targets(tasks: Mapping[str, Task], until: Until | None) -> None:
    if until is None:
        return
    if unknown := sorted(until.tasks.keys() - tasks.keys()):
        raise InvalidInput(f"until.tasks: no task {unknown[0]!r}; this run has {', '.join(tasks)}")
    for name, task in tasks.items():
        own = until.of(name)
        if task.learner is None and (own.floors or own.ceilings):
            raise InvalidInput(f"until: task {name!r} is size-only and has no metrics; stop at a limit instead")


class Job(Struct, frozen=True):
    """Work handed out by :meth:`Core.ask`; ``start`` maps segment names to arrays."""

    lease: int
    task: str
    client: int
    start: dict[str, NDArray[Any]]
    local: LocalSGD
    seed: int
    version: int


class Told(Struct, frozen=True):
    """The answer to :meth:`Core.tell`: accepted or why not, and the version if the model stepped."""

    accepted: bool
    reason: str = ""
    version: int | None = None


def _nanoseconds(now: object) -> int:
    if not isinstance(now, Real) or not 0 <= (seconds := float(now)) < LAST:
        raise InvalidInput(f"now = {now!r}: must be seconds from 0 to {LAST:g}")
    return round(seconds * SECOND)


class Core:
    """The decisions and the arithmetic without a driver: your loop, your clock.

    Args:
        task: one task or several.
        method: a strategy.
        clients: identities that may be given work from the start; others join with :meth:`join`.
        seed: of the run.
        secret: what noise for privacy is drawn from; a run that has secrets to keep gives 32 random bytes.

    >>> import hocket as hk
    >>> task = hk.reference_tasks.gaussian(clients=8, samples=20)
    >>> core = hk.Core(task, hk.strategies.fedbuff(buffer=2, in_flight=4), clients=range(8))
    >>> jobs = core.ask(now=0.0)
    >>> delta = {name: 0.01 * value + 0.1 for name, value in jobs[0].start.items()}
    >>> core.tell(jobs[0].lease, delta, samples=20, now=1.0)
    Told(accepted=True, reason='', version=None)
    >>> core.tell(jobs[1].lease, delta, samples=20, now=1.5).version
    1
    """

    def __init__(
        self, task: Tasks, method: Strategy, clients: Iterable[int], seed: int = 0, secret: bytes | None = None
    ) -> None:
        tasks = named(task)
        strategy, self._tasks = resolve(tasks, method)
        self._told: dict[int, Trained] = {}
        measure = ("finite", "norm")
        self.server, self.book = build(self._tasks, strategy, self, seed=seeded(seed), measure=measure, secret=secret)
        self._jobs: list[Job] = []
        self._open: dict[int, Lease] = {}
        self._now = 0
        self._wake: int | None = None
        self.join(clients)

    @property
    def wake_at(self) -> float | None:
        """When to call :meth:`ask` again although nothing was told, in seconds; None: not needed."""
        return None if self._wake is None else self._wake / SECOND

    def join(self, clients: Iterable[int], now: float = 0.0) -> None:
        """Clients that may be given work from now on."""
        self._tell(on.Joined(tuple(clients)), now)

    def ask(self, now: float) -> list[Job]:
        """The jobs to be done, each handed out once; ``now`` in seconds.

        Raises:
            InvalidInput: no such time.
        """
        time = _nanoseconds(now)
        if self._wake is not None and time >= self._wake:
            self._wake = None
            self._tell(on.Woke(), now)
        jobs, self._jobs = self._jobs, []
        return jobs

    def tell(
        self,
        lease: int,
        delta: Mapping[str, NDArray[Any]],
        samples: int,
        now: float,
        loss: float | None = None,
    ) -> Told:
        """Hand in an update: result minus start, by segment name.

        Raises:
            InvalidInput: names or shapes differ from the task's schema, no such time or number of samples.
        """
        _nanoseconds(now)
        if not isinstance(samples, int | np.integer) or samples >= 1 << 53:
            raise InvalidInput(f"samples = {samples!r}: must be a whole number below 2**53")
        open_lease = self.server.view.leases.get(lease)
        if open_lease is None:
            return Told(False, "closed" if 0 <= lease < self.server.state.next_lease else "unknown")
        schema = self._tasks[open_lease.task].schema
        with np.errstate(over="ignore"):  # beyond float32 is refused as not finite
            flat = schema.flatten(delta)
        self._told[lease] = Trained(flat, int(samples), {} if loss is None else {"loss": loss})
        size = self.book.upload_size(open_lease.task)[0]
        before = self.server.view.tasks[open_lease.task].version
        reason = self._tell(on.Arrived(lease, open_lease.client, size, int(samples)), now)
        after = self.server.view.tasks[open_lease.task].version
        return Told(not reason, reason, after if after != before else None)

    def fail(self, lease: int, now: float, reason: str = "failed") -> None:
        """A job will not be finished; its slot is given to somebody else."""
        open_lease = self.server.view.leases.get(lease)
        if open_lease is not None:
            self._tell(on.Failed(lease, open_lease.client, reason), now)

    def add(self, task: str, now: float) -> None:
        """Let a paused task be worked on again."""
        self._tell(on.TaskAdded(task), now)

    def pause(self, task: str, now: float) -> None:
        """Give out no new work of a task until it is added again; jobs under way count."""
        self._tell(on.TaskPaused(task), now)

    def end(self, task: str, now: float, reason: str = "ended") -> None:
        """A task is over: its jobs are void, the others have its share of the clients."""
        self._tell(on.TaskEnded(task, reason), now)

    def model(self, task: str | None = None) -> dict[str, NDArray[Any]]:
        """The published model by segment name (of the only task, if there is one)."""
        name = task or next(iter(self._tasks))
        x = self.book.model(name)
        return {} if x is None else self._tasks[name].schema.views(x)

    def look(self, lease: Lease) -> Trained:
        """The result of a lease, for the book."""
        return self._told[lease.id]

    def take(self, leases: Sequence[Lease]) -> list[Trained]:
        """Results for the book (it asks for each once)."""
        return [self._told.pop(lease.id) for lease in leases]

    def _tell(self, event: Event, now: float) -> str:
        time = _nanoseconds(now)
        if time < self._now:
            raise InvalidInput(f"now = {now}: before {self._now / SECOND}; time only goes forward")
        self._now = time
        refused = ""
        queue = [event]
        while queue:
            for a in self.server.handle(queue.pop(0), time):
                match a:
                    case do.Assign():
                        self._hand_out(a.lease)
                    case do.Decode():
                        queue.append(on.Measured(a.lease, measured(self._told[a.lease])))
                    case do.Accumulate():
                        self.book.accumulate(self._open.pop(a.lease), a.weight)
                    case do.Release():
                        self._release(a)
                    case do.Step():
                        queue.append(self.book.step(a.task, a.keep))
                    case do.Rank():
                        queue.append(self.book.rank(a.task, a.cuts))
                    case do.Keep():
                        queue.append(self.book.keep(a.task))
                    case do.Restore():
                        queue.append(self.book.restore_kept(a.task))
                    case do.Plan():
                        raise InvalidInput(
                            "a policy asked for a plan and a Core has no planner; give it Planned through server.handle"
                        )
                    case do.Refuse():
                        refused = a.reason
                    case do.WakeAt():
                        self._wake = a.time if self._wake is None else min(a.time, self._wake)
                    case do.Evaluate():
                        queue.append(self._evaluate(a))
                    case _:
                        pass
        return refused

    def _evaluate(self, a: do.Evaluate) -> on.Evaluated:
        version = self.book.shelves[a.task].node.version
        return on.Evaluated(a.task, version, a.subject, a.split, {})

    def _release(self, a: do.Release) -> None:
        lease = self._open.pop(a.lease, None)
        if lease is None:
            self.book.discard(a.lease, a.task)
        else:
            self.book.release(lease)
        self._told.pop(a.lease, None)
        self._jobs = [j for j in self._jobs if j.lease != a.lease]

    def _hand_out(self, lease: Lease) -> None:
        self.book.open(lease)
        self._open[lease.id] = lease
        sized = self.book.model(lease.task) is None
        start = {} if sized else self._tasks[lease.task].schema.views(self.book.start(lease))
        self._jobs.append(Job(lease.id, lease.task, lease.client, start, lease.local, lease.seed, lease.version))
