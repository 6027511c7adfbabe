"""The yardstick's bare loop, and what plain loops of FedAvg and FedBuff reach: the accuracy that others are held to."""

import heapq

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.learning import bare
from benchmarks.models import MODELS
from benchmarks.peers.ours import client_data
from benchmarks.peers.work import BATCH, BUFFER, CLIENTS, IN_FLIGHT, RATE, SAMPLES, Work, asked, tell


def reach(work: Work) -> float:
    """Accuracy after ``steps`` server steps of a loop without a framework."""
    model = work.first()
    parameters = list(model.parameters())
    draw = np.random.default_rng(2)
    features, labels = work.array("features"), work.array("labels")

    def delta(start: Tensor) -> Tensor:
        nn.utils.vector_to_parameters(start.clone(), parameters)
        sgd = torch.optim.SGD(parameters, RATE)
        rows = torch.from_numpy(draw.permutation(SAMPLES) + SAMPLES * draw.integers(CLIENTS))
        for at in range(0, SAMPLES, BATCH):
            some = rows[at : at + BATCH]
            sgd.zero_grad()
            nn.functional.cross_entropy(model(features[some]), labels[some]).backward()
            sgd.step()
        return nn.utils.parameters_to_vector(parameters).detach() - start

    x = nn.utils.parameters_to_vector(parameters).detach().clone()
    if work.workload == "W1":
        for _ in range(work.steps):
            x = x + sum(delta(x) for _ in range(work.cohort)) / work.cohort
    else:
        busy = [(draw.exponential(), i, x) for i in range(IN_FLIGHT)]
        heapq.heapify(busy)
        for _ in range(work.steps):
            buffer = torch.zeros_like(x)
            for i in range(BUFFER):
                now, number, start = heapq.heappop(busy)
                buffer += delta(start) / BUFFER
                x = x if i < BUFFER - 1 else x + buffer  # the slot is refilled after the step
                heapq.heappush(busy, (now + draw.exponential(), number, x))
    nn.utils.vector_to_parameters(x, parameters)
    return work.accuracy(model.state_dict())


def main() -> None:
    work = asked()
    accuracy = reach(work) if work.steps else None
    given, build = client_data(work), MODELS[work.model]
    rate, _ = bare(build, given, 10)
    rate, _ = bare(build, given, max(10, int(rate * work.seconds)))
    tell(rate, accuracy)


if __name__ == "__main__":
    main()
