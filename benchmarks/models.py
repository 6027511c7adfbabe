"""The models that speed is measured with; torch is all they need, so that other systems' environments can import them.

| model | layers |
|---|---|
| a | 784-62 |
| b | 784-200-62, relu |
| c | conv 5x5x32, pool, conv 5x5x64, pool, 2048, 62 |
| d | conv 3x3x8, pool, conv 3x3x16, pool, 62 |
"""

from collections.abc import Callable

from torch import nn

CLASSES = 62
Build = Callable[[], nn.Module]


def a() -> nn.Module:
    """Logistic regression."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, CLASSES))


def b() -> nn.Module:
    """One hidden layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, CLASSES))


def c() -> nn.Module:
    """The CNN of LEAF."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3136, 2048), nn.ReLU(), nn.Linear(2048, CLASSES),
    )  # fmt: skip


def d() -> nn.Module:
    """A light CNN."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(784, CLASSES),
    )  # fmt: skip


MODELS: dict[str, Build] = {"a": a, "b": b, "c": c, "d": d}
