"""What the server and a device ask for: frozen values, carried out by a driver in the order given."""

from msgspec import Struct

from hocket.lease import Lease, Node


class Action(Struct, frozen=True, gc=False, array_like=True, tag=True):
    """Base of all actions."""


# --- towards clients -------------------------------------------------------------------------------------


class Assign(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Give a client a lease; the driver finds the path of edges when the fetch starts."""

    lease: Lease


class Offer(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Let a client fetch a node ahead of any lease."""

    client: int
    node: Node


class Cancel(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Tell a client to drop a lease; ``reason`` "overcommitted", "expired", "ended", ..."""

    lease: int
    client: int
    task: str
    reason: str


class Accept(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Acknowledge an update: it will be in exactly one step."""

    lease: int
    client: int


class Refuse(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Tell a client that its update is not taken, and why."""

    lease: int
    client: int
    reason: str


class Publish(Action, frozen=True, gc=False, array_like=True, tag=True):
    """A node may be fetched from now on."""

    node: Node


# --- towards the driver ----------------------------------------------------------------------------------


class WakeAt(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Send ``Woke`` at a time (integer nanoseconds); a spurious one does no harm."""

    time: int


class Save(Action, frozen=True, gc=False, array_like=True, tag=True):
    """A good moment for a checkpoint."""


class Finish(Action, frozen=True, gc=False, array_like=True, tag=True):
    """The run is over."""

    reason: str


# --- towards book, learner and planner -------------------------------------------------------------------


class Decode(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Decode an update and measure it; answered by ``Measured``."""

    lease: int
    facts: tuple[str, ...]


class Accumulate(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Add an accepted update to its task's next step.

    ``weight``: what routing and objective make it count for; the guard's weight is asked for at the step.
    """

    lease: int
    task: str
    weight: float


class Release(Action, frozen=True, gc=False, array_like=True, tag=True):
    """A lease will never be accumulated; ``reason`` says why."""

    lease: int
    task: str
    reason: str


class Step(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Make one step of a task from what was accumulated; answered by ``Stepped``.

    ``keep``: versions that leases may still start from afterwards, besides the new one.
    """

    task: str
    keep: tuple[int, ...] = ()


class Evaluate(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Measure a model; answered by ``Evaluated``.

    ``subject``: "published" node, "kept" model of the server, or the model "returned" by a ``lease`` whose
    update waits for the next step.
    """

    task: str
    subject: str = "published"
    split: str = "validation"
    lease: int = -1


class Rank(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Re-rank the coordinates of a task; answered by ``Ranked``.

    ``cuts``: lengths of covers in the new epoch, where its bands end (none: one band).
    """

    task: str
    cuts: tuple[int, ...] = ()


class Keep(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Keep a copy of the model as it is; answered by ``Kept``."""

    task: str


class Restore(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Publish the kept copy as a new version; answered by ``Restored``."""

    task: str


class Plan(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Ask the planner again; answered by ``Planned``."""

    task: str


Request = Plan | Rank | Keep | Restore | Evaluate | Offer | WakeAt
"""What a policy may ask for from ``observe``."""


# --- on the device ---------------------------------------------------------------------------------------


class Fetch(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Get a node, given the one held (None: nothing). ``lease`` -1: ahead of any lease."""

    lease: int
    client: int
    node: Node
    have: Node | None


class Train(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Do the local work of a lease."""

    lease: Lease


class Upload(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Send the update of a lease."""

    lease: Lease


class Abort(Action, frozen=True, gc=False, array_like=True, tag=True):
    """Stop whatever is under way for a lease (-1: the offer)."""

    lease: int
    client: int
