"""Which coordinates does this client train?"""

from hocket.submodel.whole import Whole

__all__ = ["Whole"]
