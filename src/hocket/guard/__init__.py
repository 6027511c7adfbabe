"""What is refused, and what does the rest weigh?"""

from hocket.guard.chain import Chain
from hocket.guard.norm import NormBound
from hocket.guard.staleness import Constant, Hinge, Polynomial, Staleness, Windowed

__all__ = ["Chain", "Constant", "Hinge", "NormBound", "Polynomial", "Staleness", "Windowed"]
