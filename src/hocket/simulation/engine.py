"""The virtual clock: events in (time, sequence) order around the pure core.

The engine pops what happens next, lets the devices carry it out, and gives the server what they have to tell.
Of the server's actions, those for devices go to :class:`~hocket.simulation.devices.Devices`, those for arithmetic
to the book; the result of an action is handled at the time of the action, before any later event. Nothing here
decides.
"""

from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop
from struct import error as StructError
from typing import Any

from hocket import actions as do
from hocket import events as on
from hocket.book import Book
from hocket.errors import InvalidInput, Stalled
from hocket.events import Event
from hocket.fleet import Fleet
from hocket.fleet.egress import Egress
from hocket.learning.task import Task
from hocket.lease import Lease
from hocket.record.account import Account
from hocket.record.ledger import Ledger
from hocket.record.log import EventLog
from hocket.schedule import Change, absent
from hocket.server import Server
from hocket.simulation.devices import Devices
from hocket.simulation.training import LazyTraining, Progress
from hocket.simulation.world import Costs, World

END_OF_TIME = 2**63
SLICE = 1000  # events between two looks at the clock
STILL = 5_000_000  # events at one instant after which virtual time is said to stand still


class Engine:
    """Runs a server, a book and a fleet to the end; ``on_evaluated`` is called with every measurement."""

    def __init__(
        self,
        server: Server,
        book: Book,
        training: LazyTraining,
        fleet: Fleet,
        tasks: Mapping[str, Task],
        seed: int,
        log: EventLog | None = None,
        planner: Callable[[str, Server], on.Planned] | None = None,
        schedule: Sequence[Change] = (),
    ) -> None:
        self.server, self.book, self.training, self.log = server, book, training, log
        self.on_evaluated: Callable[[int, on.Evaluated], None] | None = None
        self.saves = 0
        self._tasks = dict(tasks)
        self._planner, self._schedule = planner, tuple(schedule)
        self._devices = devices = Devices(fleet, tasks, book, training, seed)
        self._pack = {} if log is None else log.pack
        self._rows = bytearray() if log is None else log.rows
        self._still = 0
        n = len(fleet)
        toggles = fleet.availability.init(n, seed)
        egress = None if fleet.egress is None else Egress(fleet.egress)
        self._bind(World(toggles, {t: [None] * n for t in tasks}, Ledger(), egress))
        answer = devices.inbox.append
        self._carry: dict[type[Any], Callable[[Any], None] | None] = {
            do.Assign: self._assign, do.Offer: self._offer, do.Cancel: self._cancel, do.Accept: None,
            do.Refuse: self._write, do.Publish: None, do.WakeAt: self._wake_at, do.Save: self._save,
            do.Finish: self._write, do.Decode: self._decode, do.Accumulate: self._accumulate,
            do.Release: self._release, do.Step: lambda a: answer(book.step(a.task, a.keep)),
            do.Evaluate: self._evaluate, do.Rank: lambda a: answer(book.rank(a.task, a.cuts)),
            do.Keep: lambda a: answer(book.keep(a.task)), do.Plan: self._plan,
            do.Restore: lambda a: answer(book.restore_kept(a.task)),
        }  # fmt: skip

    def _bind(self, world: World) -> None:
        self.world, self.ledger = world, world.ledger
        self._work = world.work
        self._devices.bind(world)

    @property
    def now(self) -> int:
        """Virtual time, ns."""
        return self.world.now

    def under_way(self) -> tuple[int, int]:
        """Bytes (down, up) of transfers in progress that have been sent by now."""
        return self.world.under_way(self._devices.part)

    def totals(self) -> dict[str, int]:
        """Bytes by kind, parts of transfers in progress included."""
        return self.world.totals(self._devices.part)

    # --- running -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of everything at once: data, models and a learner's processes, which cycles would keep for a while."""
        for part in (self._devices, self.training, self):
            vars(part).clear()

    def run(self, events: int | None = None) -> bool:
        """Go on for so many timed events (None: to the end); whether the run is over.

        Raises:
            Stalled: nothing can happen any more, or virtual time stands still.
        """
        if not self.world.begun:
            self.world.begun = True
            for task in absent(self._schedule):
                self.tell(on.TaskPaused(task))
            self._follow(self._schedule)
            self._devices.begin()
        done = 0
        while not self.server.finished and (events is None or done < events):
            before = self.now
            batch = SLICE if events is None else min(SLICE, events - done)
            try:
                if self._batch(batch):
                    return True
            except (OverflowError, StructError) as e:
                if self.now < END_OF_TIME:
                    raise
                raise Stalled(
                    f"virtual time passed 2**63 ns (292 years) after {self.now / 1e9:.6g} s; devices are "
                    "too slow for what they are to move or compute"
                ) from e
            done += batch
            self._still = self._still + batch if self.now == before else 0
            if self._still > STILL:
                raise Stalled(
                    f"{STILL} events at {self.now / 1e9:.6g} s: virtual time stands still because nothing takes "
                    "any; give devices a compute time or a bandwidth, or stop at a number of updates"
                )
        return bool(self.server.finished)

    def tell(self, event: on.TaskAdded | on.TaskPaused | on.TaskEnded | on.Halted) -> None:
        """Have an operator tell the server something, at once."""
        self._devices.inbox.append(event)

    def _follow(self, schedule: Sequence[Change]) -> None:
        """Have the tasks change when it is time."""
        for change in schedule:
            if (event := change.event()) is not None:
                self.world.push(change.time, event)
            if change.cost is not None:
                self.world.push(change.time, Costs(change.task, change.cost))

    def _batch(self, events: int) -> bool:
        """Handle so many timed events; whether the run is over."""
        world, state, handle, carry = self.world, self.server.state, self.server.handle, self._carry
        heap, timed, inbox, pack, rows = world.heap, self._devices.timed, self._devices.inbox, self._pack, self._rows
        for _ in range(events):
            if not inbox:
                try:
                    world.now, _, timely = heappop(heap)
                except IndexError:
                    raise self._stalled() from None
                timed[type(timely)](timely)
            if inbox:
                now = world.now
                for event in inbox:  # grows while it is told: results of actions are added at the end
                    if (row := pack.get(type(event))) is not None:
                        rows += row(now, event)
                    for action in handle(event, now):
                        if (how := carry[type(action)]) is not None:
                            how(action)
                inbox.clear()
                if state.finished:
                    return True
        return False

    def _stalled(self) -> Stalled:
        return Stalled(
            f"nothing can happen any more at {self.now / 1e9:.6g} s: {self.server.waits_for}; a timeout "
            "or deadline in the pacing, more clients, or another stop condition would let it go on"
        )

    def change(self, fleet: Fleet, seed: int = 0) -> None:
        """Let devices be as fast as those of ``fleet`` from now on; work that has begun takes as long as it would have.

        Raises:
            InvalidInput: another number of devices.
        """
        self._devices.change(fleet, seed)

    # --- towards the devices -----------------------------------------------------------------------------

    def _assign(self, a: do.Assign) -> None:
        if self._pack:
            self._rows += self._pack[do.Assign](self.world.now, a)
        self.book.open(a.lease)
        self._devices.assign(a.lease)

    def _offer(self, a: do.Offer) -> None:
        self._write(a)
        self._devices.offer(a)

    def _cancel(self, a: do.Cancel) -> None:
        self._write(a)
        self._devices.drop(on.Cancelled(a.lease, a.client))

    def _write(self, a: do.Action) -> None:
        if self._pack:
            self._rows += self._pack[type(a)](self.world.now, a)

    def _save(self, a: do.Save) -> None:
        self.saves += 1

    def _wake_at(self, a: do.WakeAt) -> None:
        self.world.push(max(a.time, self.now), on.Woke())

    # --- towards the book --------------------------------------------------------------------------------

    def _accumulate(self, a: do.Accumulate) -> None:
        work = self._work.pop(a.lease)
        assert work.lease is not None, "only leases are accumulated"
        self.ledger.accepted(work.lease, work.down, self.book.accumulate(work.lease, a.weight))

    def _release(self, a: do.Release) -> None:
        work = self._work.pop(a.lease, None)
        self.training.forget(a.lease, accepted=work is None)
        if work is None:
            self.book.discard(a.lease, a.task)
            return
        assert work.lease is not None, "only leases are released"
        self.ledger.released(work.lease, work.down, work.up, a.reason)
        self.book.release(work.lease)

    def _decode(self, a: do.Decode) -> None:
        lease = self._work[a.lease].lease
        assert lease is not None, "only leases are decoded"
        self._devices.inbox.append(on.Measured(a.lease, self.training.measure(lease)))

    def _evaluate(self, a: do.Evaluate) -> None:
        learner = self._tasks[a.task].learner
        node = self.book.shelves[a.task].node
        x = self.book.model(a.task, a.subject, a.lease)
        metrics = {} if learner is None or x is None else learner.evaluate(x, a.split)
        event = on.Evaluated(a.task, node.version, a.subject, a.split, metrics, a.lease)
        if metrics and self.on_evaluated is not None:
            self.on_evaluated(self.now, event)
        self._devices.inbox.append(event)

    def _plan(self, a: do.Plan) -> None:
        if self._planner is None:
            raise InvalidInput("a policy asked for a plan and this run has no planner; pass planner= to simulate")
        self._devices.inbox.append(self._planner(a.task, self.server))

    # --- memory ------------------------------------------------------------------------------------------

    def freeze(self) -> World:
        """The engine's memory as one value, complete at this instant."""
        self.world.devices = self._devices.frozen()
        self.world.training = self.training.freeze()
        return self.world

    def adopt(self, account: Account, now: int, left: Sequence[Event]) -> None:
        """Continue a run that another driver began; server and book must be restored already.

        Devices begin their open leases anew. ``left``: results that the server was not told yet.
        """
        waiting = [x.id for shelf in self.book.shelves.values() for x, _ in shelf.pending]
        fresh = self.world
        training = Progress(started=waiting, finished=waiting)
        self.thaw(World(fresh.toggles, fresh.holds, account.ledger, fresh.egress, now, training=training, begun=True))
        for c in self._schedule:  # the server was told of the others; what they cost is nobody's but ours
            if c.time <= now and c.cost is not None:
                self._devices.timed[Costs](Costs(c.task, c.cost))
        self._follow([c for c in self._schedule if c.time > now])
        for action in self.server.pending():
            if isinstance(action, do.Assign):
                self._devices.assign(action.lease)
                self._work[action.lease.id].down += account.open[action.lease.id].down
            elif isinstance(action, do.WakeAt):
                self._wake_at(action)
        self._devices.inbox.extend(left)

    def thaw(self, world: World) -> None:
        """Continue from such a value; server and book must be restored already."""
        heapify(world.heap)
        leases = self.server.view.leases

        def own(theirs: tuple[Lease, ...]) -> tuple[Lease, ...]:
            return tuple(leases.get(x.id, x) for x in theirs)

        for i, work in world.work.items():
            work.lease = leases.get(i, work.lease)
        for d in world.devices:
            d.downloads, d.ready, d.uploads = own(d.downloads), own(d.ready), own(d.uploads)
        self._bind(world)
        waiting = {x.id: x for shelf in self.book.shelves.values() for x, _ in shelf.pending}
        self.training.thaw(world.training, {**waiting, **leases})
