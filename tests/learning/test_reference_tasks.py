"""Reference tasks: deterministic, learnable, and honest about what can be reached."""

import os
import subprocess
import sys

import numpy as np
import pytest

from hocket.errors import InvalidInput, MissingExtra
from hocket.keyed import generator, key
from hocket.learning import Job, Task
from hocket.learning.reference_tasks import digits, gaussian
from hocket.learning.reference_tasks.digits import _load_digits


def fedavg(task: Task, rounds: int, target: float, seed: int) -> int | None:
    """The first round of FedAvg over 20 clients whose model reaches the target on the test split."""
    learner = task.learner
    x = learner.initial(seed)
    for r in range(rounds):
        cohort = generator(key(seed, "cohort", r)).choice(task.clients, 20, replace=False).tolist()
        done = learner.train([Job(i, c, x, task.local, key(seed, r, c), r) for i, c in enumerate(cohort)])
        x = x + np.mean([d.delta for d in done], axis=0)
        if learner.evaluate(x, "test")["accuracy"] >= target:
            return r + 1
    return None


@pytest.mark.parametrize(("model", "median"), [("softmax", 38), ("mlp", 78)])
def test_digits_reaches_090(model: str, median: int) -> None:
    """Rounds as in the docstring of ``digits``, with room for another CPU's last bits."""
    rounds = [fedavg(digits(model=model, seed=s), 200, 0.90, s) for s in range(10)]
    assert None not in rounds and np.median(rounds) == pytest.approx(median, rel=0.15)


def test_digits_shape() -> None:
    task = digits()
    data = task.learner._data
    assert task.clients == 100 and task.samples.min() >= 2 and task.samples.sum() == 1257
    assert (len(data.validation), len(data.test)) == (270, 270)
    assert task.schema.size == 650 and digits(model="mlp").schema.size == 2410
    assert data.train.features.min() >= 0 and data.train.features.max() == 1


@pytest.mark.parametrize("make", [digits, gaussian])
def test_same_seed_same_task(make) -> None:
    a, b, c = (make(clients=20, seed=s).learner._data for s in (3, 3, 4))
    assert a.train.features.tobytes() == b.train.features.tobytes() != c.train.features.tobytes()
    assert a.test.features.tobytes() == b.test.features.tobytes() != c.test.features.tobytes()


def test_gaussian_reaches_98_percent_of_bayes() -> None:
    task = gaussian(clients=60)
    assert fedavg(task, 80, 0.98 * task.bayes, 0) is not None


def test_gaussian_bayes() -> None:
    got = [gaussian(clients=1, samples=1, seed=s).bayes for s in range(6)]
    assert min(got) > 0.85 and max(got) < 0.94
    two = gaussian(clients=1, samples=1, classes=2, dim=1, spread=3.0, seed=1)
    assert 0.5 <= two.bayes <= 1
    assert gaussian(clients=1, samples=1, spread=50.0).bayes == 1.0


def test_gaussian_clients_do_not_depend_on_their_number() -> None:
    few, many = (gaussian(clients=n, samples=30).learner._data for n in (3, 9))
    assert few.train.features.tobytes() == many.train.features[:90].tobytes()
    assert few.test.labels.tobytes() == many.test.labels.tobytes()


def test_label_skew() -> None:
    task = gaussian(clients=30, samples=100)
    labels = task.learner._data.train.labels.reshape(30, 100)
    assert np.mean([len(np.unique(y)) for y in labels]) < 6


def test_refusals() -> None:
    with pytest.raises(InvalidInput, match="model is 'cnn'; it must be 'softmax' or 'mlp'"):
        digits(model="cnn")
    with pytest.raises(InvalidInput, match="1257 samples cannot give 1000 clients 2 each; 628 clients or fewer"):
        digits(clients=1000)
    with pytest.raises(InvalidInput, match="gaussian: classes is 1; it must be 2 or more"):
        gaussian(classes=1)
    with pytest.raises(InvalidInput, match="gaussian: spread is -1; it must be positive and finite"):
        gaussian(spread=-1)


def test_missing_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    _load_digits.cache_clear()
    with pytest.raises(MissingExtra, match=r"scikit-learn is not installed; pip install 'hocket\[sklearn\]'"):
        digits()


def test_importing_does_not_import_scikit_learn() -> None:
    code = "import sys, hocket.learning; sys.exit('sklearn' in sys.modules)"
    where = {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=os.environ | where, check=True)
