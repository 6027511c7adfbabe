"""How much work may start, and when is a buffer, round or window due?"""

from hocket.pacing.budgets import Budgets, ByHeterogeneity, Static
from hocket.pacing.in_flight import InFlight
from hocket.pacing.joint_rounds import JointRounds
from hocket.pacing.rounds import Rounds
from hocket.pacing.sticky_rounds import StickyRounds
from hocket.pacing.windows import Windows

__all__ = ["Budgets", "ByHeterogeneity", "InFlight", "JointRounds", "Rounds", "Static", "StickyRounds", "Windows"]
