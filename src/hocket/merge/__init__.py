"""How do updates become a step?"""

from hocket.merge.mean import MeanByCount, MeanByFleet, MeanByWeight
from hocket.merge.mixing import Mixing
from hocket.merge.spread import Spread

__all__ = ["MeanByCount", "MeanByFleet", "MeanByWeight", "Mixing", "Spread"]
