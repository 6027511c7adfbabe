"""FLSim: ``SyncTrainer`` for W1, under torchrun in several processes, ``AsyncTrainer`` with its FedBuff for W2."""

import contextlib
import dataclasses
import functools
import io
import logging
import os
from collections.abc import Iterator
from unittest import mock

import hydra.utils  # noqa: F401
import opacus  # noqa: F401  (what FLSim imports comes first, as the patch below is for FLSim alone)
import tensorboard  # noqa: F401
import torch
import torch.utils.tensorboard
import tqdm
from omegaconf import OmegaConf

# It gives dataclasses instances of dataclasses as defaults, which Python takes since 3.11 only if they can be hashed.
hashed = functools.partial(dataclasses.dataclass, unsafe_hash=True)
with mock.patch("dataclasses.dataclass", hashed), mock.patch("tqdm.tqdm", functools.partial(tqdm.tqdm, disable=True)):
    from flsim.clients.base_client import ClientConfig
    from flsim.data.data_provider import IFLDataProvider, IFLUserData
    from flsim.interfaces.model import IFLModel
    from flsim.optimizers.async_aggregators import FedAvgWithLRFedBuffAggregatorConfig
    from flsim.optimizers.local_optimizers import LocalOptimizerSGDConfig
    from flsim.reducers.base_round_reducer import ReductionType, RoundReducerConfig
    from flsim.trainers.async_trainer import AsyncTrainer, AsyncTrainerConfig
    from flsim.trainers.sync_trainer import SyncTrainer, SyncTrainerConfig
    from flsim.utils.async_trainer.training_event_generator import (
        AsyncTrainingEventGeneratorConfig,
        PoissonAsyncTrainingStartTimeDistrConfig,
    )
    from flsim.utils.simple_batch_metrics import FLBatchMetrics
    from flsim.utils.timing.training_duration_distribution import PerUserExponentialDurationDistributionConfig

from torch import Tensor, nn

from benchmarks.peers.work import BATCH, BUFFER, CLIENTS, IN_FLIGHT, RATE, SAMPLES, Enough, Meter, Work, asked, tell

Batch = dict[str, Tensor]


class Classifier(IFLModel):
    """A module as FLSim wants it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def fl_forward(self, batch: Batch) -> FLBatchMetrics:
        output = self.module(batch["features"])
        loss = nn.functional.cross_entropy(output, batch["labels"])
        n = self.get_num_examples(batch)
        return FLBatchMetrics(loss=loss, num_examples=n, predictions=output, targets=batch["labels"], model_inputs=[])

    def fl_create_training_batch(self, **batch: Tensor) -> Batch:
        return batch

    def fl_get_module(self) -> nn.Module:
        return self.module

    def fl_cuda(self) -> None:
        raise NotImplementedError

    def get_eval_metrics(self, batch: Batch) -> FLBatchMetrics:
        return self.fl_forward(batch)

    def get_num_examples(self, batch: Batch) -> int:
        return len(batch["labels"])


class User(IFLUserData):
    """Batches of one client, made once."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        pairs = zip(features.split(BATCH), labels.split(BATCH), strict=True)
        self.batches = [{"features": x, "labels": y} for x, y in pairs]

    def train_data(self) -> Iterator[Batch]:
        return iter(self.batches)

    def eval_data(self) -> Iterator[Batch]:
        return iter(())

    def num_train_examples(self) -> int:
        return SAMPLES

    def num_train_batches(self) -> int:
        return len(self.batches)

    def num_eval_examples(self) -> int:
        return 0

    def num_eval_batches(self) -> int:
        return 0


class Users(IFLDataProvider):
    """Every so many-th client."""

    def __init__(self, work: Work, first: int, stride: int) -> None:
        features, labels = work.array("features").split(SAMPLES), work.array("labels").split(SAMPLES)
        self.users = [User(x, y) for x, y in zip(features[first::stride], labels[first::stride], strict=True)]

    def train_user_ids(self) -> list[int]:
        return list(range(len(self.users)))

    def num_train_users(self) -> int:
        return len(self.users)

    def get_train_user(self, user_index: int) -> User:
        return self.users[user_index]

    def train_users(self) -> list[User]:
        return self.users

    def eval_users(self) -> list[User]:
        return []

    def test_users(self) -> list[User]:
        return []


class Sync(SyncTrainer):
    """Ends when rank 0 says that it is enough; asked twice after the last round of an epoch."""

    meter: Meter
    answers: dict[tuple[int, int], bool]

    def stop_fl_training(self, *, epoch: int, round: int, num_rounds_in_epoch: int) -> bool:
        if (epoch, round) not in self.answers:
            enough = torch.tensor(int(self.meter.step(self.global_model().fl_get_module().state_dict)))
            if torch.distributed.is_initialized():
                torch.distributed.broadcast(enough, 0)
            self.answers[epoch, round] = bool(enough)
        return self.answers[epoch, round]


class Async(AsyncTrainer):
    """Ends when it is enough."""

    meter: Meter

    def _global_update_done(self) -> None:
        if self.meter.step(self.global_model().fl_get_module().state_dict):
            raise Enough


def main() -> None:
    work, rank, world = asked(), int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        torch.distributed.init_process_group("gloo")
    logging.disable(logging.CRITICAL)
    plain = {"epochs": 10**6, "do_eval": False, "report_train_metrics": False, "always_keep_trained_model": True}
    plain["client"] = ClientConfig(epochs=1, optimizer=LocalOptimizerSGDConfig(lr=RATE), shuffle_batch_order=True)
    model = Classifier(work.first())
    trainer: Sync | Async
    if work.workload == "W1":
        settings = OmegaConf.structured(SyncTrainerConfig(users_per_round=work.cohort, **plain))
        Sync.answers = {}
        trainer = Sync(model=model, **{k: v for k, v in settings.items() if not k.startswith("_")})
    else:
        settings = OmegaConf.structured(
            AsyncTrainerConfig(
                aggregator=FedAvgWithLRFedBuffAggregatorConfig(
                    lr=1.0,
                    buffer_size=BUFFER,
                    reducer=RoundReducerConfig(reduction_type=ReductionType.WEIGHTED_AVERAGE),
                ),
                training_event_generator=AsyncTrainingEventGeneratorConfig(
                    training_start_time_distribution=PoissonAsyncTrainingStartTimeDistrConfig(training_rate=IN_FLIGHT),
                    duration_distribution_generator=PerUserExponentialDurationDistributionConfig(
                        training_duration_mean=1.0
                    ),
                ),
                **plain,
            )
        )
        trainer = Async(model=model, **{k: v for k, v in settings.items() if not k.startswith("_")})
    trainer.meter = meter = Meter(work, work.cohort if work.workload == "W1" else BUFFER)
    with contextlib.suppress(Enough), contextlib.redirect_stdout(io.StringIO()):
        trainer.train(Users(work, rank, world), None, CLIENTS, distributed_world_size=world, rank=rank)
    if rank == 0:
        tell(meter.rate, meter.accuracy, "flsim")


if __name__ == "__main__":
    main()
