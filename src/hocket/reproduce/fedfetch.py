"""FedFetch on the authors' devices: time, waiting for downloads and bytes, by those of the method without prefetch."""

from functools import cache
from itertools import pairwise

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hocket.codec import EDEN, LFL, QSGD, Coded, TopK
from hocket.fleet import Fleet
from hocket.fleet.availability import Always, Availability
from hocket.fleet.renewal import Renewal
from hocket.learning.loaders.files import File, folder
from hocket.learning.local import LocalSGD
from hocket.learning.reference_tasks import gaussian
from hocket.learning.task import Task
from hocket.record.log import KINDS
from hocket.reproduce.claim import claim
from hocket.setup import Setup
from hocket.simulation.run import Run, prepare, simulate
from hocket.snapshot import digest
from hocket.strategies import fedfetch
from hocket.strategy import Strategy, describe
from hocket.until import Evaluation, Until

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
    """The first of the authors' 9,242 devices, counted from 1 as they do; training takes 0.4 of the measured time."""
    DEVICES.read()
    found = Fleet.from_parquet(folder(None, DEVICES) / DEVICES.path, augmentation=0.4)
    some = slice(1, clients + 1)
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


# --- what is measured ----------------------------------------------------------------------------------------


_KNOWN: dict[str, Figures] = {}


def measured(
    strategy: Strategy, scale: Scale = LARGE, seed: int = 0, availability: Availability | None = None
) -> Figures:
    """The figures of a strategy in a world, run once."""
    name = digest([describe(strategy), scale, seed, describe(availability)])
    if name not in _KNOWN:
        _KNOWN[name] = figures(world(strategy, scale, seed, availability))
    return _KNOWN[name]


class Ratios(Struct, frozen=True):
    """Of the method without prefetch, by that with it: seconds, seconds waited by the slowest, and by the mean client;
    and bytes with it by those without."""

    total: float
    critical: float
    mean: float
    bytes: float


def ratios(with_it: Strategy, without: Strategy, scale: Scale = LARGE, seed: int = 0) -> Ratios:
    """One strategy by the other in the same world."""
    ours, theirs = (measured(s, scale, seed) for s in (with_it, without))
    return Ratios(
        theirs.total / ours.total,
        theirs.critical / ours.critical,
        theirs.mean / ours.mean,
        ours.moved / theirs.moved,
    )


QUANTIZED = ("qsgd", "lfl", "eden")
PAPER = "Yan et al., FedFetch, INFOCOM 2025 (arXiv 2504.15366); a simulation of its released rule on the same devices"
DERIVED = "the acceptance list of FedFetch, from a simulation of its released rule on the authors' devices"


def headline(codec: str) -> Ratios:
    """The released rule with a slack of a quarter, whose bytes stay within what is allowed."""
    return ratios(released(codec, LARGE, slack=0.25 if CODECS[codec].merges else 0.0), baseline(codec, LARGE))


@claim(PAPER, "time without prefetch by time with it, STC, 2,800 devices, 1,000 rounds", 1.26, 1.22, 1.31)
def fedfetch_stc_time(quick: bool) -> float:
    return headline("stc").total


@claim(PAPER, "the same, least of QSGD, LFL and EDEN at 4 bits", 1.31, 1.26, 1.36)
def fedfetch_quantized_time(quick: bool) -> float:
    return min(headline(c).total for c in QUANTIZED)


@claim(PAPER, "waiting for downloads on the critical path, without by with, STC", 3.59, 3.2, float("inf"))
def fedfetch_stc_wait(quick: bool) -> float:
    return headline("stc").critical


@claim(PAPER, "the same, least of QSGD, LFL and EDEN", 5.9, 5.0, float("inf"))
def fedfetch_quantized_wait(quick: bool) -> float:
    return min(headline(c).critical for c in QUANTIZED)


@claim(PAPER, "bytes with prefetch by those without, most of the four codecs", 1.2, 1.0, 1.21)
def fedfetch_bytes(quick: bool) -> float:
    return max(headline(c).bytes for c in CODECS)


