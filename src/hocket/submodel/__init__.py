"""Which coordinates does this client train?"""

from hocket.submodel.density import Controller
from hocket.submodel.pruning import Pruning, Recovery
from hocket.submodel.slices import Slices
from hocket.submodel.whole import Whole

__all__ = ["Controller", "Pruning", "Recovery", "Slices", "Whole"]
