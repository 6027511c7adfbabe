"""What every learner must do, above all the lane rule: a result does not depend on the jobs beside it."""

from collections.abc import Sequence

import numpy as np

from hocket.errors import InvalidInput
from hocket.keyed import below, generator, key
from hocket.learning.learner import Job, Learner, Trained
from hocket.learning.local import LocalSGD


def same(a: Trained, b: Trained) -> bool:
    """Whether two results are equal bit for bit."""
    return (
        a.delta.dtype == b.delta.dtype
        and a.delta.tobytes() == b.delta.tobytes()
        and (a.samples, a.metrics, a.aux) == (b.samples, b.metrics, b.aux)
    )


def draw_jobs(learner: Learner, local: Sequence[LocalSGD], n: int, seed: int) -> list[Job]:
    """``n`` jobs of random clients (some twice), from different starts and versions, of mixed local work."""
    x = learner.initial(seed)
    starts = [x] + [
        (x + 0.01 * generator(key(seed, "start", v)).standard_normal(x.shape)).astype(np.float32) for v in (1, 2)
    ]
    out = []
    for i in range(n):
        k = key(seed, "job", i)
        version = below(key(k, "version"), len(starts))
        client = below(key(k, "client"), len(learner.samples))
        work = local[below(key(k, "local"), len(local))]
        out.append(Job(i, client, starts[version], work, key(k, "seed"), version))
    return out


def check_lane_rule(learner: Learner, jobs: Sequence[Job]) -> None:
    """Assert that the jobs give the same bits together and one at a time."""
    for job, together in zip(jobs, learner.train(jobs), strict=True):
        (alone,) = learner.train([job])
        assert same(together, alone), (
            f"client {job.client}, {job.local}: another result among {len(jobs)} jobs than alone"
        )


class LearnerConformance:
    """Inherit, override :meth:`learner`, and name the class ``Test...``.

    >>> from hocket.learning import reference_tasks
    >>> class TestMine(LearnerConformance):
    ...     def learner(self):
    ...         return reference_tasks.gaussian(clients=4, samples=20).learner
    >>> TestMine().test_lane_rule()
    """

    local: Sequence[LocalSGD] = (
        LocalSGD(lr=0.1, batch_size=10),
        LocalSGD(lr=0.1, batch_size=1, epochs=2),
        LocalSGD(lr=0.1, batch_size=7, steps=4, decay=0.5),
        LocalSGD(lr=0.05, batch_size=16, epochs=2, momentum=0.9, weight_decay=0.01, proximal=0.1),
    )
    """Kinds of local work to try."""

    def learner(self) -> Learner:
        """The learner under test; called once per test."""
        raise NotImplementedError

    def test_lane_rule(self) -> None:
        """Any mixture of jobs, in any order, gives each job's result alone."""
        learner = self.learner()
        for seed, n in enumerate((1, 2, 3, 7, 33, 70)):
            check_lane_rule(learner, draw_jobs(learner, self.local, n, seed))

    def test_order(self) -> None:
        """Results come in the order of the jobs; the same job gives the same result."""
        learner = self.learner()
        jobs = draw_jobs(learner, self.local, 12, 1)
        forward, backward = learner.train(jobs), learner.train(jobs[::-1])
        assert all(same(a, b) for a, b in zip(forward, backward[::-1], strict=True))
        assert learner.train([]) == []

    def test_results(self) -> None:
        """Deltas are finite float32[size] that own their memory; samples and loss are reported."""
        learner = self.learner()
        jobs = draw_jobs(learner, self.local, 8, 2)
        before = [job.start.tobytes() for job in jobs]
        for job in jobs:
            job.start.flags.writeable = False
        results = learner.train(jobs)
        for job, start, done in zip(jobs, before, results, strict=True):
            assert job.start.tobytes() == start, "train changed the start vector"
            assert done.delta.dtype == np.float32 and done.delta.shape == (learner.schema.size,)
            assert np.isfinite(done.delta).all() and np.isfinite(done.metrics["loss"])
            assert done.samples == job.local.samples(int(learner.samples[job.client]))
            assert not any(np.shares_memory(done.delta, o.delta) for o in results if o is not done)

    def test_seed_orders_the_samples(self) -> None:
        """A job with another seed sees its samples in another order."""
        learner = self.learner()
        client = int(learner.samples.argmax())
        x, local = learner.initial(0), LocalSGD(lr=0.1, batch_size=1)
        results = learner.train([Job(0, client, x, local, seed, 0) for seed in range(8)])
        assert len({r.delta.tobytes() for r in results}) > 1, "the order of samples must follow from the job's seed"

    def test_initial(self) -> None:
        """The first model is finite float32[size] and a function of the seed."""
        learner = self.learner()
        x = learner.initial(3)
        assert x.dtype == np.float32 and x.shape == (learner.schema.size,) and np.isfinite(x).all()
        assert learner.initial(3).tobytes() == x.tobytes()
        assert learner.samples.dtype == np.int64 and learner.samples.min() >= 1

    def test_evaluate(self) -> None:
        """Accuracy and loss of both splits, the same each time; another split is refused."""
        learner = self.learner()
        x = learner.initial(0)
        for split in ("validation", "test"):
            metrics = learner.evaluate(x, split)
            assert 0 <= metrics["accuracy"] <= 1 and metrics["loss"] >= 0
            assert learner.evaluate(x, split) == metrics
        try:
            learner.evaluate(x, "train")
        except InvalidInput:
            return
        raise AssertionError("evaluate took the split 'train'; raise InvalidInput")
