"""Local work and client data: arithmetic, strictness, messages."""

import msgspec
import numpy as np
import pytest

from hocket.errors import InvalidInput
from hocket.learning import ClientData, Examples, LocalSGD, NumpyLearner, softmax


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
    with pytest.raises(InvalidInput, match="client 1, its row 1: a value is not finite"):
        ClientData(bad, np.array([0, 3, 6]), ROWS, ROWS)
    with pytest.raises(InvalidInput, match="held out: row 4 has a value that is not finite"):
        ClientData(ROWS, np.array([0, 3, 6]), ROWS, bad)


@pytest.mark.parametrize("offsets", [[0], [1, 6], [0, 5], [[0, 6]]])
def test_bad_offsets(offsets: list[int]) -> None:
    with pytest.raises(InvalidInput, match=r"offsets must be \[clients \+ 1\] numbers from 0 to 6"):
        ClientData(ROWS, np.array(offsets), ROWS, ROWS)


def test_bad_splits() -> None:
    none = Examples(np.empty((0, 2)), np.empty(0, np.int64))
    with pytest.raises(InvalidInput, match="the validation split is empty"):
        ClientData(ROWS, np.array([0, 6]), none, ROWS)
    with pytest.raises(
        InvalidInput, match=r"the test split has features float32\[n, 3\], training has float32\[n, 2\]"
    ):
        ClientData(ROWS, np.array([0, 6]), ROWS, Examples(np.ones((1, 3)), np.array([0])))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones(3), np.zeros(3, int), r"features have shape \(3,\)"),
        (np.ones((3, 1)), np.zeros(2, int), r"labels have shape \(2,\) for 3 samples"),
        (np.ones((3, 1)), np.zeros((3, 2)), r"labels have shape \(3, 2\) for 3 samples"),
        (np.ones((3, 1)), np.zeros((3, 2, 2), int), r"labels have shape \(3, 2, 2\); give \[samples\] or"),
        (np.ones((3, 1)), np.array(["a", "b", "c"]), "labels are <U1; give numbers"),
        (np.ones((3, 1)) > 0, np.zeros(3, int), "features are bool; give numbers"),
        (np.ones((2, 1)), np.array([[0, 1], [4, -3]]), "label -3 of row 1 is negative"),
        (np.ones((3, 1)), np.array([0, -2, 1]), "label -2 of row 1 is negative"),
    ],
)
def test_bad_examples(x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Examples(x, y)


@pytest.mark.parametrize(
    ("given", "kept"), [("uint8", "uint8"), ("int32", "int64"), ("float64", "float32"), ("float32", "float32")]
)
def test_types_of_features(given: str, kept: str) -> None:
    x = np.ones((2, 3, 4), given)
    rows = Examples(x, [0, 1])
    assert rows.features.dtype == kept and rows.features.shape == (2, 3, 4)
    assert np.shares_memory(rows.features, x) == (given == kept)
    assert np.shares_memory(rows.take(slice(1, 2)).features, rows.features)


def test_labels_to_predict_and_per_position() -> None:
    values = Examples(np.ones((2, 1)), np.array([0.5, -1.0]))
    assert values.labels.dtype == np.float32
    text = Examples(np.ones((2, 4), np.int64), np.ones((2, 4), np.int32))
    assert text.labels.dtype == np.int64 and text.labels.shape == (2, 4)
    with pytest.raises(InvalidInput, match="client 0, its row 1: a value is not finite"):
        ClientData(Examples(np.ones((2, 1)), np.array([0.5, np.nan])), np.array([0, 2]), values, values)
    with pytest.raises(InvalidInput, match=r"split has labels int64\[n\], training has float32\[n\]"):
        ClientData(values, np.array([0, 2]), Examples(np.ones((2, 1)), [0, 1]), values)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (Examples(np.ones((2, 8, 8), np.uint8), [0, 1]), r"features are uint8\[2, 8, 8\]; this learner takes float32"),
        (Examples(np.ones((2, 8)), [0.0, 1.0]), r"labels are float32\[2\]; this learner takes one class per sample"),
    ],
)
def test_numpy_learner_wants_plain_vectors_and_classes(rows: Examples, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        NumpyLearner(softmax(8, 2), ClientData(rows, np.array([0, 2]), rows, rows))


def _known(n=6) -> Examples:
    return Examples(np.zeros((n, 2), np.float32), np.arange(n) % 2, "mine")


@pytest.mark.parametrize(
    ("parts", "validation", "test", "said"),
    [
        ([], [4], [5], "data: there are no clients; give the rows of each"),
        ([[0, 9]], [4], [5], "data: client 0 has row 9; there are rows 0 to 5"),
        ([[0], [-1]], [4], [5], "data: client 1 has row -1; there are rows 0 to 5"),
        ([[0]], [6], [5], "data: the validation split has row 6; there are rows 0 to 5"),
        ([[0.5]], [4], [5], "data: client 0 has rows float64[1]; give the numbers of its rows"),
        ([[0, 1], [2, 5]], [4], [3, 5], "data: row 5 is in the test split and in a client's training samples"),
    ],
)
def test_rows_that_cannot_be_divided(parts, validation, test, said):
    parts = [np.array(p) for p in parts]
    with pytest.raises(InvalidInput) as error:
        ClientData.divided(_known(), parts, np.array(validation), np.array(test))
    assert str(error.value).startswith(said)


def test_data_say_in_a_line_what_they_are():
    data = ClientData.divided(_known(), [np.array([0, 1]), np.array([2])], np.array([3]), np.array([4, 5]))
    assert repr(data) == "<ClientData of 2 clients with 1 to 2 samples; validation 1, test 2>"
    assert repr(data.test) == "<Examples mine test: features float32[n, 2], labels int64[n], n = 2>"
