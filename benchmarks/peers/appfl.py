"""APPFL: its virtual-time simulator with FedBuff of differences, one process.

Every client is an agent with a model of its own; durations are exponential through a profile. What it calls memory
optimisation is off: it collects garbage after every message.
"""

import contextlib
import logging
import random

from benchmarks.peers.work import (
    BATCH,
    BUFFER,
    IN_FLIGHT,
    RATE,
    SAMPLES,
    Enough,
    Meter,
    Work,
    asked,
    stand_in,
    tell,
)

stand_in("torchvision", "torchvision.transforms", "torchvision.models")  # PyPI has it for the CUDA build of torch alone

from appfl.agent import ClientAgent, ServerAgent
from appfl.config import ClientAgentConfig, ServerAgentConfig
from appfl.vsim import AsyncSimDriver, ClientProfile
from omegaconf import OmegaConf
from torch.utils.data import TensorDataset

HOLDERS = 200
"""Clients: fewer than elsewhere, as each holds models; as many are in flight as elsewhere."""
TRAIN = {
    "trainer": "VanillaTrainer",
    "mode": "step",
    "num_local_steps": SAMPLES // BATCH,
    "optim": "SGD",
    "optim_args": {"lr": RATE},
    "loss_fn": "CrossEntropyLoss",
    "train_batch_size": BATCH,
    "train_data_shuffle": True,
    "send_gradient": True,
    "optimize_memory": False,
    "device": "cpu",
}


class Exponential(ClientProfile):
    """A second of work on average, whatever was measured."""

    def compute_time(self, compute_second_per_step: float, num_steps: int, **kwargs: object) -> float:
        return random.expovariate(1.0)


class Quiet:
    """A logger that leaves no files."""

    def nothing(self, *args: object, **kwargs: object) -> None:
        return None

    info = debug = warning = error = log_title = set_title = log_content = log_banner = nothing


class Holder(ClientAgent):
    """A client that gets model and data from the workload, and reports no metric of its training."""

    work: Work

    def _create_logger(self) -> None:
        self.logger = Quiet()

    def _load_metric(self) -> None:
        self.metric = lambda true, predicted: 0.0

    def _load_model(self) -> None:
        self.model = self.work.first()

    def _load_data(self) -> None:
        self.train_dataset = TensorDataset(*self.work.client(int(self.client_agent_config.client_id)))
        self.val_dataset = None


class Server(ServerAgent):
    """A server that gets its model from the workload and tells the meter of its steps."""

    work: Work
    meter: Meter

    def _create_logger(self) -> None:
        self.logger = Quiet()

    def _load_model(self) -> None:
        self.model = self.work.first()

    def global_update(self, *args, **kwargs):
        before = self.aggregator.global_step
        result = super().global_update(*args, **kwargs)
        if self.aggregator.global_step > before and self.meter.step(lambda: self.aggregator.global_state):
            raise Enough
        return result


def main() -> None:
    work = asked()
    logging.disable(logging.CRITICAL)
    Holder.work = Server.work = work
    Server.meter = meter = Meter(work, BUFFER)
    server = Server(
        ServerAgentConfig(
            client_configs=OmegaConf.create({"train_configs": TRAIN}),
            server_configs=OmegaConf.create(
                {
                    "num_clients": HOLDERS,
                    "num_global_epochs": 10**9,
                    "optimize_memory": False,
                    "scheduler": "AsyncScheduler",
                    "scheduler_kwargs": {"optimize_memory": False},
                    "aggregator": "FedBuffAggregator",
                    "aggregator_kwargs": {
                        "K": BUFFER,
                        "alpha": HOLDERS / BUFFER,  # a difference counts alpha / clients: so a buffer is averaged
                        "staleness_fn": "constant",
                        "gradient_based": True,
                        "optimize_memory": False,
                    },
                }
            ),
        )
    )
    ids = [str(i) for i in range(HOLDERS)]
    holders = [Holder(_configured(i)) for i in ids]
    profiles = {i: Exponential(bandwidth=0.0) for i in ids}
    driver = AsyncSimDriver(server, holders, profiles, IN_FLIGHT, Quiet(), base_step_time=1.0)
    with contextlib.suppress(Enough):
        driver.run()
    tell(meter.rate, meter.accuracy, "appfl")


def _configured(client: str) -> ClientAgentConfig:
    settings = OmegaConf.structured(ClientAgentConfig(train_configs=OmegaConf.create(TRAIN)))
    OmegaConf.set_struct(settings, False)
    settings.client_id = client
    settings.optimize_memory = False
    return settings


if __name__ == "__main__":
    main()
