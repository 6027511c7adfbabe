"""What a book keeps for one task: its model, the values that somebody still reads, and the memories of its policies.

A value is kept while it is the newest, while a lease or an offer starts from it (``readers``), or while a policy names
it (``based``); a ranking while it is the newest or a lease under way has its epoch.
"""

from typing import Any

import numpy as np
from msgspec import Struct

from hocket.archive import Archive
from hocket.lease import WHOLE, Lease, Node
from hocket.privacy.gaussian import Taken
from hocket.ranking import Ranking
from hocket.schema import Schema, Vector
from hocket.snapshot import pack, unpack


class Shelf(Struct):
    """What a book keeps for one task; ``values`` and ``readers`` are keyed by version, ``based`` are versions that
    leases may still start from besides the newest.

    ``rankings`` by epoch: the newest, and those of ``covered``, the open leases of each epoch. ``pending``: accepted
    updates that wait for the next step, with their weights; ``kept``: model, merge and optimizer put aside.
    """

    schema: Schema
    node: Node
    x: np.ndarray | None
    values: dict[int, np.ndarray]
    readers: dict[int, int] = {}
    based: tuple[int, ...] = ()
    pending: list[tuple[Lease, float]] = []
    kept: list[bytes] | None = None
    epoch: int = 0
    rankings: dict[int, Ranking] = {}
    covered: dict[int, int] = {}
    merge: Any = None
    optimizer: Any = None
    downlink: Any = None
    privacy: Taken | None = None

    # --- who reads ---------------------------------------------------------------------------------------

    def open(self, lease: Lease) -> None:
        """A lease begins."""
        v = lease.version
        self.readers[v] = self.readers.get(v, 0) + 1
        if lease.cover.length != WHOLE:
            epoch = lease.cover.epoch
            self.covered[epoch] = self.covered.get(epoch, 0) + 1

    def close(self, lease: Lease) -> None:
        """A lease is over: its update went into a step, or never will."""
        self.let_go(lease.version)
        if lease.cover.length != WHOLE:
            epoch = lease.cover.epoch
            self.covered[epoch] -= 1
            if not self.covered[epoch]:
                del self.covered[epoch]
                if epoch != self.epoch:
                    del self.rankings[epoch]

    def hold(self, v: int) -> bool:
        """Somebody fetches a version ahead of any lease; False if it is gone already."""
        if v != self.node.version and v not in self.readers and v not in self.based:
            return False
        self.readers[v] = self.readers.get(v, 0) + 1
        return True

    def let_go(self, v: int) -> None:
        """One reader of a version less."""
        left = self.readers[v] - 1
        if left:
            self.readers[v] = left
            return
        del self.readers[v]
        if v != self.node.version and v not in self.based:
            self.values.pop(v, None)

    def base(self, versions: tuple[int, ...]) -> None:
        """From now on a policy names these."""
        dropped, self.based = [v for v in self.based if v not in versions], versions
        for v in dropped:
            if v not in self.readers and v != self.node.version:
                self.values.pop(v, None)

    def publish(self, x: Vector | None, value: Vector | None, node: Node) -> None:
        """The next version."""
        old, self.x, self.node = self.node.version, x, node
        if value is not None:
            value.flags.writeable = False
            self.values[node.version] = value
        if old not in self.readers and old not in self.based:
            self.values.pop(old, None)

    # --- what merge and optimizer remember ---------------------------------------------------------------

    @property
    def archive(self) -> Archive | None:
        """What the merge keeps of every client, if it does."""
        found: Archive | None = getattr(self.merge, "archive", None)
        return found

    def put_aside(self) -> None:
        """Keep a copy of the model, and of what merge and optimizer remember."""
        self.kept = [pack(part) for part in (self.x, self.merge, self.optimizer)]
        if (archive := self.archive) is not None:
            archive.guard("kept")

    def take_back(self) -> Vector | None:
        """The model put aside; merge and optimizer remember what they did then."""
        assert self.kept is not None, "something was put aside"
        x, merge, optimizer = self.kept
        self.resume_merge(merge)
        self.optimizer = unpack(optimizer, type(self.optimizer))
        return unpack(x, type(self.x))

    def resume_merge(self, data: bytes) -> None:
        """Go back to an earlier or on from a later state of the merge; what is in its file stays there."""
        before = self.archive
        self.merge = unpack(data, type(self.merge))
        if (archive := self.archive) is not None and before is not None:
            archive.follow(before)

    def typed(self, now: "Shelf") -> None:
        """Give what was read from a snapshot the types that the policies of ``now`` work with."""
        merge = pack(self.merge)
        for field in ("optimizer", "downlink", "privacy"):
            setattr(self, field, unpack(pack(getattr(self, field)), type(getattr(now, field))))
        self.merge = now.merge
        self.resume_merge(merge)
        for value in self.values.values():
            value.flags.writeable = False
