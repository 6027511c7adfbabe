"""How is an update encoded, and what does the client remember?"""

from hocket.uplink.banded import Banded
from hocket.uplink.error_feedback import ErrorFeedback
from hocket.uplink.plain import Plain

__all__ = ["Banded", "ErrorFeedback", "Plain"]