@claim(DERIVED, "bytes of accepted clients with prefetch by those without, STC, slack 0", 1.157, 1.14, 1.17)
def fedfetch_accepted_bytes(quick: bool) -> float:
    with_it, without = (measured(s).bytes for s in (released("stc", LARGE), baseline("stc", LARGE)))
    kinds = "up", "critical", "prefetched"
    return sum(with_it[k] for k in kinds) / sum(without[k] for k in kinds)


@claim(PAPER, "time without prefetch by time with it, STC, 300 devices, mean of ten seeds", 1.18, 1.12, 1.25)
def fedfetch_small_time(quick: bool) -> float:
    seeds = range(3 if quick else 10)
    return float(np.mean([ratios(released("stc", SMALL), baseline("stc", SMALL), SMALL, s).total for s in seeds]))


@claim(DERIVED, "bytes by those without prefetch, LFL, 300 devices, beginning with the shortest way", 1.12, 1.08, 1.15)
def fedfetch_small_bytes(quick: bool) -> float:
    seeds = range(3 if quick else 10)
    each = [ratios(ours("lfl", SMALL, rates="known"), baseline("lfl", SMALL), SMALL, s).bytes for s in seeds]
    return float(np.mean(each))


@claim(DERIVED, "what a window of three rounds gains over one, in the time ratio of STC", 0.06, 0.04, float("inf"))
def fedfetch_window(quick: bool) -> float:
    one, three = (ratios(released("stc", LARGE, r), baseline("stc", LARGE)).total for r in (1, 3))
    return three - one


@claim(
    DERIVED, "extra bytes when everybody starts three rounds early, by those on schedule, LFL", 2.2, 2.0, float("inf")
)
def fedfetch_naive(quick: bool) -> float:
    base = baseline("lfl", LARGE)
    naive, planned = (ratios(s, base).bytes - 1 for s in (released("lfl", LARGE, naive=True), released("lfl", LARGE)))
    return naive / planned


@claim(DERIVED, "time ratio of STC without over-commitment, mean of three seeds", 1.05, 1.0, 1.1)
def fedfetch_overcommit(quick: bool) -> float:
    with_it, without = released("stc", LARGE, overcommit=1.0), baseline("stc", LARGE, 1.0)
    return float(np.mean([ratios(with_it, without, LARGE, s).total for s in range(1 if quick else 3)]))


