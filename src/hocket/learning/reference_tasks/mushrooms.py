"""A stand-in for the mushrooms data: two classes told apart by 22 attributes, coded as 112 zeros and ones."""

import numpy as np
from numpy.typing import NDArray

from hocket.errors import InvalidInput
from hocket.keyed import generator, key
from hocket.learning.data import ClientData, Examples
from hocket.learning.local import LocalSGD
from hocket.learning.margin import Loss, MarginLearner
from hocket.learning.task import Task

_VALUES = (6, 4, 10, 2, 9, 2, 2, 2, 12, 2, 5, 4, 4, 9, 9, 2, 4, 3, 5, 9, 6, 1)
"""How many values each attribute takes; 112 in all."""


def mushrooms(
    clients: int = 100,
    samples: int = 8124,
    seed: int = 0,
    local: LocalSGD | None = None,
    *,
    loss: Loss = "logistic",
    sorted_labels: bool = False,
    name: str = "mushrooms",
) -> Task:
    """Logistic regression of 113 parameters with l2 = 1/``samples``, the setting of QAFeL's convex experiments.

    Attributes are independent given the class. One (the odour, say) tells the classes well apart, the others differ a
    little, so that the classes nearly separate and the optimum is reached slowly; samples are dealt to clients in equal
    runs, in random order or by label (``sorted_labels``). The default local work is 10 steps on all of the client's
    samples at rate 2. Both held-out splits are the training samples: what counts is ``gap``, f - f*, with f* by L-BFGS
    (not for the hinge loss).

    Raises:
        InvalidInput: fewer samples than clients, or no client.

    >>> task = mushrooms(clients=10, samples=500)
    >>> task.schema.size, task.samples.sum()
    (113, np.int64(500))
    """
    if not 1 <= clients <= samples:
        raise InvalidInput(f"mushrooms: {clients} clients for {samples} samples; 1 client or more, a sample for each")
    g = generator(key(seed, "mushrooms"))
    labels = g.integers(2, size=samples)
    if sorted_labels:
        labels = np.sort(labels)
    columns: list[NDArray[np.float32]] = []
    for values in _VALUES:
        share = g.dirichlet(np.full(values, 0.3), size=2)
        share[1] = share[1] if values == 9 and len(columns) == 4 else share.mean(axis=0)
        drawn = (share.cumsum(axis=1)[labels] < g.random(samples)[:, None]).sum(axis=1).clip(0, values - 1)
        columns.append(np.eye(values, dtype=np.float32)[drawn])
    train = Examples(np.hstack(columns), labels, "mushrooms")
    offsets = np.arange(clients + 1) * samples // clients
    data = ClientData(train, offsets, train, train)
    l2 = 1 / samples
    learner = MarginLearner.solved(data, l2) if loss == "logistic" else MarginLearner(data, l2, loss)
    return Task.of(learner, local or LocalSGD(lr=2.0, batch_size=samples, steps=10), name=name)
