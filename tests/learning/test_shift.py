"""Data that change: each job sees the data of its own version, whatever jobs are beside it."""

import pytest

from hocket.errors import InvalidInput
from hocket.learning import Job, Shift, reference_tasks
from hocket.testing.learner import LearnerConformance, same

EVEN, SKEWED = (reference_tasks.gaussian(14, samples=20, alpha=a).learner for a in (100.0, 0.1))


class TestShift(LearnerConformance):
    def learner(self) -> Shift:
        return Shift(EVEN, SKEWED, 1)


def test_a_job_is_trained_on_the_data_of_its_version() -> None:
    task = reference_tasks.gaussian(14, samples=20)
    x = EVEN.initial(0)
    jobs = [Job(i, 3, x, task.local, 9, version) for i, version in enumerate((0, 4, 5, 1, 9))]
    found = Shift(EVEN, SKEWED, 5).train(jobs)
    for job, result in zip(jobs, found, strict=True):
        assert same(result, (SKEWED if job.version >= 5 else EVEN).train([job])[0])
    assert Shift(EVEN, SKEWED, 5).train([]) == []


def test_learners_that_differ_in_shape_are_refused() -> None:
    with pytest.raises(InvalidInput, match="shift: the learners have models of different schemas"):
        Shift(EVEN, reference_tasks.gaussian(14, dim=5, samples=20).learner, 5)
    with pytest.raises(InvalidInput, match="shift: a client holds another number of samples"):
        Shift(EVEN, reference_tasks.gaussian(14, samples=21).learner, 5)
