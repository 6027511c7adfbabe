"""Methods against the recurrences of their papers, in plain loops over what the event log says arrived when.

Every update is trained again, alone, from the version that its lease names; nothing of book, merges or guards is used.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hocket as hk
from hocket.guard import Constant, Hinge, Polynomial
from hocket.keyed import key, mix
from hocket.learning import Job
from hocket.optimizer import Adam, Momentum
from hocket.record.log import KINDS

CLIENTS, SEED = 15, 5
TASK = hk.reference_tasks.gaussian(
    CLIENTS, classes=3, dim=6, samples=24, held_out=50, local=hk.LocalSGD(lr=0.1, batch_size=5, steps=3)
)
FLEET = hk.Fleet.synthetic(CLIENTS, seed=2, compute_law=hk.fleet.Exponential())
Updates = list[tuple[int, np.ndarray, np.ndarray]]
"""Staleness, start and delta of each update of a step."""


def optimized(by: Any) -> hk.Strategy:
    return hk.compose(
        hk.strategies.fedbuff(4, 9, decay=Constant()), hk.Strategy("server", task=hk.TaskPart(optimizer=by))
    )


def fedbuff(x: np.ndarray, arrived: Updates) -> np.ndarray:
    return x + 0.7 * sum((1 + tau) ** -0.5 * d for tau, _, d in arrived) / 4


def by_weight(x: np.ndarray, arrived: Updates) -> np.ndarray:
    return x + sum((1 + t) ** -0.5 * d for t, _, d in arrived) / sum((1 + t) ** -0.5 for t, _, _ in arrived)


def fedasync(x: np.ndarray, arrived: Updates) -> np.ndarray:
    ((tau, start, d),) = arrived
    a = 0.6 * (1 if tau <= 2 else 1 / (3.0 * (tau - 2) + 1))
    return (1 - a) * x + a * (start + d)


def fedfix(x: np.ndarray, arrived: Updates) -> np.ndarray:
    return x + sum((tau + 1) * d for tau, _, d in arrived) / CLIENTS


def mean(x: np.ndarray, arrived: Updates) -> np.ndarray:
    return x + sum(d for _, _, d in arrived) / len(arrived)


class Heavy:
    """Momentum of 0.9 at rate 0.5."""

    v = 0.0

    def __call__(self, x: np.ndarray, arrived: Updates) -> np.ndarray:
        self.v = 0.9 * self.v + mean(x, arrived) - x
        return x + 0.5 * self.v


class Adaptive:
    """FedAdam at rate 0.05, betas 0.9 and 0.99, tau 1e-3."""

    m, v = 0.0, 1e-6

    def __call__(self, x: np.ndarray, arrived: Updates) -> np.ndarray:
        step = mean(x, arrived) - x
        self.m, self.v = 0.9 * self.m + 0.1 * step, 0.99 * self.v + 0.01 * step**2
        return x + 0.05 * self.m / (np.sqrt(self.v) + 1e-3)


METHODS: dict[str, tuple[hk.Strategy, Callable[[np.ndarray, Updates], np.ndarray]]] = {
    "fedbuff": (hk.strategies.fedbuff(4, 9, lr=0.7, decay=Polynomial()), fedbuff),
    "fedbuff by weight": (hk.strategies.fedbuff(4, 9, decay=Polynomial(), normalise="weight"), by_weight),
    "one after the other": (hk.strategies.fedbuff(1, 1), mean),
    "asyncsgd": (hk.strategies.asyncsgd(6, steps=None), mean),
    "fedasync": (hk.strategies.fedasync(8, decay=Hinge(slope=3.0, grace=2)), fedasync),
    "fedfix": (hk.strategies.fedfix(window=30.0), fedfix),
    "momentum": (optimized(Momentum(lr=0.5, beta=0.9)), Heavy()),
    "adam": (optimized(Adam(lr=0.05)), Adaptive()),
    "qafel without loss": (hk.strategies.qafel(4, 9, up=hk.codec.Float32(), down=hk.codec.Float32()), mean),
    "fedast with one task": (hk.strategies.fedast(12, 4, allocation="static"), mean),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_model_is_what_the_recurrence_says(name: str) -> None:
    method, step = METHODS[name]
    run = hk.simulate(TASK, FLEET, method, hk.Until(steps=30), seed=SEED, log=True)
    leases: dict[int, tuple[int, int, int]] = {}
    jobs: Counter[int] = Counter()
    x = TASK.learner.initial(key(SEED, "initial", "gaussian")).astype(np.float64)
    versions, arrived = [x], []
    for row in run.log.table().to_pylist():
        kind, lease, client = KINDS[row["kind"]], row["lease"], row["client"]
        if kind == "assigned":
            leases[lease] = client, jobs[client], row["value"]
            jobs[client] += 1
        elif kind == "arrived":
            client, ordinal, version = leases[lease]
            start = versions[version].astype(np.float32)
            seed = mix(key(SEED, "lease", "gaussian") ^ (client << 32 | ordinal))
            (done,) = TASK.learner.train([Job(lease, client, start, TASK.local, seed, version)])
            arrived.append((len(versions) - 1 - version, start, done.delta.astype(np.float64)))
        elif kind == "stepped":
            versions.append(step(versions[-1], arrived))
            arrived = []
    assert len(versions) == 31
    np.testing.assert_allclose(run.models["gaussian"], versions[-1], atol=2e-5)
