"""One published method per file: its equation, its symbols, its citation, its composition."""

from hocket.strategies.asyncsgd import asyncsgd
from hocket.strategies.fedasync import fedasync
from hocket.strategies.fedavg import fedavg
from hocket.strategies.fedbuff import fedbuff
from hocket.strategies.fedfix import fedfix
from hocket.strategies.fedprox import fedprox

__all__ = ["asyncsgd", "fedasync", "fedavg", "fedbuff", "fedfix", "fedprox"]
