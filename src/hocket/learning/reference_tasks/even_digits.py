"""MNIST, even or odd: a linear model of real pixels, whose optimum is known."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.keyed import generator, key
from hocket.learning.data import ClientData, Examples
from hocket.learning.loaders import catalog
from hocket.learning.local import LocalSGD
from hocket.learning.margin import MarginLearner
from hocket.learning.reference_tasks.images import idx_images
from hocket.learning.task import Task


def even_digits(
    clients: int = 100,
    samples: int = 8000,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    local: LocalSGD | None = None,
    name: str = "even_digits",
) -> Task:
    """Logistic regression (l2 = 1/``samples``) of even against odd digits, on images averaged to 14 x 14 pixels.

    197 parameters; ``samples`` images in random order, less their mean, dealt to clients in equal runs. The default
    local work is 10 steps on all of the client's samples at rate 0.5. ``gap`` is f - f* on them; the held-out splits
    are the test images.

    Raises:
        MissingData: the files are not there.
        InvalidInput: fewer samples than clients, no client, or more samples than there are.
    """
    train, test = (idx_images(catalog.MNIST, part, data) for part in ("train", "t10k"))
    if not 1 <= clients <= samples <= len(train.classes):
        raise InvalidInput(
            f"{name}: {clients} clients, {samples} samples; 1 client or more, a sample for each, at most "
            f"{len(train.classes)}"
        )
    rows = generator(key(seed, "even_digits")).permutation(len(train.classes))[:samples]
    chosen = _pooled(train.pixels[rows])
    mean = chosen.mean(axis=0)
    kept = Examples(chosen - mean, train.classes[rows] % 2, name)
    held = Examples(_pooled(test.pixels) - mean, test.classes % 2, f"{name} test")
    split = ClientData(kept, np.arange(clients + 1) * samples // clients, held, held)
    learner = MarginLearner.solved(split, 1 / samples)
    return Task.of(learner, local or LocalSGD(lr=0.5, batch_size=samples, steps=10), name=name)


def _pooled(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Means of 2 x 2 pixels, from 0 to 1, float32[n, 196]."""
    blocks = pixels.reshape(len(pixels), 14, 2, 14, 2).astype(np.float32)
    return np.asarray(blocks.mean(axis=(2, 4)).reshape(len(pixels), -1) / np.float32(255))
