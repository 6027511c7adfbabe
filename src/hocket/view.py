"""What a policy may read: counts and arrays of clients, leases and tasks; nothing from the future."""

from collections.abc import Collection, Mapping
from typing import Literal

from msgspec import Struct

from hocket.index_set import IndexSet, Ints
from hocket.lease import Lease, Node
from hocket.schema import Schema

Status = Literal["active", "paused", "ended"]


class TaskState(Struct):
    """The server's memory of one task.

    ``open``: leases routed and not yet closed. ``buffer``: accepted updates that wait for the next step
    (lease ids in journal order). ``stepping``: a step or a
    restore is under way, ``restoring``: it is a restore. ``ordinals[c]``: jobs given to
    client c so far. ``given[c]``, ``held[c]``: version client c was last given work with, and last fetched; -1
    for none. ``streak``: consecutive measured versions at or above the target, the last of them ``measured``.
    """

    name: str
    node: Node
    ordinals: Ints
    held: Ints
    given: Ints
    status: Status = "active"
    open: int = 0
    buffer: list[int] = []
    stepping: bool = False
    restoring: bool = False
    accepted: int = 0
    refused: int = 0
    epoch: int = 0
    streak: int = 0
    measured: int = -1
    last_step: int = 0

    @property
    def version(self) -> int:
        """Version of the newest published node."""
        return self.node.version


class View(Struct):
    """Read-only window on the server for policies.

    ``idle``: clients that are online and have no open lease; ``online``: all that can be given work;
    ``busy[c]``: open leases of client c; ``leases``: open leases by id; ``schemas``: what the models are made of;
    ``changed``: tasks (keys) of which a lease was closed, a step done or the status changed, or that were not given
    all they had room for, since decisions were last made.
    """

    clients: int
    tasks: Mapping[str, TaskState]
    leases: Mapping[int, Lease]
    idle: IndexSet
    online: IndexSet
    busy: Ints
    schemas: Mapping[str, Schema] = {}
    changed: dict[str, None] = {}

    def __post_init__(self) -> None:
        self.changed.update(dict.fromkeys(self.tasks))

    def moved(self, also: Collection[str] = ()) -> list[TaskState]:
        """The tasks that changed and ``also`` those, in the order of the run: what a pacing needs to look at."""
        changed, tasks = self.changed, self.tasks
        if also:
            names = changed.keys() | also
            return [t for n, t in tasks.items() if n in names] if len(names) > 1 else [tasks[n] for n in names]
        if len(changed) > 1:
            return [t for n, t in tasks.items() if n in changed]
        for n in changed:
            return [tasks[n]]
        return []
