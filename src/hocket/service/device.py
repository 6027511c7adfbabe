"""A device that works for real: it decodes bytes into a start model, trains it and encodes the update.

What runs in a worker thread (made by :meth:`Device.receiving`, :meth:`Device.training`) is given all it needs
on the driver's thread and changes nothing; the driver keeps the result if it is still wanted then.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hocket.client import Client
from hocket.errors import InvalidInput
from hocket.learning.learner import Job, Trained
from hocket.learning.task import Task
from hocket.lease import INDEX, WHOLE, Cover, Edge, Lease, Node
from hocket.policies import Nested, State
from hocket.ranking import Positions, Ranking, listed, schema_of
from hocket.received import Sent, encode
from hocket.schema import Schema, Vector
from hocket.strategy import FullTask

Lists = dict[int, Positions]
"""Coordinates of bands, by their number."""


class Device:
    """One device: its state machine, the nodes it holds decoded, and what it is about to upload."""

    __slots__ = ("_encoded", "_parts", "_tasks", "client", "lists", "memories", "nodes", "updates")

    def __init__(self, client: Client, tasks: Mapping[str, Task], parts: Mapping[str, FullTask]) -> None:
        self.client = client
        self.nodes: dict[Node, Vector] = {}
        self.updates: dict[int, Sent] = {}
        self.memories: dict[str, State] = {}
        self._encoded: dict[int, Lease] = {}  # by an uplink that remembers and has not heard what became of them
        self.lists: dict[tuple[str, int], Lists] = {}  # by task and epoch
        self._tasks, self._parts = tasks, parts

    def receiving(self, node: Node, edges: Sequence[Edge], data: Sequence[bytes]) -> Callable[[], tuple[Vector, Lists]]:
        """Decode what was fetched into the value of a node, and lists of the coordinates of its bands."""
        schema, downlink = self._tasks[node.task].schema, self._parts[node.task].downlink
        held = self.client.holds[node.task][self.client.id]
        before = None if held is None else self.nodes.get(held)

        def work() -> tuple[Vector, Lists]:
            if not data and before is None:
                raise InvalidInput(f"{node} is gone; a newer one has been published")
            value, lists = before, {}
            for edge, each in zip(edges, data, strict=True):
                if edge.target.kind == INDEX:
                    lists[-1 - edge.band] = listed(each, schema.size)
                else:
                    value = downlink.apply(value, edge, each, schema)
            assert value is not None, "a path has edges"
            self._check_listed(node, {*self.lists.get((node.task, node.cover.epoch), ()), *lists}, edges)
            return value, lists

        return work

    def _check_listed(self, node: Node, bands: set[int], edges: Sequence[Edge]) -> None:
        """Whether the coordinates of a node's bands are known here.

        Raises:
            InvalidInput: some are not, so that the lists must be sent again.
        """
        submodel = self._parts[node.task].submodel
        if node.cover.length != WHOLE and isinstance(submodel, Nested) and submodel.listed:
            missing = {e.band for e in edges if e.target.kind != INDEX} - bands
            if missing:
                raise InvalidInput(
                    f"{node}: no list of the coordinates of bands {sorted(missing)}; fetch it from nothing"
                )

    def part(self, lease: Lease) -> Schema:
        """What the update of a lease is made of: the bands of its cover, or the whole model."""
        ranking = self._ranking(lease.task, lease.cover)
        return self._tasks[lease.task].schema if ranking is None else schema_of(ranking.cuts, lease.cover.length)

    def keep(self, node: Node, value: Vector, lists: Lists) -> None:
        """Hold what was received."""
        self.nodes[node] = value
        if lists:
            bands = self.lists.setdefault((node.task, node.cover.epoch), {})
            bands.update(lists)

    def _ranking(self, task: str, cover: Cover) -> Ranking | None:
        """The ranking that a cover is a prefix of, as far as this device knows it; None for the whole model."""
        if cover.length == WHOLE:
            return None
        submodel, schema = self._parts[task].submodel, self._tasks[task].schema
        if isinstance(submodel, Nested) and not submodel.listed:
            return Ranking.of(submodel.order(schema, None, None), submodel.cuts(schema))
        bands = self.lists[task, cover.epoch]
        known = [bands[i] for i in sorted(bands)]
        return Ranking(tuple(np.cumsum([len(b) for b in known]).tolist()), np.concatenate(known))

    def _job(self, lease: Lease) -> Job:
        """The local work of a lease, from the decoded node."""
        assert lease.node is not None, "a lease in real work has a node"
        value, ranking = self.nodes[lease.node], self._ranking(lease.task, lease.cover)
        submodel, covered = self._parts[lease.task].submodel, None
        if ranking is not None:
            covered = ranking.positions(lease.cover.length)
            start = np.zeros(self._tasks[lease.task].schema.size, np.float32)
            start[covered] = value
            value = start
        squares = isinstance(submodel, Nested) and submodel.squares(lease)
        return Job(lease.id, lease.client, value, lease.local, lease.seed, lease.version, covered, squares)

    def training(self, lease: Lease) -> Callable[[], Trained | Sent]:
        """Do the local work of a lease from the decoded node; encode the update, unless that takes a memory."""
        task, uplink = self._tasks[lease.task], self._parts[lease.task].uplink
        learner = task.learner
        assert learner is not None, "a lease in real work has a learner"
        job = self._job(lease)
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
        ranking = self._ranking(lease.task, lease.cover)
        data, memory = encode(uplink, memory, done, schema, lease, ranking)
        return Sent(data, done.samples, done.metrics), memory

    def tidy(self) -> None:
        """Forget nodes that are neither the newest one held nor the start of work under way."""
        c = self.client
        wanted_leases = (*c.downloads, *c.ready)
        wanted = {lease.node for lease in wanted_leases}
        for node in [n for n in self.nodes if n not in wanted and c.holds[n.task][c.id] != n]:
            del self.nodes[node]
        current = {(n.task, n.cover.epoch) for n in self.nodes} | {
            (x.task, x.cover.epoch) for x in (*wanted_leases, *c.uploads)
        }
        self.lists = {name: bands for name, bands in self.lists.items() if name in current}
