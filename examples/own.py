"""A model and data of one's own, for ``own.toml``: a residual network with batch norm on 8x8 digits of scikit-learn."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import hocket as hk
from hocket.learning import ClientData, Examples, partition


class Residual(nn.Module):
    """Two convolutions around which the input is passed, and a linear layer on what is left of the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.a, self.b = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(width), nn.Linear(4 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(x + self.norm(self.b(torch.relu(self.a(x)))))
        return self.last(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


def make(clients: int, seed: int, width: int = 8) -> hk.Task:
    """``clients`` and ``seed`` come from the file; ``width`` is one of its ``arguments``."""
    images, labels = load_digits(return_X_y=True)
    known = Examples((images / 16).reshape(-1, 1, 8, 8), labels, "digits")
    order = np.random.default_rng(0).permutation(len(labels))
    training, validation, test = np.split(order, [1257, 1527])
    parts = [training[rows] for rows in partition.dirichlet(labels[training], clients=clients, alpha=0.5, seed=seed)]
    learner = hk.TorchLearner(lambda: Residual(width), ClientData.divided(known, parts, validation, test))
    return hk.Task.of(learner, hk.LocalSGD(lr=0.1, batch_size=10), name="digits")
