"""One published method per file: its equation, its symbols, its citation, its composition.

Each is a function that returns a :class:`hocket.Strategy`; a bad value is an :class:`hocket.InvalidInput` naming it.
Settings that several share:

    asked: clients that are asked for a joint round.
    attach: the model that a client trains from: "issue", of when its job was given out; "start", of when it begins.
    bits: per value.
    buffer: updates of a step.
    cohort: updates of a round; it is over when they are there.
    deadline: seconds after which a round ends with the updates that it has, if they are ``minimum`` or more.
    decay: what an update weighs by its staleness; see :mod:`hocket.guard.staleness`.
    densities: shares of the coordinates that clients keep, by client in turn.
    down, up: codecs of what the server publishes, and of updates.
    every: updates from one look whether devices have changed to the next (0: plan once).
    floor: the least probability of a client, in units of 1/n.
    group, newcomers: clients of the sticky group, and how many of a cohort come from outside.
    in_flight: jobs at work at all times, per task (m).
    interval: rounds from one ranking of the coordinates to the next.
    learning: constants of the learning problem; see :class:`hocket.queueing.Learning`.
    lr: learning rate of the server; 1 if left out.
    minimum: the fewest updates of a round that its deadline ends.
    most: the largest number of jobs in flight that is tried.
    normalise: whether a step is divided by the "count" of its updates or by the sum of their "weight".
    overcommit: clients asked per update that is waited for.
    patience: rounds without progress after which densities rise.
    power, energy: watts of a device, and the weight of joules beside seconds, 0 to 1.
    prefetch_window: rounds that cohorts are drawn ahead, to fetch on FedFetch's schedule; 0: not at all.
    proximal: mu, the pull towards the start in the local work.
    ratio: requests per update of a step (rho): mean staleness is about one less.
    refill_first: give out new work before the step that an arrival triggers, not after.
    routing: how likely each client is to be drawn; empty: all alike.
    share: of the coordinates that an update keeps.
    shared: of the coordinates that all clients' updates have in common.
    shares: per task, of the requests or clients; equal if left out.
    slack: beta of FedFetch's schedule; more saves bytes and costs time.
    staleness_limit: versions beyond which an update is refused; None: never.
    steps: batches of a job in place of the task's own local work; None: its own.
    timeout: seconds after which a job that nothing was heard of counts as lost; None: never.
    widths: shares of every layer's units that clients train.
    window: seconds between steps; of FedAST, updates that its measure of heterogeneity looks back.
"""

from hocket.strategies.asyncsgd import asyncsgd
from hocket.strategies.docofl import docofl
from hocket.strategies.eden import eden
from hocket.strategies.fedast import fedast
from hocket.strategies.fedasync import fedasync
from hocket.strategies.fedavg import fedavg
from hocket.strategies.fedbuff import fedbuff
from hocket.strategies.fedfetch import fedfetch
from hocket.strategies.fedfix import fedfix
from hocket.strategies.fedprox import fedprox
from hocket.strategies.fjord import fjord
from hocket.strategies.generalized_asyncsgd import generalized_asyncsgd
from hocket.strategies.gluefl import gluefl
from hocket.strategies.heterofl import heterofl
from hocket.strategies.lfl import lfl
from hocket.strategies.planned import energy_optimal, max_throughput, round_optimal, time_optimal
from hocket.strategies.powersgd import powersgd
from hocket.strategies.prfl import prfl
from hocket.strategies.qafel import qafel
from hocket.strategies.qsgd import qsgd
from hocket.strategies.stc import stc
from hocket.strategies.sub_fedavg import sub_fedavg
from hocket.strategies.sync_st import sync_st

__all__ = [
    "asyncsgd", "docofl", "eden", "energy_optimal", "fedast", "fedasync", "fedavg", "fedbuff", "fedfetch", "fedfix",
    "fedprox", "fjord", "generalized_asyncsgd", "gluefl", "heterofl", "lfl", "max_throughput", "powersgd", "prfl",
    "qafel", "qsgd", "round_optimal", "stc", "sub_fedavg", "sync_st", "time_optimal",
]  # fmt: skip
