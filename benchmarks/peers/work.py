"""What every system is given, and how it is timed: one process, one workload, one line of JSON.

Data: 1,000 clients x 100 samples of 28x28x1 in 62 classes, float32: a class's prototype plus noise, seeded, on disk as
arrays that all processes map. A client update is one pass in 10 SGD steps of batch 10 at rate 0.05, from the same first
model. W1 is FedAvg with a cohort of 50 (model c: 20), W2 FedBuff with a buffer of 10, 100 in flight, exponential times,
no weights for staleness. Needs numpy and torch only: it is imported in the environments of other systems.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.models import CLASSES, MODELS

CLIENTS, SAMPLES, BATCH, RATE = 1000, 100, 10, 0.05
BUFFER, IN_FLIGHT = 10, 100
SIGNAL = (0.1, 10.0)
"""How strong the prototype is where noise is 1, log-uniform over samples, so that accuracy is graded."""
STEPS = {"W1": {"a": 10, "b": 10, "d": 10, "c": 10}, "W2": {"a": 60, "b": 60, "d": 60, "c": 12}}
"""Server steps after which accuracy is compared."""
WARM = 1.5
"""Seconds before the clock starts, at the end of a server step."""
State = Mapping[str, Tensor]


class Work(NamedTuple):
    """What to do: ``steps`` server steps at least (0: no accuracy is asked for), and ``seconds`` on the clock."""

    workload: str
    model: str
    folder: Path
    steps: int
    seconds: float

    @property
    def cohort(self) -> int:
        return 20 if self.model == "c" else 50

    def client(self, index: int) -> tuple[Tensor, Tensor]:
        """Features and labels of one client."""
        rows = slice(index * SAMPLES, (index + 1) * SAMPLES)
        return self.array("features")[rows], self.array("labels")[rows]

    def array(self, name: str) -> Tensor:
        """One of features, labels, test_features, test_labels, as it lies on disk."""
        return torch.from_numpy(np.load(self.folder / f"{name}.npy", mmap_mode="c"))

    def first(self) -> nn.Module:
        """The model that everybody starts from."""
        torch.manual_seed(1)
        return MODELS[self.model]()

    def accuracy(self, state: State) -> float:
        """On 2,000 samples that no client holds."""
        model = MODELS[self.model]()
        model.load_state_dict({name: torch.as_tensor(value) for name, value in state.items()})
        with torch.no_grad():
            guessed = model(self.array("test_features")).argmax(1)
        return float((guessed == self.array("test_labels")).float().mean())


def write_data(folder: Path) -> None:
    """The arrays, if they are not there yet."""
    if (folder / "test_labels.npy").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    prototypes = draw.random((CLASSES, 1, 28, 28), dtype=np.float32)
    for name, n in (("", CLIENTS * SAMPLES), ("test_", 2000)):
        labels = draw.integers(0, CLASSES, n)
        features = draw.random((n, 1, 28, 28), dtype=np.float32)
        strength = np.exp(draw.uniform(*np.log(SIGNAL), (n, 1, 1, 1))).astype(np.float32)
        features += strength * (prototypes[labels] - 0.5)
        np.save(folder / f"{name}features.npy", features - 0.5)
        np.save(folder / f"{name}labels.npy", labels)


class Enough(Exception):
    """Time is up; raised where a system has no other way to be stopped."""


class Meter:
    """Counts server steps and times them, without the warm-up and without the accuracy's evaluation."""

    def __init__(self, work: Work, per_step: int) -> None:
        self.work, self.per_step = work, per_step
        self.steps, self.accuracy = 0, None
        self.origin = time.perf_counter()
        self.began, self.first, self.ended = 0.0, 0, 0.0

    def step(self, state: Callable[[], State]) -> bool:
        """A server step is done; true: that is enough."""
        self.steps += 1
        self.ended = now = time.perf_counter()
        if not self.began and now - self.origin > WARM:
            self.began, self.first = now, self.steps
        if self.steps == self.work.steps:
            self.accuracy = self.work.accuracy(state())
            spent = time.perf_counter() - now
            self.origin += spent
            self.began += spent if self.began else 0.0
            self.ended += spent
        timed = self.ended - self.began
        return (
            bool(self.began)
            and self.steps >= self.work.steps
            and self.steps > self.first
            and timed >= self.work.seconds
        )

    @property
    def rate(self) -> float:
        """Client updates per second."""
        return (self.steps - self.first) * self.per_step / (self.ended - self.began)


def stand_in(*modules: str) -> None:
    """Put empty modules where a system imports what is not used here and cannot be had with torch for the CPU."""
    for name in modules:
        sys.modules[name] = MagicMock(__path__=[], __spec__=None)


def asked() -> Work:
    """What the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=("W1", "W2"))
    parser.add_argument("model", choices=list(MODELS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("seconds", type=float)
    return Work(**vars(parser.parse_args()))


def tell(rate: float, accuracy: float | None, *packages: str, **more: Any) -> None:
    """The line of JSON that the command reads."""
    versions = {"python": platform.python_version(), **{p: version(p) for p in ("torch", "numpy", *packages)}}
    print("\n" + json.dumps({"rate": rate, "accuracy": accuracy, "versions": versions, **more}), flush=True)
    sys.stdout.flush()
