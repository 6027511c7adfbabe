"""What a simulation remembers: the heap of timed events, devices at work, transfers, byte counts; values only."""

from collections.abc import Callable
from heapq import heappush

from msgspec import Struct, field

from hocket import events as on
from hocket.events import Event
from hocket.fleet.egress import Egress
from hocket.fleet.toggles import Toggles
from hocket.lease import Lease, Node
from hocket.record.ledger import Ledger
from hocket.simulation.training import Progress

IDLE, DOWN, TRAIN, UP = 0, 1, 2, 3


class Broke(Event, frozen=True, gc=False, array_like=True, tag=True):
    """A device loses the work of a lease; ``silent``: nobody tells the server."""

    lease: int
    client: int
    silent: bool


class Toggle(Event, frozen=True, gc=False, array_like=True, tag=True):
    """Some devices come or go."""


class Drained(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The shared server link may have finished a transfer."""


class Costs(Event, frozen=True, gc=False, array_like=True, tag=True):
    """Jobs of a task that begin from now on take another time per sample."""

    task: str
    cost: float


Timed = (
    on.Fetched | on.Trained | on.Uploaded | on.Woke | on.TaskAdded | on.TaskPaused | on.TaskEnded
    | Broke | Toggle | Drained | Costs
)  # fmt: skip


class Work(Struct, gc=False):
    """What a lease (or an offer, under ~client) is doing and has cost.

    ``doing``: a transfer of ``size`` bytes or training from ``begin`` to ``end`` (ns, -1: not known yet), as
    flow ``flow`` of the shared link (-1: a link of its own). ``down``, ``up``: bytes sent for it so far.
    ``node``: what an offer fetches; ``saved``: bytes of this fetch that came through before its device left.
    """

    lease: Lease | None
    node: Node | None = None
    doing: int = IDLE
    begin: int = 0
    end: int = 0
    size: int = 0
    flow: int = -1
    down: int = 0
    up: int = 0
    saved: int = 0


class Part(Struct):
    """A download that ended when its device left: from what, to what, bytes that were left, bytes that were through."""

    have: Node | None
    node: Node
    left: int
    got: int


class Device(Struct):
    """A client with work under way, for snapshots."""

    id: int
    downloads: tuple[Lease, ...]
    ready: tuple[Lease, ...]
    uploads: tuple[Lease, ...]
    offer: Node | None
    wanted: tuple[Node, ...] = ()


class World(Struct):
    """Everything a simulation remembers besides server, book and training.

    ``heap``: (time in ns, sequence, event), popped in that order; ``holds``: task to the node each device has;
    ``flows``: transfers on the shared link; ``costs``: times per sample that have changed; ``parts``: task
    to client to a download that can go on; ``training``: what lazy training remembers.
    """

    toggles: Toggles
    holds: dict[str, list[Node | None]]
    ledger: Ledger
    egress: Egress | None
    now: int = 0
    sequence: int = 0
    heap: list[tuple[int, int, Timed]] = []
    work: dict[int, Work] = {}
    flows: dict[int, on.Fetched] = {}
    devices: list[Device] = []
    costs: dict[str, float] = {}
    parts: dict[str, dict[int, Part]] = {}
    training: Progress = field(default_factory=Progress)
    begun: bool = False

    def push(self, time: int, event: Timed) -> None:
        """Have an event happen at a time."""
        heappush(self.heap, (time, self.sequence, event))
        self.sequence += 1

    def part(self, work: Work) -> int:
        """Bytes of a transfer in progress that have been sent by now."""
        if work.flow >= 0 and work.flow in self.flows:
            assert self.egress is not None, "a flow needs a shared link"
            return self.egress.sent(work.flow, self.now)
        length = work.end - work.begin
        return work.size if work.flow >= 0 or length <= 0 else work.size * (self.now - work.begin) // length

    def under_way(self, part: Callable[[Work, int], int] | None = None) -> tuple[int, int]:
        """Bytes (down, up) of transfers in progress that have been sent by now.

        ``part``: how much of one of a client that is, where rates change with time.
        """
        down = up = 0
        for i, work in self.work.items():
            if work.doing not in (DOWN, UP):
                continue
            client = ~i if work.lease is None else work.lease.client
            sent = self.part(work) if part is None else part(work, client)
            if work.doing == DOWN:
                down += sent
            else:
                up += sent
        return down, up

    def totals(self, part: Callable[[Work, int], int] | None = None) -> dict[str, int]:
        """Bytes by kind, parts of transfers in progress included."""
        return self.ledger.totals(sum(w.down for w in self.work.values()), *self.under_way(part))
