"""Which client does which task's next job?"""

from hocket.matching.presample import Presample
from hocket.matching.sticky import Sticky
from hocket.matching.uniform import Uniform
from hocket.matching.weighted import Weighted

__all__ = ["Presample", "Sticky", "Uniform", "Weighted"]
