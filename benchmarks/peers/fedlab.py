"""FedLab: ``SyncServerHandler`` and ``SGDSerialClientTrainer`` in its standalone pipeline, one process."""

import collections
import collections.abc
import logging

from benchmarks.peers.work import BATCH, CLIENTS, RATE, Enough, Meter, Work, asked, stand_in, tell

stand_in(
    "torchvision", "torchvision.transforms", "torchvision.datasets"
)  # PyPI has it for the CUDA build of torch alone
collections.Iterable = collections.abc.Iterable  # it was written for Python before 3.10

from fedlab.contrib.algorithm.basic_client import SGDSerialClientTrainer
from fedlab.contrib.algorithm.basic_server import SyncServerHandler
from fedlab.core.standalone import StandalonePipeline
from torch.utils.data import DataLoader, TensorDataset


class Clients:
    """Data as its trainers ask for them."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def get_dataloader(self, client: int, batch_size: int) -> DataLoader:
        return DataLoader(TensorDataset(*self.work.client(client)), batch_size=batch_size, shuffle=True)


class Pipeline(StandalonePipeline):
    """Ends when it is enough."""

    def __init__(self, handler, trainer, meter: Meter) -> None:
        super().__init__(handler, trainer)
        self.meter = meter

    def evaluate(self) -> None:
        if self.meter.step(self.handler.model.state_dict):
            raise Enough


def main() -> None:
    work = asked()
    logging.disable(logging.CRITICAL)
    handler = SyncServerHandler(work.first(), 10**6, work.cohort / CLIENTS)
    trainer = SGDSerialClientTrainer(work.first(), CLIENTS)
    trainer.setup_dataset(Clients(work))
    trainer.setup_optim(1, BATCH, RATE)
    meter = Meter(work, work.cohort)
    try:
        Pipeline(handler, trainer, meter).main()
    except Enough:
        tell(meter.rate, meter.accuracy, "fedlab")


if __name__ == "__main__":
    main()
