"""Which client does which task's next job?"""

from hocket.matching.bods import BODS
from hocket.matching.planned import PlannedRouting
from hocket.matching.presample import Presample
from hocket.matching.route_ahead import RouteAhead
from hocket.matching.sticky import Sticky
from hocket.matching.ucb import UCB
from hocket.matching.uniform import Uniform
from hocket.matching.weighted import Weighted

__all__ = [
    "BODS",
    "UCB",
    "PlannedRouting",
    "Presample",
    "RouteAhead",
    "Sticky",
    "Uniform",
    "Weighted",
]  # fmt: skip
