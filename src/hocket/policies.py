"""The contracts of a strategy: what each policy is asked, and what it may see.

Control plane (called by the server; identities, counts, sizes and scalars only): :class:`Pacing`,
:class:`Matching`, :class:`Prefetch`, :class:`Submodel`, :class:`Guard`. Data plane (called by the book;
arrays): :class:`Downlink`, :class:`Uplink`, :class:`Merge`, :class:`Optimizer`, :class:`Codec`.

A policy is a frozen value. What it remembers is a separate state object made by ``init``, owned by the
core, changed in place and snapshotted generically: a ``msgspec.Struct`` of plain values, ``array.array``
and NumPy arrays. ``observe`` folds one fact (an event) into that state and may ask for something
(:data:`hocket.actions.Request`); a policy that names the facts it wants in ``observes`` gets those, and
only those. A policy that needs values from an update names them in ``needs`` (``norm``, ``loss``, ...);
that, and nothing else, makes the simulator train before the server step. What a policy does not have (``needs``,
``objection``, ``looks_ahead``, ``memory``) counts as empty.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.actions import Request
from hocket.events import Event
from hocket.lease import Cover, Edge, Lease, Node
from hocket.ranking import Positions
from hocket.schema import Schema, Vector
from hocket.view import View

ANY = "*"
"""Key of slots that the matching may give to any task."""

Slots = Mapping[str, int]
State = Any
"""A policy's memory: each policy defines its own type; the core only carries it."""


class Due(Struct, frozen=True, gc=False):
    """A step is due now, or is to be looked for again later.

    ``task`` None: nothing is due yet. ``accepted`` None: everything buffered goes into the step, else the
    leases that do (the rest is discarded). ``cancel``: open leases of the task that are over with this
    step (None: leave all at work). ``look_again_at``: nanoseconds, when to ask again at the latest.
    """

    task: str | None = None
    accepted: tuple[int, ...] | None = None
    cancel: tuple[int, ...] | None = None
    look_again_at: int | None = None


class Pick(Struct, gc=False):
    """A client chosen for a task's next job, and what its update is to count for.

    ``probability``: the chance with which this client was drawn, for importance weights.
    ``for_version``: the version it was chosen for, when chosen ahead (-1: now).
    """

    task: str
    client: int
    probability: float
    weight: float = 1.0
    group: str = ""
    for_version: int = -1


class Facts(Struct, gc=False):
    """What a guard may judge an update by; ``measured`` holds what the policies' ``needs`` asked for."""

    staleness: int
    size: int
    samples: int
    measured: Mapping[str, float]


class Contribution(Struct, gc=False):
    """One accepted update on its way into a step: ``delta`` and ``start`` are float32[size].

    ``covered``: int32[length], the coordinates that were sent to this client (None: all of them); start and delta are
    zero elsewhere. ``aux``: what the method uploads besides the update. ``share``: the weight without the guard's, for
    merges that keep updates and ask again what they weigh.
    """

    lease: Lease
    weight: float
    samples: int
    delta: Vector
    start: Vector
    covered: Positions | None = None
    aux: bytes | None = None
    share: float = 1.0


class Estimate(Struct, frozen=True):
    """What a prefetch policy is told of the world; the rest it observes.

    ``full``: bytes that bring a client from nothing to the newest node. ``down``: float64[clients], the rates of the
    devices' links in bytes per second, where the driver knows them.
    """

    full: int
    down: NDArray[np.float64] | None = None


Weigh = Callable[[Lease], float]
"""What an update of a lease weighs at this step."""


class Pacing(Protocol):
    """How much work may start, and when is a buffer, round or window due?

    ``timeout``: seconds after which an issued lease expires, None for never.
    ``refill_first``: give out new work before the step that an arrival triggers, not after. A pacing whose word on a
    task depends on that task alone need only look at ``view.moved()``, whatever the number of tasks.
    """

    @property
    def observes(self) -> tuple[type[Event], ...]:
        """The facts it wants to be told."""

    @property
    def timeout(self) -> float | None:
        """Seconds."""

    @property
    def refill_first(self) -> bool:
        """Whether new work comes before the step."""

    def init(self, view: View) -> State:
        """The memory before anything has happened: None or a Struct."""

    def room(self, state: State, view: View, now: int) -> Slots:
        """Leases that may start now, per task or for :data:`ANY`."""

    def due(self, state: State, view: View, now: int) -> Due | None:
        """The step that is due at ``now`` ns, or when to ask again; None: nothing, until something happens."""

    def observe(self, state: State, fact: Event, view: View, now: int) -> Sequence[Request]:
        """Fold a fact that ``observes`` names into the memory, at ``now`` ns; what to ask for because of it."""


