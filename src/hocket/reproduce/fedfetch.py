"""FedFetch on the authors' devices: time, waiting for downloads and bytes, by those of the method without prefetch."""

from functools import cache

import numpy as np
from msgspec import Struct

from hocket.codec import EDEN, LFL, QSGD, Coded, TopK
from hocket.fleet import Fleet
from hocket.fleet.availability import Always, Availability
from hocket.learning.loaders.files import File, folder
from hocket.learning.local import LocalSGD
from hocket.learning.task import Task
from hocket.record.log import KINDS
from hocket.simulation.run import Run, simulate
from hocket.strategies import fedfetch
from hocket.strategy import Strategy
from hocket.until import Until

DEVICES = File(
    "fedscale/fedfetch_client_capacity.parquet",
    "70b30325b4f817ad1b3e6f762f804a317106e5c5904c53ead2fca7c3d3b15995",
    "github.com/DistributedML/FedFetch, benchmark/dataset/data/device_info/client_device_capacity_ul_dl, as Parquet",
)
PARAMETERS = 5_505_862
"""ShuffleNetV2 x2 for 62 classes: 176,187,584 bits, batch counters as two numbers each."""
CODECS: dict[str, Coded] = {
    "stc": TopK(0.2),
    "qsgd": QSGD(bits=4, bucket=128),
    "lfl": LFL(bits=4),
    "eden": EDEN(bits=4),
}
RELEASED = 3
"""Messages that the released server keeps of a quantizer: a longer way back is the whole model."""


class Scale(Struct, frozen=True):
    """How large a world is: ``clients``, the ``cohort`` of a round, and ``rounds``."""

    clients: int
    cohort: int
    rounds: int


SMALL, LARGE = Scale(300, 10, 200), Scale(2800, 30, 1000)


class Figures(Struct, frozen=True):
    """Seconds in all; seconds that the slowest client of each round waited for its download, summed; the mean wait of
    accepted clients; bytes by kind."""

    total: float
    critical: float
    mean: float
    bytes: dict[str, int]

    @property
    def moved(self) -> int:
        """Bytes both ways."""
        return self.bytes["up"] + self.bytes["down"]


@cache
def devices(clients: int, availability: Availability | None = None) -> Fleet:
    """The first of the authors' 9,242 devices; training takes 0.4 of the measured time."""
    DEVICES.read()
    found = Fleet.from_parquet(folder(None, DEVICES) / DEVICES.path, augmentation=0.4)
    some = slice(clients)
    return Fleet(found.compute[some], found.down[some], found.up[some], availability=availability or Always())


def world(strategy: Strategy, scale: Scale, seed: int = 0, availability: Availability | None = None) -> Run:
    """A run without arrays: ten steps of twenty samples per job."""
    local = LocalSGD(lr=0.01, batch_size=20, steps=10)
    task = Task.sized(parameters=PARAMETERS, clients=scale.clients, local=local)
    until = Until(steps=scale.rounds)
    return simulate(task, devices(scale.clients, availability), strategy, until, seed=seed, log=True)


def figures(run: Run) -> Figures:
    """What a run took, from its event log."""
    assert run.log is not None, "the run keeps its log"
    table = run.log.table()
    time, kind, lease = (table[c].to_numpy() for c in ("time_ns", "kind", "lease"))
    of = {name: kind == KINDS.index(name) for name in ("assigned", "started", "arrived", "stepped")}
    begun, waited = np.zeros(lease.max() + 1), np.zeros(lease.max() + 1)
    begun[lease[of["assigned"]]] = time[of["assigned"]]
    waited[lease[of["started"]]] = (time[of["started"]] - begun[lease[of["started"]]]) / 1e9
    rows = np.flatnonzero(of["arrived"])
    last = rows[np.searchsorted(rows, np.flatnonzero(of["stepped"])) - 1]
    total = run.summary["virtual_time_s"]
    return Figures(total, float(waited[lease[last]].sum()), float(waited[lease[rows]].mean()), run.summary["bytes"])


def baseline(codec: str, scale: Scale, overcommit: float = 1.3) -> Strategy:
    """The method without prefetch."""
    return fedfetch(scale.cohort, overcommit, 0, CODECS[codec])


def released(codec: str, scale: Scale, window: int = 3, overcommit: float = 1.3, **more: object) -> Strategy:
    """With prefetch by the released rule: rates known, quantizers begin with the whole model."""
    log = 49 if CODECS[codec].merges else RELEASED
    return fedfetch(scale.cohort, overcommit, window, CODECS[codec], rates="known", log=log, code_compat=True, **more)  # type: ignore[arg-type]


def ours(codec: str, scale: Scale, window: int = 3, overcommit: float = 1.3, **more: object) -> Strategy:
    """With prefetch as it should be: rates measured, the shortest way to catch up."""
    return fedfetch(scale.cohort, overcommit, window, CODECS[codec], **more)  # type: ignore[arg-type]
