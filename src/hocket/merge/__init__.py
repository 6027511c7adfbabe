"""How do updates become a step?"""

from hocket.merge.masked_deltas import MaskedDeltas
from hocket.merge.masked_models import MaskedModels
from hocket.merge.mean import MeanByCount, MeanByFleet, MeanByWeight
from hocket.merge.mixing import Mixing
from hocket.merge.spread import Spread

__all__ = ["MaskedDeltas", "MaskedModels", "MeanByCount", "MeanByFleet", "MeanByWeight", "Mixing", "Spread"]
