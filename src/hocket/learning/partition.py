"""Ways to divide one data set among clients: lists of int64 index arrays, one per client, each ascending.

Every sample goes to exactly one client (``mixtures`` apart), and the same seed gives the same division.
"""

from heapq import heapify, heapreplace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hocket.errors import InvalidInput
from hocket.keyed import below, generator, key

Parts = list[NDArray[np.int64]]


def iid(n: int, clients: int, seed: int = 0) -> Parts:
    """Deal a shuffled deck: sizes differ by one at most.

    >>> [len(p) for p in iid(10, clients=3)]
    [4, 3, 3]
    """
    _enough("iid", n, clients, 1)
    return _sorted(np.array_split(generator(key(seed, "iid")).permutation(n), clients))


def dirichlet(labels: ArrayLike, clients: int, alpha: float, seed: int = 0, minimum: int = 1) -> Parts:
    """Label skew: each class is split over the clients in proportions drawn from Dirichlet(alpha).

    Small ``alpha`` gives each client few classes and uneven sizes. A client left with fewer than ``minimum``
    samples takes random ones, one by one, from whoever holds most. After Yurochkin et al., "Bayesian
    nonparametric federated learning of neural networks", ICML 2019.

    Raises:
        InvalidInput: ``alpha`` is not positive, or there are fewer than ``clients * minimum`` samples.

    >>> min(len(p) for p in dirichlet([0, 1] * 50, clients=10, alpha=0.1, minimum=2)) >= 2
    True
    """
    y = np.asarray(labels)
    _enough("dirichlet", len(y), clients, minimum)
    _positive("dirichlet", alpha)
    draw = generator(key(seed, "dirichlet"))
    parts: list[list[int]] = [[] for _ in range(clients)]
    for c in np.unique(y):
        rows = draw.permutation(np.flatnonzero(y == c))
        share = draw.dirichlet(np.full(clients, alpha))
        cuts = np.floor(np.cumsum(share)[:-1] * len(rows) + 0.5).astype(np.int64)
        for part, chunk in zip(parts, np.split(rows, cuts), strict=True):
            part += chunk.tolist()
    _level(parts, minimum, key(seed, "dirichlet", "level"))
    return _sorted(parts)


def mixtures(labels: ArrayLike, clients: int, alpha: float, size: int, seed: int = 0) -> Parts:
    """Label skew at equal sizes: ``size`` samples each, of classes in proportions that each client draws for itself.

    The proportions are Dirichlet(alpha). A class is dealt from a shuffled deck, and from its top again once it is
    through, so clients may share samples; no client has one twice. After the FedAST experiments (Askin et al., arXiv
    2406.00302).

    Raises:
        InvalidInput: ``alpha`` is not positive, or a class has fewer than ``size`` samples.

    >>> [len(p) for p in mixtures([0, 1] * 50, clients=8, alpha=0.1, size=20)] == [20] * 8
    True
    """
    y = np.asarray(labels)
    _positive("mixtures", alpha)
    classes, held = np.unique(y, return_counts=True)
    most = min(held, default=0)
    if clients < 1 or not 1 <= size <= most:
        raise InvalidInput(
            f"mixtures: {clients} clients of {size} samples; one client or more, of 1 to {most} samples, which is what "
            "the smallest class has"
        )
    draw = generator(key(seed, "mixtures"))
    shares = np.cumsum(draw.dirichlet(np.full(len(classes), alpha), clients), axis=1)
    shares[:, -1] = 1.0
    counts = np.diff(np.rint(shares * size).astype(np.int64), axis=1, prepend=0)
    parts: list[list[int]] = [[] for _ in range(clients)]
    for c, wanted in zip(classes, counts.T, strict=True):
        deck = np.resize(draw.permutation(np.flatnonzero(y == c)), wanted.sum())
        for part, chunk in zip(parts, np.split(deck, np.cumsum(wanted)[:-1]), strict=True):
            part += chunk.tolist()
    return _sorted(parts)


