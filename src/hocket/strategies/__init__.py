"""One published method per file: its equation, its symbols, its citation, its composition."""

from hocket.strategies.asyncsgd import asyncsgd
from hocket.strategies.fedast import fedast
from hocket.strategies.fedasync import fedasync
from hocket.strategies.fedavg import fedavg
from hocket.strategies.fedbuff import fedbuff
from hocket.strategies.fedfix import fedfix
from hocket.strategies.fedprox import fedprox
from hocket.strategies.fjord import fjord
from hocket.strategies.generalized_asyncsgd import generalized_asyncsgd
from hocket.strategies.heterofl import heterofl
from hocket.strategies.prfl import prfl
from hocket.strategies.qafel import qafel
from hocket.strategies.sub_fedavg import sub_fedavg
from hocket.strategies.sync_st import sync_st

__all__ = [
    "asyncsgd", "fedast", "fedasync", "fedavg", "fedbuff", "fedfix", "fedprox", "fjord", "generalized_asyncsgd",
    "heterofl", "prfl", "qafel", "sub_fedavg", "sync_st",
]  # fmt: skip