@claim(
    DERIVED, "largest rise of time ratio or bytes from one slack to the next (0 to 1), STC", 0.0, float("-inf"), 0.01
)
def fedfetch_slack(quick: bool) -> float:
    base = baseline("stc", LARGE)
    each = [ratios(released("stc", LARGE, slack=b), base) for b in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return max(max(b.total - a.total, b.bytes - a.bytes) for a, b in pairwise(each))


@claim(DERIVED, "spread of the time over weights of the round length from 1/16 to 1, by the shortest", 0.0, 0.0, 0.01)
def fedfetch_weight(quick: bool) -> float:
    times = [measured(released("stc", LARGE, weight=w)).total for w in (0.0625, 0.125, 0.25, 0.5, 1.0)]
    return max(times) / min(times) - 1


@claim(DERIVED, "time ratio with rates measured from transfers by that with rates known, STC", 1.0, 0.95, 1.05)
def fedfetch_measured(quick: bool) -> float:
    base = baseline("stc", LARGE)
    return ratios(ours("stc", LARGE), base).total / ratios(ours("stc", LARGE, rates="known"), base).total


# --- the better trade ----------------------------------------------------------------------------------------


def lean(codec: str, slack: float = 0.0) -> Strategy:
    """The limit is on when a client finishes; who cannot be in time begins as late as it makes no difference."""
    return ours(codec, LARGE, by="finish", tail="useful", slack=slack)


@claim(
    DERIVED,
    "time ratio at no more than 13 % extra bytes by the released rule's at no more than 13 %, STC",
    1.0,
    1.0,
    2.0,
)
def fedfetch_frontier(quick: bool) -> float:
    base = baseline("stc", LARGE)
    mine = [ratios(lean("stc", s), base) for s in (-0.3, 0.0)]
    theirs = [ratios(released("stc", LARGE, slack=s), base) for s in (0.5, 0.6, 0.7)]
    best, released_best = (max(r.total for r in each if r.bytes <= 1.13) for each in (mine, theirs))
    return best / released_best


@claim(DERIVED, "the same by the released rule's with all the bytes it takes (23 %), STC", 1.0, 1.0, 2.0)
def fedfetch_better(quick: bool) -> float:
    base = baseline("stc", LARGE)
    mine = [ratios(lean("stc", s), base) for s in (-0.3, 0.0)]
    return max(r.total for r in mine if r.bytes <= 1.13) / ratios(released("stc", LARGE), base).total


# --- clients that come and go --------------------------------------------------------------------------------

HOURS, MINUTES = Renewal(on=3600.0, off=7200.0), Renewal(on=600.0, off=1200.0)
CHURN = Scale(2800, 30, 300)


@claim(DERIVED, "bytes fetched ahead by clients that left, by all bytes down; on 1 h, off 2 h", 0.002, 0.0, 0.01)
def fedfetch_churn_bytes(quick: bool) -> float:
    moved = measured(released("stc", CHURN), CHURN, 0, HOURS).bytes
    before = measured(baseline("stc", CHURN), CHURN, 0, HOURS).bytes
    return (moved["wasted"] - before["wasted"]) / moved["down"]


@claim(DERIVED, "time with prefetch by that without; on 10 min, off 20 min", 1.0, 0.0, 1.2)
def fedfetch_churn_time(quick: bool) -> float:
    with_it, without = (measured(s, CHURN, 0, MINUTES) for s in (released("stc", CHURN), baseline("stc", CHURN)))
    return with_it.total / without.total


# --- masks of real updates -----------------------------------------------------------------------------------


@cache
def unions(share: float, rounds: int) -> dict[int, float]:
    """Share of coordinates that k top-k updates in a row change, mean over a small training, by k.

    An MLP 64-128-128-10 on a Gaussian mixture, 100 clients, Dirichlet 0.3, ten clients per round.
    """
    local = LocalSGD(lr=0.01, batch_size=20, steps=10, momentum=0.9, weight_decay=5e-4)
    task = gaussian(100, 10, 64, samples=75, alpha=0.3, hidden=(128, 128), local=local, held_out=500)
    setup = Setup.of(task, fedfetch(10, 1.0, 0, TopK(share)), Until(steps=rounds), evaluation=Evaluation(every=50))
    engine = prepare(setup, Fleet.equal(100, 0.01, 1e6, 1e6)).engine
    changed: dict[int, NDArray[np.uint8]] = {}
    over = False
    while not over:
        over = engine.run(50)
        log = engine.book.shelves["gaussian"].downlink.log
        changed |= {v: np.frombuffer(m.changed, np.uint8) for v, m in log.items() if v not in changed}
    each = [changed[v] for v in sorted(changed)]
    out = {}
    for k in (1, 3, 5, 10, 20, 40):
        windows = [np.bitwise_or.reduce(each[a : a + k]) for a in range(0, len(each) - k + 1, 3)]
        out[k] = float(np.mean([np.unpackbits(w).sum() for w in windows])) / task.schema.size
    return out


REAL = "the acceptance list of FedFetch: union densities of a small real training"


def off(share: float, wanted: dict[int, float]) -> float:
    """Largest difference from these densities, by k."""
    found = unions(share, 150)
    return max(abs(found[k] - p) for k, p in wanted.items())


@claim(
    REAL,
    "largest difference to .20, .60, .78, .89, .95 after 1, 5, 10, 20, 40 updates that keep a fifth",
    0.0,
    0.0,
    0.04,
)
def fedfetch_unions(quick: bool) -> float:
    return off(0.2, {1: 0.20, 5: 0.60, 10: 0.78, 20: 0.89, 40: 0.95})


@claim(
    REAL,
    "the same after 5, 10, 20, 40 updates that keep a tenth (.38 .58 .78 .90) or 0.3 (.73 .86 .94 .97)",
    0.0,
    0.0,
    0.05,
)
def fedfetch_unions_others(quick: bool) -> float:
    tenth, third = {5: 0.38, 10: 0.58, 20: 0.78, 40: 0.90}, {5: 0.73, 10: 0.86, 20: 0.94, 40: 0.97}
    return max(off(0.1, tenth), off(0.3, third))
