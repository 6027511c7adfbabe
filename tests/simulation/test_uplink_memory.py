"""An uplink that remembers: one memory per client, moved on in the order of its jobs, whatever is computed when."""

from typing import Any, ClassVar

import numpy as np
from msgspec import Struct

import hocket as hk
from hocket import wire
from hocket.codec import Float32
from hocket.schema import Schema, Vector
from hocket.setup import Setup
from hocket.simulation import checkpoint
from hocket.simulation.run import prepare
from hocket.uplink import ErrorFeedback

STEP = np.float32(2.0**-6)


class Rounded(Struct, frozen=True, tag="test_rounded", tag_field="kind"):
    """Rounds to multiples of 1/64."""

    id: ClassVar[int] = 200
    lossless: ClassVar[bool] = False
    unbiased: ClassVar[bool] = False
    merges: ClassVar[bool] = False

    def size(self, schema: Schema) -> tuple[int, bool]:
        return Float32().size(schema)

    def distortion(self, schema: Schema) -> float:
        return 1.0

    def encode(self, x: Vector, schema: Schema, key: int) -> bytes:
        return Float32().encode(np.round(x / STEP) * STEP, schema, key)

    def decode(self, data: bytes, schema: Schema) -> Vector:
        return Float32().decode(data, schema)


class Watched(ErrorFeedback, frozen=True, tag="test_watched"):
    """Error feedback that is told of every job once, in the order of the client's jobs."""

    def encode(self, memory, delta, aux, schema, lease):
        assert memory is None or all(lease.ordinal > i for i in memory.sent)
        return super().encode(memory, delta, aux, schema, lease)

    def settle(self, memory, ordinal, accepted):
        assert ordinal in memory.sent
        return super().settle(memory, ordinal, accepted)


TASK = hk.reference_tasks.gaussian(clients=12, samples=30)
FLEET = hk.Fleet.synthetic(clients=12, seed=1, compute_law=hk.fleet.Exponential(), failure=0.1, links="parallel")
QUEUED = hk.Strategy(
    "rounded",
    pacing=hk.pacing.InFlight(in_flight=20, buffer=4),
    matching=hk.matching.Uniform("queue"),
    task=hk.TaskPart(uplink=Watched(Rounded()), guard=hk.guard.Staleness(limit=2)),
)
SETUP = Setup.of(TASK, QUEUED, hk.Until(updates=150), seed=4)


def memories(sim) -> list[Any]:
    return sim.engine.training.freeze().memories


def test_lazy_equals_eager() -> None:
    lazy, eager = (prepare(SETUP, FLEET, eager=eager) for eager in (False, True))
    assert lazy.engine.run() and eager.engine.run()
    assert lazy.engine.training.batches < eager.engine.training.batches
    assert lazy.engine.server.state.refused, "some updates come back"
    assert lazy.engine.book.model("gaussian").tobytes() == eager.engine.book.model("gaussian").tobytes()


def test_a_refused_update_is_sent_again_with_the_next() -> None:
    """What a client sent and what it owes is all that it ever learned; no part is lost or counted twice."""
    sim = prepare(SETUP, FLEET)
    sums: dict[int, np.ndarray] = {}
    taken: dict[int, np.ndarray] = {}
    training = sim.engine.training
    encode, take = training._encode, training.take

    def watch(lease):
        sums[lease.client] = sums.get(lease.client, 0) + training._done[lease.id].delta.astype(np.float64)
        return encode(lease)

    def took(leases):
        out = list(take(leases))
        for lease, t in zip(leases, out, strict=True):
            taken[lease.client] = taken.get(lease.client, 0) + t.delta.astype(np.float64)
        return out

    training._encode, training.take = watch, took
    sim.engine.run()
    for (_, client), memory in training._memories.items():
        waiting = sum(wire.decode(Rounded(), x, memory.schema).astype(np.float64) for x in memory.sent.values())
        assert np.allclose(sums[client], taken.get(client, 0) + memory.owed + waiting, atol=1e-5)


def test_resume(tmp_path) -> None:
    whole = prepare(SETUP, FLEET, log=True, folder=tmp_path / "a" / "events")
    whole.engine.run()
    for at in (40, 111, 260):
        folder = tmp_path / str(at)
        first = prepare(SETUP, FLEET, log=True, folder=folder / "events")
        first.engine.run(at)
        checkpoint.save(folder, first.engine, first.curve, first.name)
        again = prepare(SETUP, FLEET, log=True, folder=folder / "events")
        assert checkpoint.load(folder, again.engine, again.curve, again.name)
        again.engine.run()
        assert again.engine.book.model("gaussian").tobytes() == whole.engine.book.model("gaussian").tobytes()
        assert memories(again) == memories(whole)
