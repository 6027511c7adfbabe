"""The device's side of a lease: a pure state machine over three queues that overlap.

A lease is fetched, trained and uploaded in that order; the download of one lease, the training of another and
the upload of a third may go on at once. One job trains at a time, in the order in which models were received.
With ``links="fifo"`` transfers of one direction queue behind one another, with ``"parallel"`` they overlap.
The simulator and the daemon run this class; a client with nothing under way needs no object at all, only
the nodes it holds, which live outside.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from hocket import actions as do
from hocket import events as on
from hocket.lease import Lease, Node

Holds = Mapping[str, Any]
"""Task to a table from client to the node in its cache, None for nothing."""


class Client(Struct, gc=False, eq=False):
    """One device.

    ``overlap``: transfers of one direction go on side by side instead of queueing. The head of ``ready`` is
    training; ``offer`` is being fetched ahead of a lease, ``wanted`` is to be, the newest node per task.
    """

    id: int
    holds: Holds
    overlap: bool = False
    downloads: tuple[Lease, ...] = ()
    ready: tuple[Lease, ...] = ()
    uploads: tuple[Lease, ...] = ()
    offer: Node | None = None
    wanted: tuple[Node, ...] = ()

    @property
    def idle(self) -> bool:
        """Nothing under way: the object may be dropped."""
        return not (self.downloads or self.ready or self.uploads or self.offer or self.wanted)

    def handle(self, event: on.DeviceEvent, now: int) -> list[Any]:
        """Take one event; return actions (``Fetch``, ``Train``, ``Upload``, ``Abort``) and events for the server."""
        return _HANDLERS[type(event)](self, event)

    def assigned(self, e: on.Assigned) -> list[Any]:
        self.downloads = waiting = (*self.downloads, e.lease)
        if self.overlap:
            return self._fetch(e.lease)
        return self._next_download() if len(waiting) == 1 else []

    def _fetch(self, lease: Lease) -> list[Any]:
        """Fetch side by side with other transfers."""
        node = lease.node
        assert node is not None, "a lease is sent with its node"
        have = self.holds[node.task][self.id]
        if have == node:
            return self._received(lease)
        if self.offer == node:
            return []  # on its way already
        return [do.Fetch(lease.id, self.id, node, have)]

    def _next_download(self) -> list[Any]:
        """Go on with the queue: what is held already is received at once."""
        out: list[Any] = []
        while queue := self.downloads:
            lease = queue[0]
            node = lease.node
            assert node is not None, "a lease is sent with its node"
            have = self.holds[node.task][self.id]
            if have is node or have == node:
                out += self._received(lease)
                continue
            if self.offer is None:
                out.append(do.Fetch(lease.id, self.id, node, have))
            return out
        return out + self._prefetch() if self.wanted else out

    def _received(self, lease: Lease) -> list[Any]:
        self.downloads = _without(self.downloads, lease)
        if self.ready:
            self.ready = (*self.ready, lease)
            return []
        self.ready = (lease,)
        return [on.Started(lease.id, self.id), do.Train(lease)]

    def fetched(self, e: on.Fetched) -> list[Any]:
        me, node, lease_id = self.id, e.node, e.lease
        held = self.holds[node.task]
        have = held[me]
        if have is None or node.version >= have.version:  # transfers side by side may end out of order
            held[me] = node
        if lease_id < 0:
            return [e, *self._offer_over(node)] if self.offer == node else [e]
        for lease in self.downloads:
            if lease.id == lease_id:
                out = [e, *self._received(lease)]
                more = (self.downloads or self.wanted) and not self.overlap
                return out + self._next_download() if more else out
            if not self.overlap:
                break
        return [e]

    def _offer_over(self, node: Node) -> list[Any]:
        """Go on with the downloads that queued behind an offer, or waited for its node."""
        self.offer = None
        if not self.overlap:
            return self._next_download() or self._prefetch()
        out = [a for lease in self.downloads if lease.node == node for a in self._fetch(lease)]
        return out + self._prefetch()

    def trained(self, e: on.Trained) -> list[Any]:
        ready, uploads = self.ready, self.uploads
        if not ready or ready[0].id != e.lease:
            return []
        lease, rest = ready[0], ready[1:]
        self.ready, self.uploads = rest, (*uploads, lease)
        out: list[Any] = [do.Upload(lease)] if self.overlap or not uploads else []
        return out + self._start(rest) if rest else out

    def _start(self, ready: Sequence[Lease]) -> list[Any]:
        return [on.Started(ready[0].id, self.id), do.Train(ready[0])] if ready else []

    def uploaded(self, e: on.Uploaded) -> list[Any]:
        for lease in self.uploads:
            if lease.id == e.lease:
                self.uploads = left = _without(self.uploads, lease)
                out: list[Any] = [on.Arrived(e.lease, self.id, e.size, e.samples)]
                if left and not self.overlap:
                    out.append(do.Upload(left[0]))
                return out
            if not self.overlap:
                break
        return []

    def offered(self, e: on.Offered) -> list[Any]:
        self.wanted = (*(n for n in self.wanted if n.task != e.node.task), e.node)
        return self._prefetch()

    def _prefetch(self) -> list[Any]:
        """Begin the next wanted fetch if nothing more urgent is under way."""
        while self.wanted and self.offer is None and (self.overlap or not self.downloads):
            node, self.wanted = self.wanted[0], self.wanted[1:]
            have = self.holds[node.task][self.id]
            coming = any(lease.node == node for lease in self.downloads)
            if not coming and (have is None or have.version < node.version):
                self.offer = node
                return [do.Fetch(-1, self.id, node, have)]
        return []

    def cancelled(self, e: on.Cancelled) -> list[Any]:
        if e.lease < 0:
            return [] if self.offer is None else [do.Abort(-1, self.id), *self._offer_over(self.offer)]
        for name in ("downloads", "ready", "uploads"):
            queue: tuple[Lease, ...] = getattr(self, name)
            for at, lease in enumerate(queue):
                if lease.id == e.lease:
                    left = _without(queue, lease)
                    setattr(self, name, left)
                    early = self._give_up_offer(lease) if name == "downloads" else ()
                    return [do.Abort(e.lease, self.id), *early, *(self._resume(name, left) if at == 0 else ())]
        return []

    def _give_up_offer(self, lease: Lease) -> list[Any]:
        """A lease that waited for a fetch ahead of it is over: so is the fetch, unless another lease waits for it."""
        offer, node = self.offer, lease.node
        if offer is None or node is None or offer.task != node.task or (self.overlap and offer != node):
            return []
        if any(x.node is not None and x.node.task == offer.task for x in self.downloads):
            return []
        self.offer = None
        return [do.Abort(-1, self.id)]

    def _resume(self, name: str, left: tuple[Lease, ...]) -> list[Any]:
        if name == "ready":
            return self._start(left)
        if name == "downloads":
            return self._prefetch() if self.overlap else self._next_download()
        return [do.Upload(left[0])] if left and not self.overlap else []

    def lost(self, e: on.Lost) -> list[Any]:
        out: list[Any] = []
        for lease in (*self.downloads, *self.ready, *self.uploads):
            out += (do.Abort(lease.id, self.id), on.Failed(lease.id, self.id, e.reason))
        if self.offer is not None:
            out.append(do.Abort(-1, self.id))
        self.downloads, self.ready, self.uploads, self.offer, self.wanted = (), (), (), None, ()
        return out


def _without(queue: tuple[Lease, ...], lease: Lease) -> tuple[Lease, ...]:
    return () if len(queue) == 1 else tuple(x for x in queue if x is not lease)


_HANDLERS: dict[type, Callable[[Client, Any], list[Any]]] = {
    on.Assigned: Client.assigned,
    on.Fetched: Client.fetched,
    on.Trained: Client.trained,
    on.Uploaded: Client.uploaded,
    on.Cancelled: Client.cancelled,
    on.Offered: Client.offered,
    on.Lost: Client.lost,
}