class Matching(Protocol):
    """Which client does which task's next job?

    ``looks_ahead``: a class attribute, True if ``ahead`` is to be asked at every decision.
    """

    observes: ClassVar[tuple[type[Event], ...]]

    def init(self, view: View) -> State:
        """The memory before anything has happened: None or a Struct."""

    def match(self, state: State, slots: Slots, view: View, key: int) -> list[Pick]:
        """At most as many picks as slots; fewer when no more clients can be given work.

        ``key`` is uniform on 64 bits and new at every call.
        """

    def ahead(self, state: State, slots: Slots, view: View, key: int) -> list[Pick]:
        """Picks for later versions (``for_version``); ``match`` must honour them when their version comes."""

    def observe(self, state: State, fact: Event, view: View, now: int) -> Sequence[Request]:
        """Fold a fact that ``observes`` names into the memory, at ``now`` ns; what to ask for because of it."""


class Prefetch(Protocol):
    """Who may start fetching what, from when?

    A policy after which a client may train from an older node than the newest is a :class:`Holding` one as well.
    """

    observes: ClassVar[tuple[type[Event], ...]]

    def init(self, view: View) -> State:
        """The memory before anything has happened: None or a Struct."""

    def starts(
        self, state: State, picks: Sequence[Pick], view: View, estimate: Estimate
    ) -> list[tuple[int, str, int, int]]:
        """(client, task, version, time in ns) for picks made ahead: the fetch may begin once both have come."""

    def observe(self, state: State, fact: Event, view: View, now: int) -> Sequence[Request]:
        """Fold a fact that ``observes`` names into the memory, at ``now`` ns; what to ask for because of it."""


@runtime_checkable
class Holding(Protocol):
    """What a prefetch policy says if a lease may start from what its client fetched ahead."""

    def bases(self, state: State, task: str) -> Mapping[int, Node] | None:
        """Client to the node that its next lease starts from, if not the newest; None: there never is one.

        A node is named when it is the newest, and its value kept while it is named.
        """


class Submodel(Protocol):
    """Which coordinates does this client train?

    A policy whose covers are parts of the model is a :class:`Nested` one as well.
    """

    observes: ClassVar[tuple[type[Event], ...]]

    def init(self, view: View, task: str) -> State:
        """The memory before anything has happened: None or a Struct."""

    def cover(self, state: State, client: int) -> Cover:
        """The name of what this client is to train in its next job."""

    def observe(self, state: State, fact: Event, view: View, now: int) -> Sequence[Request]:
        """Fold a fact that ``observes`` names into the memory, at ``now`` ns; what to ask for because of it."""


@runtime_checkable
class Nested(Protocol):
    """The data-plane half of a submodel policy: one ranking per epoch, whose prefixes are its covers.

    ``listed``: a ranking depends on the training, so clients must be sent lists of coordinates; else they make it
    themselves. ``structured``: a cover is a smaller model that computes less; else the model is computed whole, with
    zeros.
    """

    listed: ClassVar[bool]
    structured: ClassVar[bool]

    def cuts(self, schema: Schema) -> tuple[int, ...]:
        """Lengths of covers in epoch 0."""

    def order(self, schema: Schema, x: Vector | None, importance: NDArray[np.float64] | None) -> Positions:
        """All coordinates, those of the smallest covers first, int32[size].

        ``x`` is the model (None if ``listed`` is False); ``importance`` what the merge says of it, if anything.
        """

    def squares(self, lease: Lease) -> bool:
        """Whether a client is to upload the squared gradients of this job."""


class Guard(Protocol):
    """What is refused, and what does the rest weigh?"""

    needs: ClassVar[tuple[str, ...]]

    def admit(self, lease: Lease, facts: Facts) -> str | None:
        """None to accept, else the reason for refusing."""

    def weigh(self, lease: Lease, staleness: int) -> float:
        """The factor by which an update counts that is ``staleness`` versions old at its step; 1 is full."""


class Codec(Protocol):
    """Tensors to bytes and back; the frame around the bytes is :mod:`hocket.wire`'s.

    ``id``: 0 to 255, its name on the wire (128 and above are for codecs of others). ``lossless``: decode(encode(x))
    equals x bit for bit. ``unbiased``: decode(encode(x)) is x on average over keys. ``merges``: it names coordinates
    and gives their values in full precision, so that several updates in a row can be sent as one, exactly: the new
    values at the coordinates that any of them names. Decoding is element-wise arithmetic only, so that every host
    gets the same bits.
    """

    @property
    def id(self) -> int:
        """0 to 255."""

    @property
    def lossless(self) -> bool:
        """Whether nothing is lost, bit for bit."""

    @property
    def unbiased(self) -> bool:
        """Whether it is right on average over keys."""

    @property
    def merges(self) -> bool:
        """Whether several encodings can be sent as one, exactly."""

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        """Bytes of contiguous float32[size]; randomness is a function of the key.

        Raises:
            InvalidInput: NaN or infinities, unless it is lossless.
        """

    def decode(self, body: Any, schema: Schema) -> Vector:
        """float32[size] from bytes (anything with the buffer protocol).

        Raises:
            InvalidInput: the bytes are no encoding of this schema; found out before memory is taken for it.
        """

    def size(self, schema: Schema) -> tuple[int, bool]:
        """Bytes of one encoding, and whether every encoding has exactly that size (else: never more)."""

    def distortion(self, schema: Schema) -> float:
        """The most that E||decode(encode(x)) - x||^2 / ||x||^2 can be; infinite if it is not known."""


