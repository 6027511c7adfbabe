"""The driver: virtual time around one server, its disk, the network and the devices, until the run is over.

Faults happen until the world is healed; then they stop, and every open task must step within a bounded time (I9).
A server that crashes, or whose disk fails, is started again and recovers from what the disk kept. A disk that
says it is damaged is restored from its mirror, as an operator would.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from hocket import actions as do
from hocket.errors import Damaged, HocketError, StoreFailed
from hocket.events import Event
from hocket.faults.devices import Device
from hocket.faults.dice import Dice
from hocket.faults.disk import Disk
from hocket.faults.disk_store import DiskStore
from hocket.faults.network import Network
from hocket.faults.oracle import Oracle
from hocket.faults.outcome import Outcome
from hocket.faults.premises import bound, check, durations
from hocket.faults.reference import Wrong
from hocket.faults.swarm import Plan
from hocket.fleet import Fleet
from hocket.keyed import uniform
from hocket.service.host import Host, Watcher
from hocket.service.messages import Message
from hocket.setup import Setup
from hocket.store.journal import state_digest

PATIENCE = 8  # polls of silence after which a device counts as gone


class Crash(BaseException):
    """The server's process ends here; nothing in it may catch this."""


class World:
    """One run in one world.

    Args:
        setup: what is run; every task has a learner.
        fleet: the devices; durations, failures and dropouts count, a limit on what the server uploads does not.
        plan: which faults, how often.
        only: names of the faults that may happen (None: any).
        checks: look at every invariant after every event.
        watcher: looks on instead of the oracle.
        heal_after: polls after which faults stop.

    Raises:
        InvalidInput: the run needs what a world with faults does not have.
    """

    def __init__(
        self,
        setup: Setup,
        fleet: Fleet,
        plan: Plan,
        *,
        only: frozenset[str] | None = None,
        checks: bool = True,
        watcher: Watcher | None = None,
        heal_after: float = 60.0,
    ) -> None:
        check(setup, fleet)
        self.setup, self._plan = setup, plan
        self.dice = Dice(plan.seed, plan.rates, only)
        self.timing = fleet.timing(setup.seed)
        usual, slowest = durations(setup, fleet)
        self.poll = usual
        self._patience = PATIENCE * usual
        self._bound = bound(setup, len(fleet), slowest, self._patience)
        self._heal_at = int(heal_after * usual)
        self.network = Network(self.dice, usual // 50, 2 * usual)
        self.oracle, self.disk = Oracle(setup), Disk()
        self._watcher: Watcher = watcher or (self.oracle if checks else _Nobody())
        self.now = self._sequence = self.events = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self.host: Host | None = None
        self.lives = self.recoveries = self.crashes = self.damaged = self._points = 0
        self._started = (0, 0)  # world's time and server's time when this life began
        self._committing = False
        self._paused_until = 0
        self._progress = 0
        overlap = fleet.links == "parallel"
        self.devices: dict[int, list[Device]] = {
            c: [Device(setup, c, self.timing, self.dice, self, self.oracle, overlap)] for c in range(len(fleet))
        }
        self._overlap = overlap
        self.over = ""

    # --- running -----------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Go on to the end of the run, or to the first thing that is wrong."""
        violated = ""
        try:
            self._begin()
            while not self.over:
                self.now, _, then = heappop(self._heap)
                self.events += 1
                then()
            self._conclude()
        except Wrong as e:
            violated = str(e)
        except (HocketError, AssertionError, LookupError, ArithmeticError, TypeError, ValueError) as e:
            where = e.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            line = "" if where is None else f" ({where.tb_frame.f_code.co_filename}:{where.tb_lineno})"
            violated = f"the server broke: {type(e).__name__}: {e}{line}"
        return self._outcome(violated)

    def _begin(self) -> None:
        self._boot()
        for c, (device,) in self.devices.items():
            self.after(int(self.poll * uniform(self.dice.key("first", c))), device.beat)
        self._every(self._patience // 2, self._sweep)
        self._every(self.poll, self._pause)
        self.after(self._heal_at, self._heal)

    def _conclude(self) -> None:
        assert self.host is not None, "a run is over when its server says so"
        if self._watcher is self.oracle:
            self.oracle.over(self.host)
        live = state_digest(self.host.server, self.host.book)
        self.disk.repair()
        again = Host(
            self.setup, DiskStore(self.disk.clone()), lambda m: None, _Nobody(), step=lambda s: None,
            every=self._plan.checkpoint, patience=self._patience,
        )  # fmt: skip
        if state_digest(again.server, again.book) != live:
            raise Wrong("I4 replay: the journal of the whole run replays to another state")

    def _outcome(self, violated: str) -> Outcome:
        host, oracle = self.host, self.oracle
        known: dict[str, Any] = {}
        if host is not None:
            state, learners = host.server.state, {n: t.learner for n, t in self.setup.tasks.items()}
            known = {"updates": state.updates, "refused": state.refused, "lost": state.lost}
            known["versions"] = {n: t.version for n, t in state.tasks.items()}
            if not violated:
                known["digest"] = state_digest(host.server, host.book)
                models = {n: x for n in learners if (x := host.book.model(n)) is not None}
                known["metrics"] = {
                    n: y.evaluate(x, "test") for n, x in models.items() if (y := learners[n]) is not None
                }
        return Outcome(
            seed=self._plan.seed, classes=self._plan.classes, faults=self.dice.counts(),
            happened=tuple(self.dice.happened), events=self.events, time=self.now, crashes=self.crashes,
            recoveries=self.recoveries, damaged=self.damaged, acknowledged=len(oracle.acknowledged),
            uploads=oracle.uploads, finished=self.over, violated=violated, **known,
        )  # fmt: skip

    # --- for devices -------------------------------------------------------------------------------------

    def after(self, delay: int, then: Callable[[], None]) -> None:
        """Have something done later; ``delay`` in ns."""
        heappush(self._heap, (self.now + max(delay, 0), self._sequence, then))
        self._sequence += 1

    def send(self, message: Message, transfer: int = 0) -> None:
        """A device sends to the server."""
        for at, part in self.network.carry("up", message, self.now, transfer):
            self.after(at - self.now, lambda m=part: self._arrive(m))  # type: ignore[misc]

    def clone(self, device: Device) -> None:
        """A second device with the same identity and memory."""
        twins = self.devices[device.id]
        if len(twins) < 2:
            twin = Device(
                self.setup, device.id, self.timing, self.dice, self, self.oracle, self._overlap, len(twins)
            )  # fmt: skip
            twin.twin_of(device)
            twins.append(twin)
            self.after(self.poll // 3, twin.beat)

    def _reply(self, message: Message) -> None:
        """The server sends to whoever has the client's identity."""
        for at, part in self.network.carry("down", message, self.now):
            self.after(at - self.now, lambda m=part: self._deliver(m))  # type: ignore[misc]

    def _deliver(self, message: Message) -> None:
        for device in list(self.devices[message.client]):
            if device.up:
                device.receive(message)

    # --- the server's process ----------------------------------------------------------------------------

    def _arrive(self, message: Message) -> None:
        if self._paused_until > self.now:
            self.after(self._paused_until - self.now, lambda: self._arrive(message))
        elif self.host is not None:
            self._serve(lambda host: host.receive(message, self._clock()))

    def _clock(self) -> int:
        """The server's monotonic clock: it goes on where the last life's journal ends."""
        world, server = self._started
        return server + self.now - world

    def _serve(self, act: Callable[[Host], object]) -> None:
        """Let the server do something; it may end on the way."""
        host = self.host
        if host is None:
            return
        self._weather()
        try:
            act(host)
        except (Crash, StoreFailed):
            self._down()
            return
        self._arrange(host)

    def _arrange(self, host: Host) -> None:
        """See to what the server waits for."""
        for time in host.wakes:
            life = self.lives
            self.after(time - self._clock(), lambda n=life: self._wake(n))  # type: ignore[misc]
        host.wakes.clear()
        if host.server.finished and host.closed:
            self.over = host.server.finished
        elif (host.owes or host.server.finished) and not self._committing:
            self._committing = True
            life = self.lives
            self.after(self.poll // 200, lambda: self._commit(life))

    def _commit(self, life: int) -> None:
        if life == self.lives and self.host is not None:
            self._committing = False
            self._serve(lambda host: host.end() if host.server.finished else host.commit())

    def _wake(self, life: int) -> None:
        if life == self.lives and self.host is not None:
            self._serve(lambda host: host.wake(self._clock()))

    def _sweep(self) -> None:
        if self.host is not None and self._paused_until <= self.now:
            self._serve(lambda host: host.sweep(self._clock()))

    def _step(self, name: str) -> None:
        self._points += 1
        if self.dice.strikes(f"crash before {name}", self.lives, self._points):
            raise Crash

    def _down(self) -> None:
        """The process is gone; so is what the disk had not synced. It is started again later."""
        self.crashes += 1
        self.host = None
        self._committing = False
        self.disk.full = self.disk.failing = False
        self.disk.crash(self.dice.key("cache", self.crashes))
        if self.dice.strikes("bit flip", self.crashes):
            self.disk.flip(self.dice.key("flip", self.crashes))
        self.after(int(self.poll * (0.1 + uniform(self.dice.key("restart", self.crashes)))), self._boot)

    def _boot(self) -> None:
        self.lives += 1
        self._weather()
        try:
            self.host = Host(
                self.setup, DiskStore(self.disk, hook=self._step), self._reply, self._watcher, step=self._step,
                every=self._plan.checkpoint, patience=self._patience,
            )  # fmt: skip
        except (Crash, StoreFailed):
            self._down()
            return
        except Damaged as e:
            names = self.disk.damaged()
            if not names:
                raise
            if len(names) == 1 and names[0].startswith("checkpoint-"):
                raise Wrong(f"I1 once: {names[0]} is damaged, and nothing is left to fall back on: {e}") from e
            self.disk.repair()
            self.damaged += 1
            self.after(self.poll, self._boot)
            return
        self.recoveries += self.crashes > self.recoveries
        self._started = (self.now, self.host.now)
        self._arrange(self.host)

    def _weather(self) -> None:
        """Whether the disk is full or failing at this time."""
        window = self.now // (2 * self.poll)
        self.disk.full = self.dice.strikes("disk full", window)
        self.disk.failing = self.dice.strikes("sync fails", window)

    def _pause(self) -> None:
        """The process may be stopped for a while; what comes meanwhile waits."""
        if self.dice.strikes("server paused", self.now // self.poll):
            self._paused_until = self.now + int(5 * self.poll * uniform(self.dice.key("pause", self.now)))

    # --- healing -----------------------------------------------------------------------------------------

    def _heal(self) -> None:
        """Faults stop; from now on the run must go on."""
        self.dice.healed = True
        self._paused_until = 0
        self._progress = self._steps()
        self._every(self._bound, self._expect)

    def _expect(self) -> None:
        steps = self._steps()
        if steps <= self._progress:
            waits = "the server is down" if self.host is None else self.host.server.waits_for
            raise Wrong(f"I9 liveness: no step within {self._bound / 1e9:.6g} s after the last fault: {waits}")
        self._progress = steps

    def _steps(self) -> int:
        return -1 if self.host is None else sum(t.version for t in self.host.server.state.tasks.values())

    def _every(self, interval: int, then: Callable[[], None]) -> None:
        def again() -> None:
            then()
            self.after(interval, again)

        self.after(interval, again)


class _Nobody:
    """Looks on without looking."""

    def recovered(self, host: Host) -> None:
        """Nothing to say."""

    def handled(self, host: Host, event: Event, body: bytes, actions: list[do.Action]) -> None:
        """Nothing to say."""

    def leaving(self, host: Host, message: Message) -> None:
        """Nothing to say."""


def run(setup: Setup, fleet: Fleet, plan: Plan, only: frozenset[str] | None = None, **options: Any) -> Outcome:
    """Make a :class:`World` and run it; the arguments are its own."""
    return World(setup, fleet, plan, only=only, **options).run()