def shards(labels: ArrayLike, clients: int, shards_per_client: int = 2, seed: int = 0) -> Parts:
    """Sort by label, cut into equal shards, deal each client ``shards_per_client`` of them.

    McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017.

    >>> y = [0] * 8 + [1] * 8
    >>> [len(p) for p in shards(y, clients=4, shards_per_client=2)]
    [4, 4, 4, 4]
    """
    y = np.asarray(labels)
    if shards_per_client < 1:
        raise InvalidInput(f"shards: shards_per_client is {shards_per_client}; it must be 1 or more")
    _enough("shards", len(y), clients, shards_per_client)
    draw = generator(key(seed, "shards"))
    shuffled = draw.permutation(len(y))
    pieces = np.array_split(shuffled[np.argsort(y[shuffled], kind="stable")], clients * shards_per_client)
    dealt = draw.permutation(len(pieces)).reshape(clients, shards_per_client)
    return _sorted([np.concatenate([pieces[i] for i in hand]) for hand in dealt])


def natural(groups: ArrayLike) -> Parts:
    """One client per distinct value of ``groups`` (a writer, a site), in sorted order of the values.

    >>> [p.tolist() for p in natural(["b", "a", "b"])]
    [[1], [0, 2]]
    """
    g = np.asarray(groups)
    if g.ndim != 1 or not len(g):
        raise InvalidInput(f"natural: groups have shape {g.shape}; give one value per sample, at least one")
    _, client, count = np.unique(g, return_inverse=True, return_counts=True)
    return _sorted(np.split(np.argsort(client, kind="stable"), np.cumsum(count)[:-1]))


def quantity(n: int, clients: int, alpha: float, seed: int = 0, minimum: int = 1) -> Parts:
    """Quantity skew: ``minimum`` for everyone, the rest in proportions drawn from Dirichlet(alpha).

    After Li et al., "Federated learning on non-IID data silos: an experimental study", ICDE 2022.

    Raises:
        InvalidInput: ``alpha`` is not positive, or there are fewer than ``clients * minimum`` samples.

    >>> sum(len(p) for p in quantity(100, clients=7, alpha=0.5, minimum=3))
    100
    """
    _enough("quantity", n, clients, minimum)
    _positive("quantity", alpha)
    draw = generator(key(seed, "quantity"))
    share = draw.dirichlet(np.full(clients, alpha))
    spare = n - clients * minimum
    cuts = np.floor(np.cumsum(share)[:-1] * spare + 0.5).astype(np.int64)
    return _sorted(np.split(draw.permutation(n), cuts + minimum * np.arange(1, clients)))


def _level(parts: list[list[int]], minimum: int, k: int) -> None:
    """Move samples from the richest to whoever has fewer than the minimum.

    Each move fills one of finitely many gaps, and while there is a gap the richest has one to spare.
    """
    heap = [(-len(p), i) for i, p in enumerate(parts)]
    heapify(heap)
    moves = 0
    for poor in sorted(range(len(parts)), key=lambda i: (len(parts[i]), i)):
        while len(parts[poor]) < minimum:
            rich = heap[0][1]
            donor = parts[rich]
            at = below(key(k, moves), len(donor))
            donor[at], donor[-1] = donor[-1], donor[at]
            parts[poor].append(donor.pop())
            heapreplace(heap, (-len(donor), rich))
            moves += 1


def _sorted(parts: "list[NDArray[np.int64]] | list[list[int]]") -> Parts:
    return [np.sort(np.asarray(p, np.int64)) for p in parts]


def _enough(name: str, n: int, clients: int, minimum: int) -> None:
    if clients < 1:
        raise InvalidInput(f"{name}: clients is {clients}; it must be 1 or more")
    if minimum < 0:
        raise InvalidInput(f"{name}: minimum is {minimum}; it must be 0 or more")
    if n < clients * minimum:
        raise InvalidInput(
            f"{name}: {n} samples cannot give {clients} clients {minimum} each; "
            f"{n // minimum} clients or fewer can have that"
        )


def _positive(name: str, alpha: float) -> None:
    if not 0 < alpha < float("inf"):
        raise InvalidInput(f"{name}: alpha is {alpha!r}; it must be positive and finite")
