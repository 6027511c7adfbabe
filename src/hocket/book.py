"""The data plane: models, merges, optimizers and codecs, in the order of the server's actions.

For each task the book keeps the model ``x``, the nodes that open leases start from (counted, dropped with the
last lease), the accepted updates that wait for the next step, and the memories of the data-plane policies.
The deltas themselves come from a :class:`Source`: the simulator trains them when they are first needed, the
service decodes what was sent. A book without arrays (``x`` None) keeps versions, edges and sizes only: the
same core without learning.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hocket import buffers
from hocket.archive import Archive, File
from hocket.chunks import finite, norm
from hocket.errors import Diverged, InvalidInput
from hocket.events import Kept, Ranked, Restored, Stepped
from hocket.keyed import key, mix
from hocket.learning import squares
from hocket.learning.learner import Job, Trained
from hocket.lease import INDEX, WHOLE, Cover, Edge, Lease, Node
from hocket.policies import Contribution, Nested
from hocket.privacy.gaussian import Taken
from hocket.ranking import Positions, Ranking, listing, schema_of
from hocket.schema import Schema, Vector
from hocket.shelf import Shelf
from hocket.snapshot import pack, unpack
from hocket.strategy import FullTask
from hocket.submodel.whole import Whole


class Source(Protocol):
    """Where deltas come from."""

    def take(self, leases: Sequence[Lease]) -> Iterable[Trained]:
        """The results of these leases, in their order; each is taken once."""

    def look(self, lease: Lease) -> Trained:
        """The result of a lease, to be taken later."""


class Book:
    """Carries out the arithmetic of a run.

    Args:
        parts: task to its policies.
        schemas: task to its schema.
        initial: task to its first model, float32[size]; a task left out is size-only.
        clients: task to its number of clients.
        source: where deltas come from.
        seed: of the run.
        secret: what noise for privacy is drawn from; of the seed if left out, which hides nothing from who knows it.
    """

    def __init__(
        self,
        parts: Mapping[str, FullTask],
        schemas: Mapping[str, Schema],
        initial: Mapping[str, Vector],
        clients: Mapping[str, int],
        source: Source,
        seed: int = 0,
        secret: bytes | None = None,
    ) -> None:
        self._secret = pack(key(seed, "noise")) if secret is None else secret
        self.source = source
        self._parts = dict(parts)
        self._keys = {t: key(seed, "commit", t) for t in parts}
        self._upload: dict[str, tuple[int, bool]] = {}
        self._nested = {t: p.submodel if isinstance(p.submodel, Nested) else None for t, p in parts.items()}
        self._buffers = {t: buffers.positions(schemas[t]) for t in parts}
        self.shelves: dict[str, Shelf] = {}
        for t, part in self._parts.items():
            schema = schemas[t]
            down = part.downlink.init(schema)
            x, value, node = part.downlink.commit(down, t, None, initial.get(t), 0, self._keys[t])
            self.shelves[t] = Shelf(
                schema,
                node,
                x,
                {} if value is None else {0: value},
                merge=part.merge.init(schema, clients[t]),
                optimizer=part.optimizer.init(schema),
                downlink=down,
                privacy=None if part.privacy is None else Taken.of(clients[t]),
            )
            if value is not None:
                value.flags.writeable = False
            self._upload[t] = part.uplink.size(schema, Cover())
            if (nested := self._nested[t]) is not None:
                self._begin_epoch(t, nested.cuts(schema), None)

    # --- leases ------------------------------------------------------------------------------------------

    def open(self, lease: Lease) -> None:
        """Keep the start node of a lease until it is consumed or released."""
        self.shelves[lease.task].open(lease)

    def hold(self, node: Node) -> bool:
        """Keep a node that is offered ahead of any lease; False if it is gone already."""
        return self.shelves[node.task].hold(node.version)

    def ahead(self, node: Node) -> Node:
        """What to fetch ahead of a lease that will start from this node's successors."""
        shelf, downlink = self.shelves[node.task], self._parts[node.task].downlink
        found = getattr(downlink, "ahead", None)
        return node if found is None else found(shelf.downlink, node)

    def let_go(self, node: Node) -> None:
        """A node offered ahead has been fetched, or will not be."""
        self.shelves[node.task].let_go(node.version)

    def release(self, lease: Lease) -> None:
        """Forget a lease that will never be accumulated."""
        self.shelves[lease.task].close(lease)

    def discard(self, lease_id: int, task: str) -> None:
        """Take an accepted update out of line; nothing happens if it is not in line."""
        shelf = self.shelves[task]
        for at, (waiting, _) in enumerate(shelf.pending):
            if waiting.id == lease_id:
                del shelf.pending[at]
                shelf.close(waiting)
                return

    def start(self, lease: Lease) -> Vector:
        """The value a lease trains from, float32[size], read-only; zero outside its cover."""
        value = self.shelves[lease.task].values[lease.version]
        covered = self.covered(lease)
        if covered is None:
            return value
        start = np.zeros_like(value)
        start[covered] = value[covered]
        start.flags.writeable = False
        return start

    def job(self, lease: Lease) -> Job:
        """The local work of a lease."""
        nested = self._nested[lease.task]
        return Job(
            lease.id, lease.client, self.start(lease), lease.local, lease.seed, lease.version, self.covered(lease),
            nested is not None and nested.squares(lease),
        )  # fmt: skip

    def ranking(self, task: str, cover: Cover) -> Ranking | None:
        """The ranking that a cover is a prefix of; None for the whole model.

        Raises:
            InvalidInput: nothing was ranked in the cover's epoch.
        """
        if cover.length == WHOLE:
            return None
        ranking = self.shelves[task].rankings.get(cover.epoch)
        if ranking is None:
            raise InvalidInput(f"task {task!r}: no ranking of epoch {cover.epoch}; Rank comes before covers")
        return ranking

    def covered(self, lease: Lease) -> Positions | None:
        """The coordinates that a lease was sent, int32[length]; None if they are all, in their own order."""
        ranking = self.ranking(lease.task, lease.cover)
        return None if ranking is None or ranking.order is None else ranking.positions(lease.cover.length)

    # --- transfers ---------------------------------------------------------------------------------------

    def path(self, have: Node | None, want: Node) -> tuple[Edge, ...]:
        """Edges that bring a client from the node it holds (None: nothing) to another."""
        shelf = self.shelves[want.task]
        return self._parts[want.task].downlink.path(shelf.downlink, have, want, shelf.schema)

    def shorter(self, have: Node | None, want: Node, coming: Node, left: int) -> bool:
        """Whether to go from what is held takes fewer bytes than to finish a fetch, ``left`` of it, and go on there."""
        direct, rest = (sum(edge.size for edge in self.path(at, want)) for at in (have, coming))
        return direct < left + rest

    def read(self, edge: Edge) -> bytes:
        """The bytes of an edge; ``len`` of them is ``edge.size`` where the edge is exact."""
        shelf, cover = self.shelves[edge.target.task], edge.target.cover
        ranking = self.ranking(edge.target.task, cover)
        if ranking is not None and edge.target.kind == INDEX:
            return listing(ranking.band(ranking.cuts.index(cover.length)), shelf.schema.size)
        value = shelf.values.get(edge.target.version)
        if ranking is not None and value is not None:
            value = value[ranking.positions(cover.length)]
        return self._parts[edge.target.task].downlink.open(shelf.downlink, edge, value, shelf.schema)

    def upload_size(self, task: str) -> tuple[int, bool]:
        """Bytes of an update of a task, and whether every update has exactly that size."""
        return self._upload[task]

    def has_parts(self, task: str) -> bool:
        """Whether clients of a task may train less than the whole model."""
        return not isinstance(self._parts[task].submodel, Whole)

    def compute(self, lease: Lease) -> float:
        """What a sample costs to train in the cover of a lease, relative to the whole model.

        A structured sub-model is charged by its share of the coordinates; one of zeros costs what the whole does.
        """
        nested = self._nested[lease.task]
        if nested is None or not nested.structured or lease.cover.length == WHOLE:
            return 1.0
        return lease.cover.length / self.shelves[lease.task].schema.size

    def update_size(self, lease: Lease) -> tuple[int, bool]:
        """Bytes of the update of a lease, and whether it has exactly that size."""
        ranking, part = self.ranking(lease.task, lease.cover), self._parts[lease.task]
        if ranking is None:
            size, exact = self._upload[lease.task]
        else:
            size, exact = part.uplink.size(schema_of(ranking.cuts, lease.cover.length), lease.cover)
        nested = self._nested[lease.task]
        if nested is not None and nested.squares(lease):
            n = self.shelves[lease.task].schema.size if ranking is None else lease.cover.length
            size += squares.size(n)
        return size, exact

    # --- steps -------------------------------------------------------------------------------------------

    def accumulate(self, lease: Lease, weight: float) -> int:
        """Put an accepted update in line for the next step; how many versions old it is."""
        shelf = self.shelves[lease.task]
        shelf.pending.append((lease, weight))
        return shelf.node.version - lease.version

    def step(self, task: str, keep: tuple[int, ...] = ()) -> Stepped:
        """Weigh and merge what is in line, apply it, publish the next version; ``keep`` those that are named.

        Raises:
            Diverged: the model is not finite afterwards.
        """
        shelf, part = self.shelves[task], self._parts[task]
        pending, shelf.pending = shelf.pending, []
        before, after = shelf.x, shelf.x
        facts: dict[str, float] = {}
        measured: dict[str, list[float]] = {}
        guard, version, private, averaged = part.guard, shelf.node.version, part.privacy, self._buffers[task]

        def weigh(lease: Lease) -> float:
            return guard.weigh(lease, version - lease.version)

        if before is not None:
            weighed = [(lease, weight * weigh(lease)) for lease, weight in pending]
            leases = [lease for lease, _ in pending]
            for (lease, weight), (_, share), trained in zip(weighed, pending, self.source.take(leases), strict=True):
                contribution = Contribution(
                    lease, weight, trained.samples, trained.delta, self.start(lease), self.covered(lease), trained.aux,
                    share,
                )  # fmt: skip
                if averaged is not None:
                    contribution = buffers.rebased(contribution, averaged, before)
                if private is not None:
                    contribution = private.cut(shelf.privacy, contribution)
                for name, value in part.merge.add(shelf.merge, contribution).items():
                    measured.setdefault(name, []).append(value)
            facts = {name: sum(values) / len(values) for name, values in measured.items()}
            with np.errstate(over="ignore", invalid="ignore"):  # checked below
                step = part.merge.take(shelf.merge, before, weigh)
                if private is not None and pending:
                    step = private.noised(shelf.privacy, step, len(pending), pack((self._secret, task, version)))
                after = part.optimizer.apply(shelf.optimizer, before, step)
                if averaged is not None:
                    buffers.averaged(after, averaged, before, step)
                facts["norm"] = norm(step)
            if not np.isfinite(facts["norm"]) or not finite(after):
                raise Diverged(
                    f"task {task!r}: the model is not finite after step {shelf.node.version + 1}; lower the "
                    "learning rate or bound the updates with guard.NormBound"
                )
        for lease, _ in pending:
            shelf.close(lease)
        previous = shelf.node
        if keep != shelf.based:
            shelf.base(keep)
        self._commit(task, before, after)
        size = sum(edge.size for edge in self.path(previous, shelf.node))
        return Stepped(task, shelf.node, len(pending), size, facts)

    def _commit(self, task: str, before: Vector | None, after: Vector | None) -> None:
        shelf, down = self.shelves[task], self._parts[task].downlink
        version = shelf.node.version + 1
        made = down.commit(shelf.downlink, task, before, after, version, mix(self._keys[task] ^ version))
        shelf.publish(*made)

    def keep(self, task: str) -> Kept:
        """Put a copy of the model, and of what merge and optimizer remember, aside."""
        shelf = self.shelves[task]
        shelf.put_aside()
        return Kept(task, shelf.node.version)

    def restore_kept(self, task: str) -> Restored:
        """Publish the copy put aside as a new version, in a new epoch.

        Raises:
            InvalidInput: nothing was put aside.
        """
        shelf = self.shelves[task]
        if shelf.kept is None:
            raise InvalidInput(f"task {task!r}: nothing was kept, so there is nothing to restore; Keep first")
        self._commit(task, shelf.x, shelf.take_back())
        if shelf.epoch in shelf.rankings:
            self._begin_epoch(task, shelf.rankings[shelf.epoch].cuts, self._importance(task), shelf.epoch + 1)
        else:
            shelf.epoch += 1
        return Restored(task, shelf.node, shelf.epoch)

    def rank(self, task: str, cuts: tuple[int, ...] = ()) -> Ranked:
        """Order the coordinates anew, most important first, and begin an epoch with that order and these cuts.

        The submodel policy makes the order, knowing what the merge says of coordinates (``importance(state)``,
        float64[size]); one that does not care leaves it to that, or to the size of the weights.
        """
        shelf = self.shelves[task]
        self._begin_epoch(task, cuts, self._importance(task), shelf.epoch + 1)
        return Ranked(task, shelf.epoch)

    def _importance(self, task: str) -> NDArray[np.float64] | None:
        shelf, said = self.shelves[task], getattr(self._parts[task].merge, "importance", None)
        return None if said is None or shelf.x is None else said(shelf.merge)

    def _begin_epoch(
        self, task: str, cuts: tuple[int, ...], importance: NDArray[np.float64] | None, epoch: int = 0
    ) -> None:
        shelf, part = self.shelves[task], self._parts[task]
        order: Positions | None = None
        nested = self._nested[task]
        if nested is not None:
            if shelf.x is not None:
                order = nested.order(shelf.schema, shelf.x, importance)
        elif shelf.x is not None:
            importance = np.abs(shelf.x).astype(np.float64) if importance is None else importance
            order = np.argsort(-importance, kind="stable").astype(np.int32)
        if shelf.epoch not in shelf.covered:
            shelf.rankings.pop(shelf.epoch, None)
        shelf.epoch = epoch
        shelf.rankings[epoch] = ranking = Ranking.of(order, cuts, shelf.schema.size)
        ranked = getattr(part.downlink, "ranked", None)
        if ranked is not None and nested is not None:
            ranked(shelf.downlink, epoch, ranking, nested.listed, shelf.node.version)

    def model(self, task: str, subject: str = "published", lease: int = -1) -> Vector | None:
        """A model to be measured, float32[size]; None for a size-only task. Subjects as in ``Evaluate``.

        Raises:
            InvalidInput: an unknown subject, or a lease whose update is not in line.
        """
        shelf = self.shelves[task]
        if subject == "published":
            return shelf.values.get(shelf.node.version)
        if subject == "kept":
            return shelf.x
        waiting = {x.id: x for x, _ in shelf.pending}
        if subject != "returned" or lease not in waiting:
            raise InvalidInput(
                f"task {task!r}: no subject {subject!r} of lease {lease}; published, kept, or returned by a "
                "lease whose update waits for the next step"
            )
        if waiting[lease].version not in shelf.values:
            return None
        return self.start(waiting[lease]) + self.source.look(waiting[lease]).delta

    # --- memory ------------------------------------------------------------------------------------------

    def spill(self, file: Callable[[str], File]) -> None:
        """Let what merges keep of every client go to a file per task once it does not fit into memory."""
        for t, shelf in self.shelves.items():
            if (archive := shelf.archive) is not None:
                archive.spill(file(t))

    def archives(self) -> Iterator[Archive]:
        """What merges keep of every client; a checkpoint syncs them before it is written and guards them afterwards."""
        return (a for shelf in self.shelves.values() if (a := shelf.archive) is not None)

    def snapshot(self) -> bytes:
        """All memory of the book, as bytes."""
        return pack(self.shelves)

    def restore(self, data: bytes) -> None:
        """Continue from a snapshot of a book built with the same arguments."""
        shelves = unpack(data, dict[str, Shelf])
        for t, shelf in shelves.items():
            shelf.typed(self.shelves[t])
        self.shelves = shelves
