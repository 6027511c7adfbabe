"""How is a step applied?"""

from hocket.optimizer.adam import Adam
from hocket.optimizer.momentum import Momentum
from hocket.optimizer.sgd import SGD
from hocket.optimizer.yogi import Yogi

__all__ = ["SGD", "Adam", "Momentum", "Yogi"]
