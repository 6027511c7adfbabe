"""Hugging Face ``datasets`` as examples, and the partitioners of ``flwr-datasets`` as partitions.

Both packages come with ``pip install 'hocket[datasets]'`` and are only used, never needed, by the rest.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hocket.errors import InvalidInput, MissingExtra
from hocket.learning.data import Examples
from hocket.learning.partition import Parts

_ROW = "hocket_row"


class Partitioner(Protocol):
    """The part of ``flwr_datasets.partitioner.Partitioner`` that is used."""

    dataset: Any

    @property
    def num_partitions(self) -> int: ...

    def load_partition(self, partition_id: int) -> Any: ...


def load(path: str, split: str, **options: Any) -> Any:
    """``datasets.load_dataset(path, split=split, **options)``.

    Raises:
        MissingExtra: datasets is not installed.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtra("hub: datasets is not installed; pip install 'hocket[datasets]'") from error
    return load_dataset(path, split=split, **options)


def examples(dataset: Any, features: str, labels: str, name: str = "examples") -> Examples:
    """Two columns of a ``datasets.Dataset`` as examples; images become uint8 arrays.

    Raises:
        InvalidInput: a column that is missing, or values of different shapes.
    """
    for wanted in (features, labels):
        if wanted not in dataset.column_names:
            raise InvalidInput(f"{name}: has no column {wanted!r}; it has {', '.join(dataset.column_names)}")
    view = dataset.select_columns([features, labels]).with_format("numpy")
    return Examples(_stacked(view, features, name), _stacked(view, labels, name), name)


def partition(dataset: Any, partitioner: Partitioner) -> Parts:
    """The rows of each client, as a ``flwr_datasets`` partitioner divides a ``datasets.Dataset``.

    The rows travel through the partitioner as a column, so no sample is copied.

    Raises:
        InvalidInput: a client without rows, or a row that was given to two clients.
    """
    partitioner.dataset = dataset.add_column(_ROW, np.arange(len(dataset), dtype=np.int64))
    parts = [
        np.sort(
            np.asarray(partitioner.load_partition(i).select_columns([_ROW]).with_format("numpy")[:][_ROW], np.int64)
        )
        for i in range(partitioner.num_partitions)
    ]
    if empty := [i for i, rows in enumerate(parts) if not len(rows)]:
        raise InvalidInput(f"partition: client {empty[0]} has no rows; use another partitioner, or fewer clients")
    counts = np.bincount(np.concatenate(parts), minlength=len(dataset))
    if (twice := np.flatnonzero(counts > 1)).size:
        raise InvalidInput(f"partition: row {twice[0]} is given to {counts[twice[0]]} clients; a row belongs to one")
    return parts


def _stacked(view: Any, column: str, name: str) -> NDArray[Any]:
    try:
        return np.stack(list(view[:][column]))
    except ValueError as error:
        raise InvalidInput(f"{name}: the values of {column!r} cannot be stacked ({error})") from None
