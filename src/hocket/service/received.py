"""What the server received: updates as they were decoded from the bytes sent."""

from collections.abc import Callable, Sequence

from hocket.learning.learner import Trained, measured
from hocket.learning.task import Task
from hocket.lease import Lease
from hocket.service.device import Update
from hocket.strategy import FullTask


class Received:
    """The book's source: updates as they were decoded from the bytes sent."""

    def __init__(self) -> None:
        self.updates: dict[int, Trained] = {}

    def take(self, leases: Sequence[Lease]) -> list[Trained]:
        """Updates of these leases; each is handed over once."""
        return [self.updates.pop(lease.id) for lease in leases]

    def look(self, lease: Lease) -> Trained:
        """The update of a lease, to be taken later."""
        return self.updates[lease.id]

    def measure(self, lease: int) -> dict[str, float]:
        """``finite``, ``norm`` and the learner's own metrics of an update."""
        return measured(self.updates[lease])


def decoding(update: Update, task: Task, part: FullTask, lease: Lease) -> Callable[[], Trained]:
    """Decode an update as the server does: a function for a worker thread."""

    def work() -> Trained:
        delta, aux = part.uplink.decode(update.data, task.schema, lease)
        return Trained(delta, update.samples, update.metrics, aux)

    return work
