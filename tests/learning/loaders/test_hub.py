"""Hub data sets and partitioners, through a stand-in with their interface and through the packages themselves."""

import sys
from typing import Any

import numpy as np
import pytest

from hocket.errors import InvalidInput, MissingExtra
from hocket.learning import partition
from hocket.learning.loaders import hub


class Table:
    """What is used of a ``datasets.Dataset``: columns of equal length."""

    def __init__(self, **columns: Any) -> None:
        self.columns = columns

    @property
    def column_names(self) -> list[str]:
        return list(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, rows: slice) -> dict[str, Any]:
        return {k: v[rows] for k, v in self.columns.items()}

    def select_columns(self, names: list[str]) -> "Table":
        return Table(**{n: self.columns[n] for n in names})

    def with_format(self, kind: str) -> "Table":
        assert kind == "numpy"
        return self

    def add_column(self, name: str, values: Any) -> "Table":
        return Table(**self.columns, **{name: values})

    def take(self, rows: np.ndarray) -> "Table":
        return Table(**{k: np.asarray(v)[rows] for k, v in self.columns.items()})


class Dealt:
    """A partitioner that deals the rows as told."""

    def __init__(self, hands: list[list[int]]) -> None:
        self.hands = hands
        self.dataset: Any = None

    @property
    def num_partitions(self) -> int:
        return len(self.hands)

    def load_partition(self, partition_id: int) -> Table:
        return self.dataset.take(np.array(self.hands[partition_id], int))


ROWS = Table(image=np.arange(24, dtype=np.uint8).reshape(6, 2, 2), label=np.array([0, 1, 2, 0, 1, 2]))


def test_examples() -> None:
    got = hub.examples(ROWS, "image", "label", "six")
    assert got.features.dtype == np.uint8 and got.features.shape == (6, 2, 2) and got.labels.tolist()[:3] == [0, 1, 2]
    with pytest.raises(InvalidInput, match="six: has no column 'img'; it has image, label"):
        hub.examples(ROWS, "img", "label", "six")
    ragged = Table(image=[np.ones(2), np.ones(3)], label=np.array([0, 1]))
    with pytest.raises(InvalidInput, match="the values of 'image' cannot be stacked"):
        hub.examples(ragged, "image", "label")


def test_partition() -> None:
    assert [p.tolist() for p in hub.partition(ROWS, Dealt([[5, 0], [1, 3]]))] == [[0, 5], [1, 3]]
    with pytest.raises(InvalidInput, match="client 1 has no rows"):
        hub.partition(ROWS, Dealt([[0], []]))
    with pytest.raises(InvalidInput, match="row 2 is given to 2 clients"):
        hub.partition(ROWS, Dealt([[0, 2], [2]]))


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"datasets is not installed; pip install 'hocket\[datasets\]'"):
        hub.load("mnist", "train")


@pytest.mark.filterwarnings("ignore")
def test_the_packages_themselves() -> None:
    datasets = pytest.importorskip("datasets")
    partitioners = pytest.importorskip("flwr_datasets.partitioner")
    labels = np.arange(60) % 3
    pixels = np.arange(240, dtype=np.uint8).reshape(60, 2, 2)
    rows = datasets.Dataset.from_dict({"image": list(pixels), "label": labels})
    got = hub.examples(rows.cast_column("image", datasets.Array2D((2, 2), "uint8")), "image", "label")
    np.testing.assert_array_equal(got.features, pixels)
    np.testing.assert_array_equal(got.labels, labels)
    parts = hub.partition(rows, partitioners.IidPartitioner(num_partitions=4))
    assert sorted(np.concatenate(parts).tolist()) == list(range(60)) and [len(p) for p in parts] == [15] * 4
    skewed = partitioners.DirichletPartitioner(num_partitions=4, partition_by="label", alpha=0.5, min_partition_size=1)
    assert sorted(np.concatenate(hub.partition(rows, skewed)).tolist()) == list(range(60))
    grouped = hub.partition(rows, partitioners.NaturalIdPartitioner(partition_by="label"))
    assert [p.tolist() for p in grouped] == [p.tolist() for p in partition.natural(labels)]
