"""Which client does which task's next job?"""

from hocket.matching.planned import PlannedRouting
from hocket.matching.uniform import Uniform
from hocket.matching.weighted import Weighted

__all__ = ["PlannedRouting", "Uniform", "Weighted"]
