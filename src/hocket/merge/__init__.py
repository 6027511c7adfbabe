"""How do updates become a step?"""

from hocket.merge.mean import MeanByCount, MeanByFleet, MeanByWeight
from hocket.merge.mixing import Mixing

__all__ = ["MeanByCount", "MeanByFleet", "MeanByWeight", "Mixing"]
