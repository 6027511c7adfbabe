"""Which client does which task's next job?"""

from hocket.matching.uniform import Uniform
from hocket.matching.weighted import Weighted

__all__ = ["Uniform", "Weighted"]
