"""Which client does which task's next job?"""

from hocket.matching.presample import Presample
from hocket.matching.route_ahead import RouteAhead
from hocket.matching.sticky import Sticky
from hocket.matching.uniform import Uniform
from hocket.matching.weighted import Weighted

__all__ = ["Presample", "RouteAhead", "Sticky", "Uniform", "Weighted"]
