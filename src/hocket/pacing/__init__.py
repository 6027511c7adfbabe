"""How much work may start, and when is a buffer, round or window due?"""

from hocket.pacing.in_flight import InFlight
from hocket.pacing.rounds import Rounds
from hocket.pacing.windows import Windows

__all__ = ["InFlight", "Rounds", "Windows"]
