"""A run that is over holds nothing but its results."""

import gc
import weakref

import hocket as hk


def test_data_and_learner_are_free_when_a_run_is_over() -> None:
    gc.collect()
    gc.disable()
    try:
        task = hk.reference_tasks.gaussian(clients=20, samples=40)
        learner = weakref.ref(task.learner)
        run = hk.simulate(
            task, hk.Fleet.synthetic(20, seed=0), hk.strategies.fedbuff(5, 10), hk.Until(updates=50), seed=1
        )
        assert run.summary["updates"] == 50 and run.model("gaussian")
        del task, run
        assert learner() is None, "a cycle keeps it"
    finally:
        gc.enable()
