"""What can happen to the server, and what can happen on a device: frozen values, no behaviour.

Every event encodes to a compact array that starts with its name, so a journal is a list of events and a
recorded run replays. Results of an action (``Measured`` .. ``Planned``) are events as well: in simulation
they carry the time of their action, in the service they arrive when they are ready.
"""

from msgspec import Struct

from hocket.lease import Lease, Node


class Event(Struct, frozen=True, gc=False, array_like=True, tag=True):
    """Base of all events."""


# --- the fleet -------------------------------------------------------------------------------------------


class Joined(Event, frozen=True, gc=False, array_like=True, tag=True):
    """Clients that can be given work from now on."""

    clients: tuple[int, ...]


class Left(Event, frozen=True, gc=False, array_like=True, tag=True):
    """A client that cannot be given work any more; its open leases end on their own."""

    client: int


# --- the life of a lease ---------------------------------------------------------------------------------


class Fetched(Event, frozen=True, gc=False, array_like=True, tag=True):
    """A client holds a node; ``size`` bytes were sent for it. ``lease`` -1: it was an offer.

    ``took``: how long the transfer took in ns, 0 if not measured.
    """

    lease: int
    client: int
    node: Node
    size: int
    took: int = 0


class Started(Event, frozen=True, gc=False, array_like=True, tag=True):
    """A client began the local training of a lease."""

    lease: int
    client: int


class Arrived(Event, frozen=True, gc=False, array_like=True, tag=True):
    """A whole update arrived: ``size`` bytes, from ``samples`` local samples.

    ``digest``: of the node it was trained from, where the device computed one.
    """

    lease: int
    client: int
    size: int
    samples: int
    digest: str = ""


class Failed(Event, frozen=True, gc=False, array_like=True, tag=True):
    """A client gave up a lease and said so."""

    lease: int
    client: int
    reason: str


# --- time, storage, operators ----------------------------------------------------------------------------


class Woke(Event, frozen=True, gc=False, array_like=True, tag=True):
    """A time asked for with ``WakeAt`` has come."""


class Durable(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The first ``count`` events of this run are on stable storage."""

    count: int


class TaskAdded(Event, frozen=True, gc=False, array_like=True, tag=True):
    """A task of the strategy may be worked on (again)."""

    task: str


class TaskPaused(Event, frozen=True, gc=False, array_like=True, tag=True):
    """No new work for a task until it is added again; work under way counts."""

    task: str


class TaskEnded(Event, frozen=True, gc=False, array_like=True, tag=True):
    """A task is over: its work under way is cancelled, late updates are refused."""

    task: str
    reason: str


class Halted(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The whole run is to end."""

    reason: str


# --- results of actions ----------------------------------------------------------------------------------


class Measured(Event, frozen=True, gc=False, array_like=True, tag=True):
    """What a decoded update measures (``finite`` 0 or 1, ``norm``, ``loss``, ...)."""

    lease: int
    facts: dict[str, float]


class Stepped(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The model moved: ``node`` is published; ``count`` updates went in.

    ``size``: bytes that bring a client from the version before to this one. ``facts``: what the merge measures of
    its updates (means over them), and the ``norm`` of the step.
    """

    task: str
    node: Node
    count: int
    size: int = 0
    facts: dict[str, float] = {}


class Evaluated(Event, frozen=True, gc=False, array_like=True, tag=True):
    """Metrics of a model (``subject`` and ``lease`` as in ``Evaluate``) on a split of the task's data."""

    task: str
    version: int
    subject: str
    split: str
    metrics: dict[str, float]
    lease: int = -1


class Ranked(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The book re-ranked the coordinates of a task: a new epoch begins."""

    task: str
    epoch: int


class Kept(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The book keeps a copy of the model as it is at ``version``."""

    task: str
    version: int


class Restored(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The kept copy is published as a new version, in a new epoch."""

    task: str
    node: Node
    epoch: int


class Planned(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The planner's answer: a routing probability per client and how many leases to keep in flight.

    ``work``: seconds from the start of training to the arrival of the update that it counts on, per client.
    """

    task: str
    probabilities: tuple[float, ...]
    in_flight: int
    work: tuple[float, ...] = ()


class Closed(Event, frozen=True, gc=False, array_like=True, tag=True):
    """A lease is over: a fact for policies, never told to a server.

    ``outcome`` "accepted", or the reason why it came to nothing; ``size`` and ``samples`` of its update, if
    one arrived.
    """

    lease: Lease
    outcome: str
    size: int = 0
    samples: int = 0


ServerEvent = (
    Joined | Left | Fetched | Started | Arrived | Failed | Woke | Durable | TaskAdded | TaskPaused | TaskEnded
    | Halted | Measured | Stepped | Evaluated | Ranked | Kept | Restored | Planned
)  # fmt: skip


# --- on the device ---------------------------------------------------------------------------------------


class Assigned(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The device was given a lease."""

    lease: Lease


class Offered(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The device may fetch a node ahead of any lease."""

    client: int
    node: Node


class Trained(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The device finished the local work of a lease."""

    lease: int
    client: int


class Uploaded(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The device sent the last byte of a lease's update: ``size`` bytes from ``samples`` samples."""

    lease: int
    client: int
    size: int
    samples: int


class Cancelled(Event, frozen=True, gc=False, array_like=True, tag=True):
    """The device is to forget a lease (-1: the fetch ahead of any lease)."""

    lease: int
    client: int


class Lost(Event, frozen=True, gc=False, array_like=True, tag=True):
    """Everything under way on the device is lost (crash, switched off, out of reach)."""

    client: int
    reason: str


DeviceEvent = Assigned | Offered | Fetched | Trained | Uploaded | Cancelled | Lost
