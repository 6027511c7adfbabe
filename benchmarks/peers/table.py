"""The systems that are measured, what is installed for each, and what was set."""

from pathlib import Path
from typing import NamedTuple

TORCH = "torch==2.13.0"
ENVIRONMENTS = {
    "pfl": ("pfl[pytorch]==0.6.0", TORCH),
    "flower": ("flwr[simulation]==1.41.0", TORCH),
    "fedlab": ("fedlab==1.3.0", TORCH),
    "flsim": ("flsim==0.1.0", TORCH),
    "appfl": ("appfl==1.12.0", TORCH),
}
"""What pip installs, by the name of the environment; everything else is as these ask for."""


class System(NamedTuple):
    """A row: ``script`` is a module of this package, run with ``launch`` before it by the environment's interpreter.

    ``environment`` is None for what runs with the interpreter of this project, ``models`` those that it can do, ``how``
    what a reader has to know of the way it was set up.
    """

    title: str
    script: str
    environment: str | None
    workloads: tuple[str, ...]
    how: str
    launch: tuple[str, ...] = ()
    models: str = "abdc"

    @property
    def source(self) -> Path:
        return Path(__file__).parent / f"{self.script}.py"


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
SYSTEMS = {
    "bare": System("bare loop", "bare", None, ("W1", "W2"), "one process, one thread: the yardstick"),
    "hocket": System(
        "hocket", "ours", None, ("W1", "W2"), "as installed: a worker process per core, paths as it chose"
    ),
    "pfl": System(
        "pfl-research, 1 process",
        "pfl_research",
        "pfl",
        ("W1",),
        "`SimulatedBackend`, tensors of all clients in memory",
    ),
    "pfl-2": System(
        "pfl-research, 2 processes",
        "pfl_research",
        "pfl",
        ("W1",),
        "the same under `torchrun`, an all-reduce per round",
        TORCHRUN,
    ),
    "flower": System(
        "Flower simulation",
        "flower",
        "flower",
        ("W1",),
        "message API, `FedAvg`, Ray backend, an actor per core; no evaluation, logs off; not 1.42, as pip did not find "
        "the `certifi` that it asks for",
    ),
    "fedlab": System(
        "FedLab",
        "fedlab",
        "fedlab",
        ("W1",),
        "`StandalonePipeline`, one process, logs off; for its imports `collections.Iterable` put back and an empty "
        "`torchvision`",
    ),
    "flsim": System(
        "FLSim, 1 process",
        "flsim",
        "flsim",
        ("W1", "W2"),
        "batches made once, reports and progress off; W2 is an open queue: Poisson starts, 100 per mean duration, and "
        "has no way to use several processes; its dataclasses made hashable, without which Python 3.11 does not import "
        "it",
    ),
    "flsim-2": System(
        "FLSim, 2 processes",
        "flsim",
        "flsim",
        ("W1",),
        "the same under `torchrun`, half of the clients in each, its own all-reduce per round",
        TORCHRUN,
    ),
    "appfl": System(
        "APPFL, virtual time",
        "appfl",
        "appfl",
        ("W2",),
        "FedBuff of differences, one process; `optimize_memory` off (garbage collected after every message), no logs, "
        "no metric in training, an empty `torchvision` for its imports; 200 clients, as each is an object that holds "
        "models: too many for c",
        models="abd",
    ),
}
