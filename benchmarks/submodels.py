"""Sub-models: memory and time of the buffered average, its drift, what bands save, and what a narrow network costs.

``python -m benchmarks.submodels [clients parameters [models kept]]``; one core (``OMP_NUM_THREADS=1``).
"""

import resource
import sys
import time

import numpy as np

from hocket.downlink import Bands
from hocket.learning.data import ClientData, Examples
from hocket.learning.learner import Job
from hocket.learning.local import LocalSGD
from hocket.learning.slices import SlicedLearner
from hocket.lease import INDEX, Cover, Lease, Node
from hocket.merge import MaskedModels
from hocket.merge.masked_models import resum
from hocket.policies import Contribution
from hocket.ranking import Ranking, schema_of
from hocket.schema import Schema, Segment
from hocket.store.spill import SpillFile
from hocket.submodel import Slices
from hocket.submodel.pruned import Sizes
from hocket.uplink import Banded

TEN = (1.0, 1.0, 0.6, 0.6, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1)
SETTLED = (1.0, 0.79, 0.6, 0.49, 0.27, 0.17, 0.09, 0.07, 0.07, 0.05)
LOCAL = LocalSGD(lr=0.05, batch_size=20, steps=20)


def peak() -> float:
    """Most memory this process had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def buffer(clients: int, size: int, most: int | None) -> None:
    """Every client delivers, and a fifth of them again; 20 updates a step."""
    draw = np.random.default_rng(0)
    cuts = tuple(int(rho * size) for rho in SETTLED)
    order = Ranking.of(draw.permutation(size).astype(np.int32), cuts).positions(size)
    policy = MaskedModels(most=most, resum=10**9)
    schema = Schema((Segment("w", (size,)),))
    state = policy.init(schema, clients)
    state.archive.spill(SpillFile())
    x, noise = np.zeros(size, np.float32), draw.standard_normal(size).astype("f4")
    before, adding, stepping, covered, updates = peak(), 0.0, 0.0, 0, 0
    delta = np.zeros(size, np.float32)
    for k in range(clients + clients // 5):
        c = k % clients
        n = cuts[c % 10]
        version = max(0, k // 20 - c % 7)
        lease = Lease(k, "a", c, 0, Node("a", version), Cover(0, n), LOCAL, k, 0, version=version)
        share = 1 + c % 7 / 10
        given = Contribution(lease, share, 10, noise, delta, order[:n], None, share)
        began = time.thread_time()
        policy.add(state, given)
        adding += time.thread_time() - began
        covered, updates = covered + n, updates + 1
        if k % 20 == 19:
            began = time.thread_time()
            x = (x + policy.take(state, x, lambda v, now=k // 20: (1 + now - v.version) ** -0.6)).astype("f4")  # type: ignore[misc]
            stepping += time.thread_time() - began
    held = sum(4 * h.length for h in state.held.values())
    spilled = sum(4 * length for _, length in state.archive.places.values())
    began = time.thread_time()
    drift = resum(state)
    again = time.thread_time() - began
    print(f"buffer: {clients:,} clients, {size:,} parameters, latest models of {len(state.held):,} kept")
    print(f"  dense copies would be {4.0 * clients * size / 1e9:.1f} GB; kept {held / 1e9:.2f} GB, of it in a file")
    print(
        f"  {spilled / 1e9:.2f}; {len(state.buckets)} buckets; peak {peak() / 1e9:.2f} GB ({before / 1e9:.2f} before)"
    )
    print(f"  update {1e3 * adding / updates:.2f} ms, {1e9 * adding / covered:.1f} ns per covered coordinate")
    print(f"  step {1e3 * stepping / (updates // 20):.1f} ms; sums made anew in {again:.1f} s, drift {drift:.1e}")


def bands() -> None:
    """Bytes of one refresh of VGG-11 (9,747,136 weights) for fleets at the ten densities."""
    schema = Schema((Segment("w", (9_747_136 // 512, 512)), Segment("b", (3786,))))
    sizes, policy = Sizes.of(schema, 0.05), Bands()
    lengths = [sizes.length(rho) for rho in TEN]
    for clients in (10, 100, 1000):
        state = policy.init(schema)
        policy.ranked(state, 0, Ranking.of(None, tuple(set(lengths)), schema.size), True, 0)
        paths = [policy.path(state, None, Node("a", 0, cover=Cover(0, n)), schema) for n in lengths]
        published = {e: e.size for path in paths for e in path}
        values = sum(n for e, n in published.items() if e.target.kind != INDEX)
        received = sum(sum(e.size for e in path) for path in paths) * clients // 10
        print(f"bands: {clients} clients: published {sum(published.values()) / 2**20:.1f} MiB ", end="")
        print(f"({values / 2**20:.1f} without lists), received {received / 2**20:.0f}")


def widths() -> None:
    """A network of two 5x5 convolutions (32, 64) and one linear layer, on 28x28 images, at width 1 and 0.5."""
    from hocket.learning.reference_tasks.models import cnn
    from hocket.learning.torch_learner import TorchLearner

    draw = np.random.default_rng(0)
    rows = Examples(draw.standard_normal((400, 1, 28, 28)).astype(np.float32), draw.integers(10, size=400))
    data = ClientData(rows, np.array([0, 400]), rows, rows)
    learner = SlicedLearner(
        lambda r: TorchLearner(lambda: cnn(1, 28, 10, (round(32 * r), round(64 * r))), data, threads=1), (1.0, 0.5)
    )
    policy, schema = Slices((1.0, 0.5)), learner.schema
    cuts, order = policy.cuts(schema), policy.order(schema, None, None)
    start = learner.initial(0)
    spent = {}
    for n in cuts:
        covered = Ranking.of(order, cuts).positions(n)
        own = np.zeros_like(start)
        own[covered] = start[covered]
        job = Job(0, 0, own, LOCAL, 1, 0, covered)
        part = learner._parts[n].schema
        data_sent = len(Banded().encode(None, own[covered], None, schema_of(cuts, n), _lease(n))[0])
        learner.train([job])
        each = []
        for _ in range(7):
            began = time.thread_time()
            learner.train([job])
            each.append((time.thread_time() - began) / 20)
        spent[n] = float(np.median(each))
        shapes = [s.shape for s in part.travelling]
        print(f"width: {n:,} parameters {shapes}, {data_sent:,} bytes, {1e3 * spent[n]:.2f} ms per step of 20 images")
    print(f"width 0.5 trains {spent[cuts[1]] / spent[cuts[0]]:.2f} times as fast per step")


def _lease(length: int) -> Lease:
    return Lease(0, "a", 0, 0, Node("a", 0), Cover(0, length), LOCAL, 0, 0)


if __name__ == "__main__":
    given = [int(a.replace("_", "")) for a in sys.argv[1:]]
    if not given:
        bands()
        widths()
        given = [2000, 1_000_000, 1000]
    buffer(given[0], given[1], given[2] if len(given) > 2 else None)
