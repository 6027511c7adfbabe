"""What a device and a server say over HTTP: names of headers and paths, and the bodies, JSON of frozen values.

| request | signed | body | answer |
|---|---|---|---|
| GET /v1/hello | no | | :class:`Hello` |
| POST /v1/enrol | proof of the key | :class:`Enrol` | :class:`Enrolled` |
| POST /v1/session | challenge | :class:`Open` | :class:`Opened` |
| GET /v1/experiment | yes | | the experiment in TOML |
| POST /v1/exchange | yes | :class:`Exchange` | :class:`Instructions`, at once or as soon as there are any |
| POST /v1/path | yes | :class:`Want` | :class:`Path` |
| GET /v1/edges/DIGEST | yes | | bytes, by ``Range`` too |
| GET /v1/updates/LEASE/DIGEST | yes | | :class:`Progress` |
| PATCH /v1/updates/LEASE | yes | part of an update from ``Hocket-Offset`` on | :class:`Progress` |
| POST /v1/leave | yes | | :class:`Progress` |

An *update* is a head (:class:`Head`) and the uplink's bytes in one: four bytes of length, the head as JSON, the bytes.
It is sent from where the server has it to; its digest, in ``Repr-Digest``, covers all of it and is signed.
"""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from hocket.errors import InvalidInput
from hocket.lease import Edge, Lease, Node
from hocket.service.measured import Rates

AUTHORIZATION = "Authorization"
DIGEST = "Repr-Digest"
OFFSET = "Hocket-Offset"
LENGTH = "Hocket-Length"
SIZES = 4  # bytes that say how long a head is
HEAD = 4096  # bytes of a head at most
CONTROL = 1 << 16  # bytes of any other body at most
REASON = 200  # characters of a reason that are kept

T = TypeVar("T")
Name = Annotated[int, Meta(ge=-1, le=(1 << 53) - 1)]
"""A lease's number; -1 is none."""


Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""Of SHA-256, or a public key; a device keeps what it downloads in a file of that name."""
Signature = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")]


class Body(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all bodies."""


class Hello(Body, frozen=True):
    """Who answers: the run, this life of the server, and a challenge to open a session with."""

    run: str
    term: int
    challenge: str


class Enrol(Body, frozen=True):
    """A one-time token, and the public key (hex) that it is to stand for; ``proof`` signs both."""

    token: str
    key: Digest
    proof: Signature


class Enrolled(Body, frozen=True):
    """The client that a key speaks for from now on."""

    client: int


class Open(Body, frozen=True):
    """Begin a session: ``proof`` signs the challenge; ``previous`` is the last session that this device had."""

    key: Digest
    challenge: str
    previous: str
    proof: Signature


class Opened(Body, frozen=True):
    """A session: requests carry its name and count from 1; ``hold``: seconds that an exchange may wait."""

    client: int
    session: str
    hold: float


class Exchange(Body, frozen=True):
    """What is in a device's hands, what happened there, and how fast it is.

    ``wait``: answer only when there is something to say.
    """

    leases: tuple[Name, ...] = ()
    fetched: tuple[tuple[Name, Node], ...] = ()
    started: tuple[Name, ...] = ()
    failed: tuple[tuple[Name, str], ...] = ()
    wait: bool = False
    rates: Rates = Rates()


class Instructions(Body, frozen=True):
    """Leases to work on and to drop, nodes that may be fetched ahead; ``finished``: why the run is over."""

    work: tuple[Lease, ...] = ()
    drop: tuple[int, ...] = ()
    hints: tuple[Node, ...] = ()
    finished: str = ""


class Want(Body, frozen=True):
    """A node for a lease (-1: ahead of any), given the one held."""

    lease: Name
    node: Node
    have: Node | None = None


class Step(Body, frozen=True):
    """An edge, and the digest and size of its bytes."""

    edge: Edge
    digest: Digest
    size: Annotated[int, Meta(ge=0)]


class Path(Body, frozen=True):
    """How to get to a node; None: it is gone."""

    steps: tuple[Step, ...] | None


class Head(Body, frozen=True):
    """What travels beside an update's bytes; ``start``: digest of the node it was trained from."""

    samples: int
    metrics: dict[str, float]
    start: str = ""


class Progress(Body, frozen=True):
    """How much of an update the server has; ``answer``: what became of it ("" accepted), None: not known yet."""

    offset: int = 0
    answer: str | None = None


class Problem(Body, frozen=True):
    """Why a request was not done, and after how many seconds to come again."""

    error: str
    retry: float = 0.0


def encode(body: Body) -> bytes:
    """A body as JSON."""
    return msgspec.json.encode(body)


def decode(data: bytes, kind: type[T]) -> T:
    """A body from JSON.

    Raises:
        InvalidInput: it is none of this kind.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise InvalidInput(f"{kind.__name__}: {e}") from None


def join_update(head: Head, data: bytes) -> bytes:
    """Head and bytes of an update as they travel.

    >>> split_update(join_update(Head(3, {"loss": 0.5}), b"update"))
    (Head(samples=3, metrics={'loss': 0.5}, start=''), b'update')
    """
    named = encode(head)
    return b"".join((len(named).to_bytes(SIZES, "big"), named, data))


def split_update(update: bytes) -> tuple[Head, bytes]:
    """The head and the bytes.

    Raises:
        InvalidInput: it is no update.
    """
    length = int.from_bytes(update[:SIZES], "big")
    if not 0 < length <= HEAD or len(update) < SIZES + length:
        raise InvalidInput(f"update: a head of {length} bytes in {len(update)}; at most {HEAD}")
    head = decode(update[SIZES : SIZES + length], Head)
    if any(len(name) > 64 for name in head.metrics) or len(head.metrics) > 32:
        raise InvalidInput("update: more than 32 metrics, or a name above 64 characters")
    return head, update[SIZES + length :]
