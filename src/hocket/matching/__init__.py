"""Which client does which task's next job?"""

from hocket.matching.uniform import Uniform

__all__ = ["Uniform"]
