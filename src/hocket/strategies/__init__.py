"""One published method per file: its equation, its symbols, its citation, its composition."""

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
