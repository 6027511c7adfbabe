"""What may be learnt of a client from the models that leave the server?"""

from hocket.privacy.gaussian import Gaussian
from hocket.privacy.secure_aggregation import SecureAggregation

__all__ = ["Gaussian", "SecureAggregation"]
