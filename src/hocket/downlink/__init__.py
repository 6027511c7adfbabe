"""Which nodes and edges exist?"""

from hocket.downlink.anchors import Anchors
from hocket.downlink.bands import Bands
from hocket.downlink.combined import Combined
from hocket.downlink.direct import Direct
from hocket.downlink.full import Full
from hocket.downlink.hidden_bands import HiddenBands
from hocket.downlink.hidden_state import HiddenState

__all__ = [
    "Anchors", "Bands", "Combined", "Direct", "Full", "HiddenBands", "HiddenState",
]  # fmt: skip
