"""How much work may start, and when is a buffer, round or window due?"""

from hocket.pacing.allocation import ByHeterogeneity, ByProgress, InTurn, Static
from hocket.pacing.budgets import Budgets
from hocket.pacing.in_flight import InFlight
from hocket.pacing.joint_rounds import JointRounds
from hocket.pacing.planned import PlannedInFlight
from hocket.pacing.rounds import Rounds
from hocket.pacing.sticky_rounds import StickyRounds
from hocket.pacing.windows import Windows

__all__ = [
    "Budgets", "ByHeterogeneity", "ByProgress", "InFlight", "InTurn", "JointRounds", "PlannedInFlight", "Rounds",
    "Static", "StickyRounds", "Windows",
]  # fmt: skip
