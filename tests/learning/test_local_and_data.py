"""Local work and client data: arithmetic, strictness, messages."""

import msgspec
import numpy as np
import pytest

from hocket.errors import InvalidInput
from hocket.learning import ClientData, Examples, LocalSGD


def test_epochs_and_steps() -> None:
    assert LocalSGD(lr=0.1, batch_size=10).epochs == 1
    work = LocalSGD(lr=0.1, batch_size=10, epochs=3)
    assert (work.samples(14), work.updates(14), work.updates(10), work.updates(3)) == (42, 6, 3, 3)
    work = LocalSGD(lr=0.1, batch_size=10, steps=5)
    assert (work.samples(14), work.samples(4), work.updates(4)) == (50, 20, 5)
    assert msgspec.structs.replace(LocalSGD(lr=0.1, batch_size=1), epochs=None, steps=2).steps == 2


def test_rate() -> None:
    work = LocalSGD(lr=0.8, batch_size=1, decay=0.5, decay_every=3)
    assert [work.rate(v) for v in (0, 2, 3, 6)] == [0.8, 0.8, 0.4, 0.2]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("lr", 0.0, r"lr is 0.0; it must be in \(0, inf\)"),
        ("lr", float("nan"), "lr is nan"),
        ("lr", "0.1", "lr is '0.1'"),
        ("batch_size", 0, "batch_size is 0; it must be a whole number, 1 or more"),
        ("batch_size", 2.5, "batch_size is 2.5"),
        ("epochs", 0, "epochs is 0"),
        ("steps", True, "steps is True"),
        ("momentum", 1.0, r"momentum is 1.0; it must be in \[0, 1\)"),
        ("weight_decay", -1, "weight_decay is -1"),
        ("proximal", float("inf"), "proximal is inf"),
        ("decay", 1.1, r"decay is 1.1; it must be in \(0, 1\]"),
        ("decay_every", 0, "decay_every is 0"),
    ],
)
def test_impossible_local_work(field: str, value: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"local: {message}"):
        LocalSGD(**{"lr": 0.1, "batch_size": 10, field: value})


def test_one_of_epochs_and_steps() -> None:
    with pytest.raises(InvalidInput, match="epochs 1 and steps 2 are both set; give one of them"):
        LocalSGD(lr=0.1, batch_size=1, epochs=1, steps=2)


def test_decoding_is_strict() -> None:
    assert msgspec.json.decode(b'{"lr": 0.1, "batch_size": 4}', type=LocalSGD) == LocalSGD(lr=0.1, batch_size=4)
    with pytest.raises(msgspec.ValidationError, match="unknown field `rate`"):
        msgspec.json.decode(b'{"lr": 0.1, "batch_size": 4, "rate": 1}', type=LocalSGD)


ROWS = Examples(np.arange(12.0).reshape(6, 2), np.array([0, 1, 2, 0, 1, 2]))


def test_partitioned() -> None:
    data = ClientData.partitioned(ROWS, [np.array([5, 0]), np.array([3])], ROWS, ROWS)
    assert data.samples.tolist() == [2, 1] and data.train.labels.tolist() == [2, 0, 0]
    assert not data.train.features.flags.writeable


def test_empty_client_is_named() -> None:
    with pytest.raises(InvalidInput, match="client 1 has 0 samples; every client needs one"):
        ClientData.partitioned(ROWS, [np.arange(3), np.arange(0), np.arange(3, 6)], ROWS, ROWS)


def test_bad_feature_names_client_and_row() -> None:
    x = ROWS.features.copy()
    x[4, 1] = np.nan
    bad = Examples(x, ROWS.labels, "held out")
    with pytest.raises(InvalidInput, match="client 1, its row 1: a feature is not finite"):
        ClientData(bad, np.array([0, 3, 6]), ROWS, ROWS)
    with pytest.raises(InvalidInput, match="held out: row 4 has a feature that is not finite"):
        ClientData(ROWS, np.array([0, 3, 6]), ROWS, bad)


@pytest.mark.parametrize("offsets", [[0], [1, 6], [0, 5], [[0, 6]]])
def test_bad_offsets(offsets: list[int]) -> None:
    with pytest.raises(InvalidInput, match=r"offsets must be \[clients \+ 1\] numbers from 0 to 6"):
        ClientData(ROWS, np.array(offsets), ROWS, ROWS)


def test_bad_splits() -> None:
    none = Examples(np.empty((0, 2)), np.empty(0, np.int64))
    with pytest.raises(InvalidInput, match="the validation split is empty"):
        ClientData(ROWS, np.array([0, 6]), none, ROWS)
    with pytest.raises(InvalidInput, match="the test split has 3 features, training has 2"):
        ClientData(ROWS, np.array([0, 6]), ROWS, Examples(np.ones((1, 3)), np.array([0])))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones(3), np.zeros(3, int), r"features have shape \(3,\)"),
        (np.ones((3, 1)), np.zeros(2, int), r"labels have shape \(2,\) for 3 samples"),
        (np.ones((3, 1)), np.zeros(3), "labels are float64; give whole numbers"),
        (np.ones((3, 1)), np.array([0, -2, 1]), "label -2 of row 1 is negative"),
    ],
)
def test_bad_examples(x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Examples(x, y)
