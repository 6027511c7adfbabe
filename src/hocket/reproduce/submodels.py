"""What sub-models save: bytes that an origin publishes, and the time of a step of a narrow network."""

import time

import numpy as np

from hocket.downlink import Bands
from hocket.errors import MissingExtra
from hocket.learning.data import ClientData, Examples
from hocket.learning.learner import Job
from hocket.learning.local import LocalSGD
from hocket.learning.slices import SlicedLearner
from hocket.lease import INDEX, Cover, Edge, Lease, Node
from hocket.ranking import Ranking, schema_of
from hocket.reproduce.claim import claim
from hocket.schema import Schema, Segment
from hocket.submodel import Slices
from hocket.submodel.pruned import Sizes
from hocket.submodel.pruning import START
from hocket.uplink import Banded
from hocket.width import at_width

PAPER = "Ma, Federated Learning based on Pruning and Recovery, 2024 (arXiv 2403.15439)"
VGG = Schema((Segment("w", (9_747_136 // 512, 512)), Segment("b", (3786,))))
"""As many weights and biases as the VGG-11 of the paper."""
LOCAL = LocalSGD(lr=0.05, batch_size=20, steps=20)


def paths(densities: tuple[float, ...], schema: Schema = VGG) -> list[tuple[Edge, ...]]:
    """What a client of each density fetches to begin with, the bands being those of all of them."""
    sizes, policy = Sizes.of(schema, 0.05), Bands()
    state, lengths = policy.init(schema), [sizes.length(rho) for rho in densities]
    policy.ranked(state, 0, Ranking.of(None, tuple(set(lengths)), schema.size), True, 0)
    return [policy.path(state, None, Node("a", 0, cover=Cover(0, n)), schema) for n in lengths]


def published(densities: tuple[float, ...] = START) -> int:
    """Bytes of one refresh with each band once."""
    return sum({e: e.size for path in paths(densities) for e in path}.values())


def alone(density: float) -> int:
    """Bytes of a sub-model sent as one piece; the whole one needs no list."""
    return sum(e.size for e in paths((density,))[0] if density < 1 or e.target.kind != INDEX)


@claim(PAPER, "bytes of a refresh at the ten densities, sent to each client, by bands published once", 3.96, 3.9, 4.1)
def prfl_bands_unicast(quick: bool) -> float:
    return sum(alone(rho) for rho in START) / published()


@claim(PAPER, "the same for each distinct sub-model sent once", 1.86, 1.8, 1.9)
def prfl_bands_distinct(quick: bool) -> float:
    return sum(alone(rho) for rho in set(START)) / published()


@claim(
    "the acceptance list of sub-models",
    "steps per second of a convolutional net at width 0.5, by the whole's",
    2.8,
    2.0,
    6.0,
)
def prfl_width_speed(quick: bool) -> float:
    """Two 5x5 convolutions (32, 64) and a linear layer on 28x28 images; shapes and bytes are those of the width."""
    try:
        from hocket.learning.reference_tasks.models import cnn
        from hocket.learning.torch_learner import TorchLearner
    except ImportError as error:
        raise MissingExtra("prfl-width-speed: torch is not installed; pip install 'hocket[torch]'") from error

    draw = np.random.default_rng(0)
    rows = Examples(draw.standard_normal((400, 1, 28, 28)).astype(np.float32), draw.integers(10, size=400))
    data = ClientData(rows, np.array([0, 400]), rows, rows)
    parts = {
        r: TorchLearner(lambda r=r: cnn(1, 28, 10, (round(32 * r), round(64 * r))), data, threads=1)  # type: ignore[misc]
        for r in (1.0, 0.5)
    }
    learner, policy = SlicedLearner(parts.__getitem__, (1.0, 0.5)), Slices((1.0, 0.5))
    cuts, order = policy.cuts(learner.schema), policy.order(learner.schema, None, None)
    ranking, x, spent = Ranking.of(order, cuts), learner.initial(0), {}
    for r, n in zip((0.5, 1.0), cuts, strict=True):
        covered = ranking.positions(n)
        start = np.zeros_like(x)
        start[covered] = x[covered]
        job = Job(0, 0, start, LOCAL, 1, 0, covered)
        assert [s.shape for s in parts[r].schema.travelling] == [s.shape for s in at_width(learner.schema, r)]
        lease = Lease(0, "a", 0, 0, Node("a", 0), Cover(0, n), LOCAL, 0, 0)
        sent, _ = Banded().encode(None, start[covered], None, schema_of(cuts, n), lease)
        assert 4 * n < len(sent) < 4 * n + 100, "the bytes are those of the width"
        each = []
        for _ in range(4 if quick else 7):
            began = time.thread_time()
            learner.train([job])
            each.append(time.thread_time() - began)
        spent[r] = float(np.median(each[1:]))
    return spent[1.0] / spent[0.5]
