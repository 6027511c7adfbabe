"""What server and devices say to each other over a network that loses and repeats: frozen values, safe to say twice."""

from msgspec import Struct

from hocket.events import Failed, Fetched, Started
from hocket.learning.learner import Trained
from hocket.lease import Edge, Lease, Node


class Message(Struct, frozen=True, gc=False):
    """Base of all messages; ``client`` is whom it is from or to, as the connection proves it."""

    client: int

    @property
    def whole(self) -> bool:
        """Whether nothing of it was cut off."""
        return True


# --- from a device ---------------------------------------------------------------------------------------


class Poll(Message, frozen=True, gc=False):
    """I am here, and these leases are in my hands."""

    leases: tuple[int, ...]


class Ask(Message, frozen=True, gc=False):
    """Send me a node; this is what I hold."""

    lease: int
    node: Node
    have: Node | None


class Told(Message, frozen=True, gc=False):
    """Something happened here that the server may want to know."""

    event: Fetched | Started | Failed


class Update(Message, frozen=True, gc=False):
    """The update of a lease: ``length`` bytes were sent, ``body`` is what came, ``decoded`` what it says if known."""

    lease: int
    samples: int
    metrics: dict[str, float]
    digest: str
    length: int
    body: bytes
    decoded: Trained | None = None

    @property
    def whole(self) -> bool:
        return len(self.body) == self.length


# --- from the server -------------------------------------------------------------------------------------


class Work(Message, frozen=True, gc=False):
    """A lease to work on."""

    lease: Lease


class Hint(Message, frozen=True, gc=False):
    """A node that may be fetched ahead of any lease."""

    node: Node


class Value(Message, frozen=True, gc=False):
    """The bytes of a path of edges to a node; None: it is gone."""

    lease: int
    node: Node
    edges: tuple[Edge, ...]
    data: tuple[bytes, ...] | None


class Answer(Message, frozen=True, gc=False):
    """What became of an update; ``reason`` is empty if it is accepted."""

    lease: int
    reason: str


class Drop(Message, frozen=True, gc=False):
    """Stop working on a lease."""

    lease: int
    reason: str
