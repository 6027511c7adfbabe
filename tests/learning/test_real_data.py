"""The reference tasks on the real files: counts, first labels, partitions, splits that do not overlap."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hocket.errors import InvalidInput, MissingData, MissingExtra
from hocket.learning import ClientData, Task, reference_tasks
from hocket.learning.loaders import catalog, text

pytest.importorskip("hocket.learning.torch_learner", exc_type=ImportError)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded arrays are kept for this session only."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def data_of(task: Task) -> ClientData:
    return task.learner._data


@pytest.mark.parametrize(
    ("name", "shape", "total", "first_of_test"),
    [
        ("mnist", (1, 28, 28), 54_000, [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]),
        ("fashion_mnist", (1, 28, 28), 54_000, [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]),
        ("cifar10", (3, 32, 32), 18_000, [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]),
    ],
)
def test_images(name: str, shape: tuple[int, ...], total: int, first_of_test: list[int], data_dir: Path) -> None:
    task = getattr(reference_tasks, name)(data=data_dir)
    data = data_of(task)
    assert data.train.features.shape == (total, *shape) and data.train.features.dtype == np.uint8
    assert len(data.validation) == total // 9 and len(data.test) == 10_000
    assert data.test.labels[:10].tolist() == first_of_test
    assert task.clients == 100 and task.samples.sum() == total and task.samples.min() >= 2
    classes = [len(np.unique(data.train.labels[a:b])) for a, b in zip(data.offsets[:-1], data.offsets[1:], strict=True)]
    assert 2 <= np.mean(classes) <= 9 and task.samples.max() > 2 * task.samples.mean()


def test_images_by_seed(data_dir: Path) -> None:
    a, b, c = (data_of(reference_tasks.mnist(data=data_dir, seed=s, samples=1000)) for s in (1, 1, 2))
    assert len(a.train) == 1000
    assert a.train.features.tobytes() == b.train.features.tobytes() != c.train.features.tobytes()
    assert a.test.features.tobytes() == c.test.features.tobytes()


def test_images_of_equal_clients(data_dir: Path) -> None:
    """More than there are, so some are dealt twice; few classes each."""
    task = reference_tasks.cifar10(clients=300, alpha=0.1, data=data_dir, samples=2000, per_client=25)
    data = data_of(task)
    assert task.samples.tolist() == [25] * 300 and len(np.unique(data.train.features, axis=0)) <= 2000
    assert np.mean([len(np.unique(own)) for own in data.train.labels.reshape(300, 25)]) < 5


def test_cifar_in_the_binary_format(data_dir: Path, tmp_path: Path) -> None:
    xz = data_of(reference_tasks.cifar10(data=data_dir, samples=1000))
    folder = tmp_path / "cifar10"
    folder.mkdir()
    labels = np.load(data_dir / "cifar10" / "labels.npz")
    for batch, classes in (
        ("data_batch_1", labels["train"][:10_000]),
        ("data_batch_2", labels["train"][10_000:20_000]),
        ("test_batch", labels["test"]),
    ):
        kept = Path(os.environ["XDG_CACHE_HOME"]) / "hocket" / f"{catalog.CIFAR10_IMAGES[batch].sha256}.npy"
        rows = np.concatenate([classes.astype(np.uint8)[:, None], np.load(kept).reshape(10_000, -1)], axis=1)
        (folder / f"{batch}.bin").write_bytes(rows.tobytes())
    binary = data_of(reference_tasks.cifar10(data=tmp_path, samples=1000))
    assert binary.train.features.tobytes() == xz.train.features.tobytes()
    assert binary.test.labels.tobytes() == xz.test.labels.tobytes()


def test_shakespeare(data_dir: Path) -> None:
    play = catalog.SHAKESPEARE.read(data_dir).decode()
    assert len(play) == 1_115_394 and len(text.vocabulary(play)) == 65
    roles = text.by_role(play)
    index = pq.read_table(data_dir / "shakespeare" / "speeches_by_role.parquet").to_pydict()
    spoken: dict[str, list[str]] = {}
    for role, start, end in zip(index["role"], index["start"], index["end"], strict=True):
        spoken.setdefault(role, []).append(play[start:end].removesuffix("\n"))
    assert roles == {role: "\n".join(said) for role, said in spoken.items()}
    task = reference_tasks.shakespeare(data=data_dir)
    data = data_of(task)
    assert task.clients == 100 and data.train.features.shape[1] == data.train.labels.shape[1] == 40
    assert data.train.features.dtype == np.int64 and data.train.features.max() < 65
    held = len(data.validation) + len(data.test)
    assert 0.15 < held / (held + len(data.train)) < 0.25
    with pytest.raises(InvalidInput, match=r"shakespeare: clients is 299; \d+ roles say 10 windows of 40 or more"):
        reference_tasks.shakespeare(clients=299, data=data_dir)
    shared = reference_tasks.shakespeare(clients=7, roles=3, data=data_dir)
    own = np.split(data_of(shared).train.features, np.cumsum(shared.samples)[:-1])
    assert all(np.array_equal(own[c], own[c % 3]) for c in range(7)) and len(own[0]) > len(own[1]) > len(own[2])
    with pytest.raises(InvalidInput, match=r"roles is 8; .* and there are 7 clients"):
        reference_tasks.shakespeare(clients=7, roles=8, data=data_dir)


def test_heart_disease(data_dir: Path) -> None:
    task = reference_tasks.heart_disease(data=data_dir)
    data = data_of(task)
    assert task.samples.tolist() == [212, 205, 86, 140]  # of 303, 294, 123 and 200 patients
    assert (len(data.validation), len(data.test)) == (92, 185)
    assert np.abs(data.train.features[:, :5].mean(axis=0)).max() < 1e-5
    with pytest.raises(InvalidInput, match="clients is 3; the hospitals are 4: cleveland, hungarian, switzerland, va"):
        reference_tasks.heart_disease(3, data=data_dir)


def test_parkinsons(data_dir: Path) -> None:
    task = reference_tasks.parkinsons(data=data_dir)
    data = data_of(task)
    assert task.clients == 42 and len(data.train) + len(data.validation) + len(data.test) == 5875
    assert data.train.labels.dtype == np.float32 and abs(data.train.labels.mean()) < 1e-5
    with pytest.raises(InvalidInput, match="target is 'UPDRS'; it must be 'total_UPDRS' or 'motor_UPDRS'"):
        reference_tasks.parkinsons(data=data_dir, target="UPDRS")


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("mnist", "mnist/train-images-idx3-ubyte.gz; get it from https://"),
        ("cifar10", "cifar10/data_batch_1_images.npy.xz; get it from https://"),
        ("shakespeare", "shakespeare/tinyshakespeare.txt; get it from https://"),
        ("heart_disease", "heart-disease/heart_disease_4sites.csv; get it from"),
        ("parkinsons", "parkinsons/parkinsons_updrs.csv.gz; get it from"),
    ],
)
def test_an_empty_folder_says_what_it_lacks(name: str, first: str, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=rf"has no {first}.* \(sha256 [0-9a-f]{{64}}\) and put it there"):
        getattr(reference_tasks, name)(data=tmp_path)


def test_missing_torch_names_the_extra(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "hocket.learning.reference_tasks.models", raising=False)
    with pytest.raises(MissingExtra, match=r"torch is not installed; pip install 'hocket\[torch\]'"):
        reference_tasks.heart_disease(data=data_dir)


def test_a_damaged_file_is_named(data_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(data_dir / "mnist", tmp_path / "mnist", copy_function=shutil.copyfile)
    os.chmod(tmp_path / "mnist", 0o755)
    file = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InvalidInput, match=r"mnist/t10k-labels-idx1-ubyte\.gz has sha256 .* get it again from https"):
        reference_tasks.mnist(data=tmp_path)
