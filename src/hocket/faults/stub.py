"""Small runs for seeds: a learner that costs nothing, and one strategy, fleet and stop rule per seed.

An update is a function of the start's bits, the client and the lease's key, on a grid of 1/64, so a lost, doubled
or foreign update moves the model by far more than rounding does.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.actions import Keep, Request, Restore
from hocket.downlink.hidden_state import HiddenState
from hocket.events import Evaluated, Event
from hocket.fleet import Exponential, Fleet
from hocket.guard import Chain, NormBound, Staleness
from hocket.keyed import below, key, mix_array
from hocket.learning.learner import Job, Trained
from hocket.learning.local import LocalSGD
from hocket.learning.task import Task
from hocket.merge import MeanByCount
from hocket.pacing import InFlight
from hocket.schema import Schema, Segment, Vector
from hocket.setup import Setup
from hocket.strategies import asyncsgd, fedasync, fedavg, fedbuff, fedfix
from hocket.strategy import Strategy, TaskPart, compose
from hocket.until import Until
from hocket.uplink import ErrorFeedback
from hocket.view import View

SIZE = 32


class Stub(Struct, frozen=True, eq=False):
    """A learner of ``SIZE`` numbers; ``samples`` int64[clients]."""

    samples: NDArray[np.int64]

    @property
    def schema(self) -> Schema:
        """One segment."""
        return Schema((Segment("w", (SIZE,)),))

    def initial(self, seed: int) -> Vector:
        """Numbers on the grid."""
        return _grid(key(seed, "initial"))

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """One draw per job."""
        return [self._one(job) for job in jobs]

    def _one(self, job: Job) -> Trained:
        start = int.from_bytes(blake2b(job.start.tobytes(), digest_size=8).digest(), "little")
        delta = _grid(key(start, job.client, job.seed))
        return Trained(delta, int(self.samples[job.client]), {"loss": float(np.abs(delta).mean())})

    def evaluate(self, x: Vector, split: str) -> dict[str, float]:
        """Something that depends on every bit."""
        return {"accuracy": float(1 / (1 + np.abs(x).mean())), "loss": float(np.abs(x).mean())}


def _grid(k: int) -> Vector:
    words = mix_array(np.arange(SIZE, dtype=np.uint64) ^ np.uint64(k))
    return (((words >> np.uint64(40)).astype(np.int64) & 127) / 64 - 1).astype(np.float32)


class Rewinding(InFlight, frozen=True, tag="rewinding"):
    """Puts the model aside every fifth version, and goes back to it at every seventh."""

    observes: ClassVar[tuple[type[Event], ...]] = (Evaluated,)

    def observe(self, state: None, fact: Event, view: View, now: int) -> Sequence[Request]:
        """Ask for what is due."""
        assert isinstance(fact, Evaluated)
        if fact.version % 5 == 0:
            return [Keep(fact.task)]
        return [Restore(fact.task)] if fact.version % 7 == 0 else []


def _part(**policies: Any) -> TaskPart:
    return TaskPart(**policies)


METHODS: tuple[Callable[[], Strategy], ...] = (
    lambda: fedbuff(3, 6),
    lambda: fedbuff(2, 5, staleness_limit=2, normalise="weight"),
    lambda: fedbuff(3, 5, refill_first=True, timeout=40.0),
    lambda: fedasync(4),
    lambda: fedasync(5, staleness_limit=3, timeout=30.0),
    lambda: fedavg(4),
    lambda: fedavg(3, overcommit=1.7),
    lambda: fedavg(4, overcommit=1.5, deadline=25.0, minimum=2),
    lambda: asyncsgd(6),
    lambda: compose(asyncsgd(8), Strategy("late", attach="start")),
    lambda: fedfix(window=15.0),
    lambda: compose(fedbuff(3, 6), Strategy("feedback", task=_part(uplink=ErrorFeedback()))),
    lambda: Strategy(
        "guarded", InFlight(5, 2, timeout=60.0),
        task=_part(merge=MeanByCount(), guard=Chain((Staleness(limit=3), NormBound(50.0)))),
    ),
    lambda: Strategy("hidden", InFlight(6, 3), task=_part(downlink=HiddenState())),
    lambda: Strategy("rewinding", Rewinding(6, 2, timeout=60.0)),
    lambda: Strategy("free", InFlight(6, 3), task=_part(merge=MeanByCount(order="free"))),
)  # fmt: skip


def task(name: str, clients: int, seed: int) -> Task:
    """A task for the stub."""
    samples = np.array([5 + below(key(seed, name, c), 20) for c in range(clients)])
    return Task.of(Stub(samples), LocalSGD(lr=0.1, batch_size=10), name=name)


def workload(seed: int, updates: int = 80) -> tuple[Setup, Fleet]:
    """The run of a seed, on a fleet whose devices take seconds."""
    k = key(seed, "workload")
    clients = 9 + below(key(k, "clients"), 6)
    method = METHODS[below(key(k, "method"), len(METHODS))]()
    names = ("a", "b") if below(key(k, "tasks"), 3) == 0 and method.name not in ("fedavg", "fedfix") else ("a",)
    if len(names) > 1 and getattr(method.matching, "busy", "skip") == "skip":
        clients += 6
    tasks = [task(n, clients, seed) for n in names]
    fleet = Fleet.synthetic(clients, seed=seed, compute_law=Exponential(), latency=0.05)
    return Setup.of(tasks, method, Until(updates=updates), seed=seed, measure=("finite",)), fleet
