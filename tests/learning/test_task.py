"""Tasks: what is refused, and what a changed copy keeps."""

import numpy as np
import pytest
from msgspec.structs import replace

from hocket.errors import InvalidInput
from hocket.learning import LocalSGD, Task, reference_tasks


def test_sized() -> None:
    task = Task.sized(parameters=1000, clients=3, samples=[1, 2, 3], name="big")
    assert (task.clients, task.schema.size, task.learner, task.name) == (3, 1000, None, "big")
    assert task.samples.dtype == np.int64 and not task.samples.flags.writeable


def test_replace_keeps_the_rest() -> None:
    task = reference_tasks.gaussian(clients=3, samples=10)
    changed = replace(task, local=LocalSGD(lr=1.0, batch_size=1))
    assert changed.learner is task.learner and changed.local.lr == 1.0 and changed.bayes == task.bayes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "task: name is ''"),
        ({"samples": np.array([3, 0])}, "task 't': client 1 has 0 samples"),
        ({"samples": np.array([0.5])}, r"samples are float64\[1\]; give one whole number per client"),
        ({"cost": 0.0}, "cost is 0.0; it must be positive"),
        ({"objective": "mean"}, "objective is 'mean'; it must be 'uniform' or 'samples'"),
        ({"bayes": 1.5}, r"bayes is 1.5; an accuracy is in \(0, 1\]"),
    ],
)
def test_impossible(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(Task.sized(parameters=1, clients=2, name="t"), **change)


def test_learner_must_agree() -> None:
    task = reference_tasks.gaussian(clients=3, samples=10)
    with pytest.raises(InvalidInput, match=r"samples differ from the learner's; pass learner.samples"):
        replace(task, samples=np.array([10, 10]))
    with pytest.raises(InvalidInput, match=r"schema differs from the learner's; pass learner.schema"):
        replace(task, schema=Task.sized(parameters=1, clients=3).schema)


def test_bad_sizes() -> None:
    with pytest.raises(InvalidInput, match="task 'task': 0 parameters, 2 clients; both must be 1 or more"):
        Task.sized(parameters=0, clients=2)
    with pytest.raises(InvalidInput, match=r"samples have shape \[3\] for 2 clients"):
        Task.sized(parameters=1, clients=2, samples=[1, 2, 3])
