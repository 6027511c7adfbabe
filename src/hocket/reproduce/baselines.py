"""The baselines do what their papers say, on data that come with hocket."""

import numpy as np

from hocket import demo
from hocket.fleet import Fleet
from hocket.keyed import key, mix
from hocket.learning import Job, LocalSGD
from hocket.learning.reference_tasks import digits, gaussian
from hocket.reproduce.claim import claim
from hocket.simulation.run import simulate
from hocket.strategies import fedavg
from hocket.until import Evaluation, Until

FEDAVG = "McMahan et al., Communication-Efficient Learning of Deep Networks, AISTATS 2017, algorithm 1"


@claim(FEDAVG, "largest difference of FedAvg's model to a plain loop, everybody in every round", 0.0, 0.0, 1e-6)
def fedavg_plain_loop(quick: bool) -> float:
    task = digits(clients=20, model="mlp", local=LocalSGD(lr=0.1, batch_size=8, epochs=2))
    assert task.learner is not None, "digits are learned"
    fleet, rounds, seed = Fleet.equal(20, compute=0.01, down=1e6, up=1e6), 15 if quick else 100, 7
    run = simulate(task, fleet, fedavg(cohort=20), Until(steps=rounds), seed=seed)
    x = task.learner.initial(key(seed, "initial", "digits")).astype(np.float64)
    for version in range(rounds):
        start = x.astype(np.float32)
        seeds = [mix(key(seed, "lease", "digits") ^ (c << 32 | version)) for c in range(20)]
        jobs = [Job(c, c, start, task.local, seeds[c], version) for c in range(20)]
        x = start + np.mean([t.delta.astype(np.float64) for t in task.learner.train(jobs)], axis=0)
    model = run.models["digits"]
    assert model is not None, "digits are learned"
    return float(np.abs(model - x).max())


@claim("hocket demo, seeds 10 to 19 in its docstring", "FedBuff's time to 0.90 on digits, by FedAvg's", 0.54, 0.3, 0.9)
def demo_time_ratio(quick: bool) -> float:
    times = []
    for method in (0, 1):
        each = [demo.experiments(seed)[method].run() for seed in range(10, 13 if quick else 20)]
        times.append([e.summary["tasks"]["digits"]["time_to_target_s"] or float("inf") for e in each])
    return float(np.mean(times[1]) / np.mean(times[0]))


@claim(
    "Bayes' rule for equal Gaussians", "FedAvg's accuracy on a Gaussian mixture, by the best possible", 1.0, 0.97, 1.02
)
def gaussian_bayes(quick: bool) -> float:
    task = gaussian(clients=50, alpha=0.5)
    assert task.bayes is not None, "the mixture is known"
    until, every = Until(steps=60 if quick else 200), Evaluation(every=20)
    run = simulate(task, Fleet.equal(50, compute=0.01, down=1e6, up=1e6), fedavg(cohort=25), until, evaluation=every)
    return float(run.summary["tasks"]["gaussian"]["accuracy"]) / task.bayes
