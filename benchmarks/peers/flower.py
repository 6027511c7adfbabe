"""Flower: ``FedAvg`` of its message API on the simulation engine, Ray, an actor per core."""

import logging
import os

os.environ.update(FLWR_TELEMETRY_ENABLED="0", RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0")

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import nn

from benchmarks.models import MODELS
from benchmarks.peers.work import BATCH, CLIENTS, RATE, SAMPLES, Meter, asked, tell

work = asked()
client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    torch.set_num_threads(1)
    model = MODELS[work.model]()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    sgd = torch.optim.SGD(model.parameters(), RATE)
    features, labels = work.client(int(context.node_config["partition-id"]))
    order = torch.randperm(SAMPLES)
    for at in range(0, SAMPLES, BATCH):
        rows = order[at : at + BATCH]
        sgd.zero_grad()
        nn.functional.cross_entropy(model(features[rows]), labels[rows]).backward()
        sgd.step()
    content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": SAMPLES})}
    return Message(content=RecordDict(content), reply_to=message)


@server.main()
def serve(grid: Grid, context: Context) -> None:
    strategy = FedAvg(fraction_train=work.cohort / CLIENTS, fraction_evaluate=0.0, min_available_nodes=CLIENTS)
    meter = Meter(work, work.cohort)
    arrays, enough = ArrayRecord(work.first().state_dict()), False
    while not enough:
        arrays = strategy.start(grid, arrays, num_rounds=1).arrays
        enough = meter.step(arrays.to_torch_state_dict)
    tell(meter.rate, meter.accuracy, "flwr", "ray")


def main() -> None:
    logging.getLogger("flwr").setLevel(logging.ERROR)
    cores = os.cpu_count() or 1
    run_simulation(
        server,
        client,
        CLIENTS,
        backend_config={
            "init_args": {"num_cpus": cores, "include_dashboard": False, "log_to_driver": False},
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )


if __name__ == "__main__":
    main()
