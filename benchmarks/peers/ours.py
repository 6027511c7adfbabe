"""hocket itself, measured as ``benchmarks.learning`` does, in a process of its own."""

import time

import numpy as np

import hocket as hk
from benchmarks.learning import ours
from benchmarks.peers.work import BUFFER, CLIENTS, IN_FLIGHT, SAMPLES, WARM, Work, asked, tell
from hocket.guard import Constant
from hocket.learning import ClientData, Examples, LocalSGD


def client_data(work: Work) -> ClientData:
    """The arrays of the workload."""
    test = Examples(work.array("test_features").numpy(), work.array("test_labels").numpy())
    train = Examples(work.array("features").numpy(), work.array("labels").numpy())
    return ClientData(train, np.arange(CLIENTS + 1) * SAMPLES, test, test)


def main() -> None:
    work = asked()
    learner = hk.TorchLearner(work.first(), client_data(work))
    method = hk.strategies.fedavg(cohort=work.cohort)
    if work.workload == "W2":
        method = hk.strategies.fedbuff(buffer=BUFFER, in_flight=IN_FLIGHT, decay=Constant())
    accuracy = None
    if work.steps:
        task, fleet = (
            hk.Task.of(learner, LocalSGD(lr=0.05, batch_size=10)),
            hk.Fleet.synthetic(CLIENTS, seed=0, compute_law=hk.fleet.Exponential()),
        )
        until, never = hk.Until(steps=work.steps), hk.Evaluation(every=10**6)
        accuracy = work.accuracy(hk.simulate(task, fleet, method, until, evaluation=never).model())
    began, updates = time.perf_counter(), 200
    while time.perf_counter() - began < WARM:
        rate, *_ = ours(learner, CLIENTS, method, updates)
        updates = max(200, int(rate * work.seconds))
    rate, *_ = ours(learner, CLIENTS, method, updates)
    tell(rate, accuracy, paths=learner.kernels)


if __name__ == "__main__":
    main()
