"""Nodes, edges, covers and leases: the values that server, book and clients pass to one another.

A *node* is a value a client can train from; an *edge* is bytes that turn one node into another; a *cover*
names the coordinates of a sub-model; a *lease* is one piece of work: this client, this task, from this node.
"""

from typing import Literal

from msgspec import Struct

from hocket.learning.local import LocalSGD

WHOLE = -1
INDEX = "index"
"""Kind of the nodes that list the coordinates of a band."""


class Cover(Struct, frozen=True, gc=False, array_like=True):
    """A nested set of coordinates, by name: the first ``length`` of the ranking made in ``epoch``.

    ``length`` -1 is the whole model. Only the book knows which coordinates those are.
    """

    epoch: int = 0
    length: int = WHOLE


ALL = Cover()
"""The whole model."""


class Node(Struct, frozen=True, gc=False, array_like=True):
    """A value a client can train from, by name: one kind of value of one task at one version.

    ``kind`` is ``"model"`` for a published model (later: a hidden state, an anchor); ``variant`` tells
    apart values of the same version that belong to one client each (-1: shared by all); ``cover`` is the part
    of it that a client has or needs; ``digest`` names its bits where a method needs them equal on every host.
    """

    task: str
    version: int
    kind: str = "model"
    variant: int = -1
    cover: Cover = ALL
    digest: str = ""


class Edge(Struct, frozen=True, gc=False, array_like=True):
    """Bytes that turn ``source`` (None: nothing) into ``target``; ``size`` in bytes, header included.

    ``exact`` is False where the size is an estimate until the edge is built. ``band`` is the ring of a
    nested sub-model that the edge carries (0: the innermost, and the only one without sub-models).
    """

    target: Node
    source: Node | None
    size: int
    exact: bool = True
    band: int = 0


class Lease(Struct, gc=False):
    """One piece of work, with everything needed later to weigh its update.

    ``node`` is the start node, None (and ``version`` -1) while the lease waits under ``attach="start"``.
    ``ordinal`` counts this client's jobs on this task from 0. ``probability`` is the routing probability
    in force when the client was drawn, ``weight`` what the matching asks its update to count for.
    Times are integer nanoseconds of the run's clock, -1 until they happen: ``routed`` (client drawn),
    ``issued`` (node attached and sent), ``started`` (training began); ``deadline`` -1 is none.
    The server fills each field once; nobody else writes to a lease.
    """

    id: int
    task: str
    client: int
    ordinal: int
    node: Node | None
    cover: Cover
    local: LocalSGD
    seed: int
    routed: int
    issued: int = -1
    started: int = -1
    deadline: int = -1
    probability: float = 0.0
    weight: float = 1.0
    group: str = ""
    codec: str = ""
    attach: Literal["issue", "start"] = "issue"
    epoch: int = 0
    version: int = -1