class Uplink(Protocol):
    """How is an update encoded, and what does the client remember from one job to the next?

    ``lossless``: what is decoded equals what was encoded, so a simulation may skip both. ``memory``: a class
    attribute, the type (a ``msgspec.Struct``) of what a client remembers, if it remembers anything.
    """

    @property
    def lossless(self) -> bool:
        """Whether nothing is lost, bit for bit."""

    def size(self, schema: Schema, cover: Cover) -> tuple[int, bool]:
        """Bytes of an update of what is covered, and whether every one has exactly that size (else: never more)."""

    def encode(
        self, memory: State | None, delta: Vector, aux: bytes | None, schema: Schema, lease: Lease
    ) -> tuple[bytes, State | None]:
        """Bytes to send, and what the client remembers (None at its first job)."""

    def decode(self, data: bytes, schema: Schema, lease: Lease) -> tuple[Vector, bytes | None]:
        """The update and its aux."""

    def settle(self, memory: State | None, ordinal: int, accepted: bool) -> State | None:
        """The client's memory once it knows whether its job ``ordinal`` counted."""


class Merge(Protocol):
    """How do updates become a step?"""

    def init(self, schema: Schema, clients: int) -> State:
        """The empty accumulator of a task with so many clients."""

    def add(self, state: State, contribution: Contribution) -> Mapping[str, float]:
        """Take an update in; scalars about it, whose means stand in ``Stepped.facts``."""

    def take(self, state: State, x: Vector, weigh: Weigh) -> NDArray[np.float64]:
        """The step (to be added to ``x`` at rate 1, float64[size]) from what was added; resets ``state``.

        A merge that keeps something of updates beyond the step (``keeps``) may ask ``weigh(lease)`` what one weighs by
        now.
        """


class Privacy(Protocol):
    """What may be learnt of a client from the models that leave? Its memory in the server is the ledger.

    ``cut`` and ``noised`` are the book's, with a memory of their own (:class:`hocket.privacy.gaussian.Taken`).
    """

    observes: ClassVar[tuple[type[Event], ...]]

    def init(self, view: View, task: str) -> State:
        """The empty ledger of a task."""

    def observe(self, state: State, fact: Event, view: View, now: int) -> Sequence[Request]:
        """Fold a fact that ``observes`` names into the memory, at ``now`` ns; what to ask for because of it."""

    def cut(self, memory: State, contribution: Contribution) -> Contribution:
        """A contribution that is no longer than its client may add to this step."""

    def noised(self, memory: State, step: NDArray[np.float64], count: int, key: bytes) -> NDArray[np.float64]:
        """The step of ``count`` updates with noise that is a function of the key."""


class Optimizer(Protocol):
    """How is a step applied?"""

    def init(self, schema: Schema) -> State:
        """The memory before the first step."""

    def apply(self, state: State, x: Vector, step: NDArray[np.float64]) -> Vector:
        """A new model, float32[size], from ``x`` (unchanged) and the merge's step, float64[size]."""


class Downlink(Protocol):
    """Which nodes and edges exist? ``apply`` is the device's half, everything else the server's.

    One that sends parts of the model (class attribute ``covers``) is told of every epoch by
    ``ranked(state, epoch, ranking, listed, version)``. Its values, on the wire and on the device, are those of the
    coordinates of the cover, band by band; edges to a node of kind ``"index"`` carry lists of them. One of which
    something else than the newest model is fetched ahead of a lease (an anchor) names it by ``ahead(state, node)``.
    """

    def init(self, schema: Schema) -> State:
        """The memory before the first model is published."""

    def commit(
        self, state: State, task: str, before: Vector | None, after: Vector | None, version: int, key: int
    ) -> tuple[Vector | None, Vector | None, Node]:
        """(value the server keeps, value clients start from, name of that node) for a new version."""

    def path(self, state: State, have: Node | None, want: Node, schema: Schema) -> tuple[Edge, ...]:
        """Edges from what a client holds (None: nothing) to the node it needs; empty if it has it."""

    def open(self, state: State, edge: Edge, value: Vector | None, schema: Schema) -> bytes:
        """The bytes of an edge; ``value`` is that of its target, if it is still kept."""

    def apply(self, held: Vector | None, edge: Edge, data: bytes, schema: Schema) -> Vector:
        """On the device: the target's value from what is held (None: nothing) and the bytes of an edge."""
