"""A device that works for real: it decodes bytes into a start model, trains it and encodes the update.

What runs in a worker thread (made by :meth:`Device.receiving`, :meth:`Device.training`) is given all it needs
on the driver's thread and changes nothing; the driver keeps the result if it is still wanted then.
"""

from collections.abc import Callable, Mapping, Sequence

from hocket.client import Client
from hocket.errors import InvalidInput
from hocket.learning.learner import Job, Trained
from hocket.learning.task import Task
from hocket.lease import Edge, Lease, Node
from hocket.policies import State
from hocket.received import Sent
from hocket.schema import Vector
from hocket.strategy import FullTask


class Device:
    """One device: its state machine, the nodes it holds decoded, and what it is about to upload."""

    __slots__ = ("_encoded", "_parts", "_tasks", "client", "memories", "nodes", "updates")

    def __init__(self, client: Client, tasks: Mapping[str, Task], parts: Mapping[str, FullTask]) -> None:
        self.client = client
        self.nodes: dict[Node, Vector] = {}
        self.updates: dict[int, Sent] = {}
        self.memories: dict[str, State] = {}
        self._encoded: dict[int, Lease] = {}  # by an uplink that remembers and has not heard what became of them
        self._tasks, self._parts = tasks, parts

    def receiving(self, node: Node, edges: Sequence[Edge], data: Sequence[bytes]) -> Callable[[], Vector]:
        """Decode what was fetched into the value of a node."""
        schema, downlink = self._tasks[node.task].schema, self._parts[node.task].downlink
        held = self.client.holds[node.task][self.client.id]
        before = None if held is None else self.nodes.get(held)

        def work() -> Vector:
            if not data:
                raise InvalidInput(f"{node} is gone; a newer one has been published")
            value = before
            for edge, each in zip(edges, data, strict=True):
                value = downlink.apply(value, edge, each, schema)
            assert value is not None, "a path has edges"
            return value

        return work

    def training(self, lease: Lease) -> Callable[[], Trained | Sent]:
        """Do the local work of a lease from the decoded node; encode the update, unless that takes a memory."""
        task, uplink = self._tasks[lease.task], self._parts[lease.task].uplink
        learner = task.learner
        assert learner is not None and lease.node is not None, "a lease in real work has a learner and a node"
        job = Job(lease.id, lease.client, self.nodes[lease.node], lease.local, lease.seed, lease.version)
        remembers = getattr(uplink, "memory", None) is not None

        def work() -> Trained | Sent:
            (done,) = learner.train([job])
            return done if remembers else self._encode(lease, done, None)[0]

        return work

    def finish(self, lease: Lease, result: Trained | Sent) -> None:
        """Keep what is to be uploaded; memories move on here, in the order in which jobs end."""
        if isinstance(result, Trained):
            result, self.memories[lease.task] = self._encode(lease, result, self.memories.get(lease.task))
            self._encoded[lease.id] = lease
        self.updates[lease.id] = result

    def adopt(self, leases: Sequence[Lease]) -> None:
        """Updates that an earlier life encoded, by an uplink that remembers, wait for their answers."""
        for lease in leases:
            if getattr(self._parts[lease.task].uplink, "memory", None) is not None:
                self._encoded[lease.id] = lease

    def settle(self, lease_id: int, accepted: bool) -> None:
        """The server has said what became of an update."""
        lease = self._encoded.pop(lease_id, None)
        if lease is not None:
            uplink = self._parts[lease.task].uplink
            self.memories[lease.task] = uplink.settle(self.memories[lease.task], lease.ordinal, accepted)

    def _encode(self, lease: Lease, done: Trained, memory: State) -> tuple[Sent, State]:
        uplink, schema = self._parts[lease.task].uplink, self._tasks[lease.task].schema
        data, memory = uplink.encode(memory, done.delta, done.aux, schema, lease)
        return Sent(data, done.samples, done.metrics), memory

    def tidy(self) -> None:
        """Forget nodes that are neither the newest one held nor the start of work under way."""
        c = self.client
        wanted = {lease.node for lease in (*c.downloads, *c.ready)}
        for node in [n for n in self.nodes if n not in wanted and c.holds[n.task][c.id] != n]:
            del self.nodes[node]
