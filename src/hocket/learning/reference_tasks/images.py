"""MNIST, Fashion-MNIST and CIFAR-10 divided among clients by label skew, with a small network each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket import npz
from hocket.errors import InvalidInput
from hocket.keyed import generator, key
from hocket.learning.data import ClientData, Examples
from hocket.learning.loaders import catalog, cifar, idx
from hocket.learning.loaders.cache import kept
from hocket.learning.loaders.files import File
from hocket.learning.local import LocalSGD
from hocket.learning.partition import dirichlet, mixtures
from hocket.learning.task import Objective, Task

Model = Literal["cnn", "lenet", "mlp"]


class Images(Struct, frozen=True, eq=False):
    """Pixels uint8[n, channels, size, size] and classes int64[n]."""

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int64]


def mnist(
    clients: int = 100,
    alpha: float = 0.3,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    samples: int | None = None,
    held_out: int | None = None,
    per_client: int | None = None,
    local: LocalSGD | None = None,
    minimum: int = 2,
    objective: Objective = "uniform",
    name: str = "mnist",
    model: Model = "cnn",
) -> Task:
    """Handwritten digits: 60,000 images of 28x28 grey pixels for training and 10,000 for test, 10 classes.

    A tenth of the training images, drawn by ``seed``, is the validation split; the rest is divided among the clients
    by Dirichlet(``alpha``) label skew with ``minimum`` or more each, or, with ``per_client``, so many to each, whatever
    there is (:func:`~hocket.partition.mixtures`). ``samples`` trains on that many only, ``held_out`` measures on the
    first so many of each split. Pixels are bytes until a batch is used. ``model``: two convolutions
    ("cnn"), LeNet-5 with ReLU ("lenet") or 784-200-200-10 ("mlp"). Default local work: one pass in batches of 20 at
    rate 0.05.

    Raises:
        MissingData: no folder is given, or it has not the files.
        MissingExtra: torch is not installed.
        InvalidInput: a damaged file, or more clients than the samples can serve.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
    """
    sets = (idx_images(catalog.MNIST, "train", data), idx_images(catalog.MNIST, "t10k", data))
    return _task(
        name, sets, clients, alpha, seed, samples, held_out, per_client, local, minimum, objective, (8, 16), model
    )


def fashion_mnist(
    clients: int = 100,
    alpha: float = 0.3,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    samples: int | None = None,
    held_out: int | None = None,
    per_client: int | None = None,
    local: LocalSGD | None = None,
    minimum: int = 2,
    objective: Objective = "uniform",
    name: str = "fashion_mnist",
    model: Model = "cnn",
) -> Task:
    """Articles of clothing, of the form of :func:`mnist`, but harder.

    Raises:
        MissingData, MissingExtra, InvalidInput: as :func:`mnist`.

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST", arXiv 1708.07747, 2017.
    """
    sets = (idx_images(catalog.FASHION_MNIST, "train", data), idx_images(catalog.FASHION_MNIST, "t10k", data))
    return _task(
        name, sets, clients, alpha, seed, samples, held_out, per_client, local, minimum, objective, (16, 32), model
    )


def cifar10(
    clients: int = 100,
    alpha: float = 0.3,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    samples: int | None = None,
    held_out: int | None = None,
    per_client: int | None = None,
    local: LocalSGD | None = None,
    minimum: int = 2,
    objective: Objective = "uniform",
    name: str = "cifar10",
) -> Task:
    """Small photographs: 32x32 pixels in three colours, 10 classes; the first two of the five training batches.

    20,000 images for training and validation, 10,000 for test, otherwise as :func:`mnist`.

    Raises:
        MissingData, MissingExtra, InvalidInput: as :func:`mnist`.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """
    batches = [_cifar(batch, data) for batch in ("data_batch_1", "data_batch_2")]
    train = Images(np.concatenate([b.pixels for b in batches]), np.concatenate([b.classes for b in batches]))
    sets = (train, _cifar("test_batch", data))
    return _task(name, sets, clients, alpha, seed, samples, held_out, per_client, local, minimum, objective, (16, 32))


def _task(
    name: str,
    sets: tuple[Images, Images],
    clients: int,
    alpha: float,
    seed: int,
    samples: int | None,
    held_out: int | None,
    per_client: int | None,
    local: LocalSGD | None,
    minimum: int,
    objective: Objective,
    widths: tuple[int, int],
    model: Model = "cnn",
) -> Task:
    from hocket.learning.reference_tasks.models import cnn, lenet, perceptron
    from hocket.learning.torch_learner import TorchLearner

    train, test = sets
    order = generator(key(seed, "images", "split")).permutation(len(train.classes))
    validation, rows = np.split(order, [len(order) // 10])
    if samples is not None:
        if not 1 <= samples <= len(rows):
            raise InvalidInput(f"{name}: samples is {samples}; it must be from 1 to {len(rows)}")
        rows = rows[:samples]
    if held_out is not None:
        if held_out < 1:
            raise InvalidInput(f"{name}: held_out is {held_out}; it must be 1 or more")
        validation, test = validation[:held_out], Images(test.pixels[:held_out], test.classes[:held_out])
    y, k = train.classes[rows], key(seed, "images")
    if per_client is None:
        parts = dirichlet(y, clients, alpha, k, minimum)
    else:
        parts = mixtures(y, clients, alpha, per_client, k)
    known = Examples(train.pixels, train.classes, f"{name} train")
    divided = ClientData.partitioned(
        known,
        [rows[part] for part in parts],
        known.take(validation, f"{name} validation"),
        Examples(test.pixels, test.classes, f"{name} test"),
    )
    _, channels, size, _ = train.pixels.shape
    made = {
        "cnn": lambda: cnn(channels, size, 10, widths),
        "lenet": lambda: lenet(channels, size, 10),
        "mlp": lambda: perceptron(channels * size * size, (200, 200), 10),
    }
    if model not in made:
        raise InvalidInput(f"{name}: model is {model!r}; it must be one of {', '.join(made)}")
    learner = TorchLearner(made[model], divided)
    return Task.of(learner, local or LocalSGD(lr=0.05, batch_size=20), name=name, objective=objective)


def idx_images(files: Mapping[str, File], part: str, data: str | Path | None) -> Images:
    """Images and labels of a part ("train", "t10k") of a set in IDX files, uint8[n, 1, h, w].

    Raises:
        MissingData, InvalidInput: a file is not there, or is not what it should be.
    """
    images, labels = files[f"{part}-{catalog.IMAGES}"], files[f"{part}-{catalog.LABELS}"]
    pixels = idx.decode(images.read(data), images.path)
    classes = cifar.check_labels(idx.decode(labels.read(data), labels.path), labels.path)
    if pixels.ndim != 3 or len(pixels) != len(classes):
        raise InvalidInput(f"{images.path}: images are {list(pixels.shape)} for {len(classes)} labels")
    return Images(pixels[:, None], classes)


def _cifar(batch: str, data: str | Path | None) -> Images:
    binary, images = catalog.CIFAR10_BINARY[batch], catalog.CIFAR10_IMAGES[batch]
    if binary.present(data) and not images.present(data):
        return Images(*cifar.decode_binary(binary.read(data), binary.path))
    raw = images.read(data)
    pixels = kept(images.sha256, lambda: cifar.decode_xz(raw, images.path))
    labels = npz.arrays(catalog.CIFAR10_LABELS.read(data), catalog.CIFAR10_LABELS.path)
    start = {"data_batch_1": 0, "data_batch_2": 10_000, "test_batch": 0}[batch]
    held = labels["test" if batch == "test_batch" else "train"][start : start + len(pixels)]
    return Images(pixels, cifar.check_labels(held, catalog.CIFAR10_LABELS.path))
