"""pfl-research: ``FederatedAveraging`` on its ``SimulatedBackend``, tensors in memory; torchrun for several."""

import os

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn

from benchmarks.peers.work import BATCH, CLIENTS, RATE, Meter, asked, tell


class Classifier(nn.Module):
    """A model with the two methods that pfl asks for."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.inner(features), labels)

    def metrics(self, features: Tensor, labels: Tensor) -> dict[str, object]:
        return {}


class Watch(TrainingProcessCallback):
    """Rank 0 says when it is enough."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        enough = torch.tensor(int(self.meter.step(model.pytorch_model.inner.state_dict)))
        if torch.distributed.is_initialized():
            torch.distributed.broadcast(enough, 0)
        return bool(enough), Metrics()


def main() -> None:
    work = asked()
    np.random.seed(0)  # the same cohorts in every process
    features, labels = work.array("features"), work.array("labels")
    each = len(labels) // CLIENTS
    data = FederatedDataset(
        lambda i: Dataset(raw_data=[features[i * each : (i + 1) * each], labels[i * each : (i + 1) * each]], user_id=i),
        get_user_sampler("minimize_reuse", list(range(CLIENTS))),
    )
    model = Classifier(work.first())
    meter = Meter(work, work.cohort)
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=10**6, evaluation_frequency=10**7, train_cohort_size=work.cohort, val_cohort_size=0
        ),
        SimulatedBackend(training_data=data, val_data=data),
        PyTorchModel(model, torch.optim.SGD, torch.optim.SGD(model.parameters(), lr=1.0)),
        NNTrainHyperParams(local_num_epochs=1, local_learning_rate=RATE, local_batch_size=BATCH),
        callbacks=[Watch(meter)],
        send_metrics_to_platform=False,
    )
    if os.environ.get("RANK", "0") == "0":
        tell(meter.rate, meter.accuracy, "pfl")


if __name__ == "__main__":
    main()
