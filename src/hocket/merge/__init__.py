"""How do updates become a step?"""

from hocket.merge.clipped_mean import ClippedMean
from hocket.merge.geometric_median import GeometricMedian
from hocket.merge.krum import Krum
from hocket.merge.masked_deltas import MaskedDeltas
from hocket.merge.masked_models import MaskedModels
from hocket.merge.mean import MeanByCount, MeanByFleet, MeanByWeight
from hocket.merge.median import Median
from hocket.merge.mixing import Mixing
from hocket.merge.spread import Spread
from hocket.merge.trimmed_mean import TrimmedMean

__all__ = [
    "ClippedMean", "GeometricMedian", "Krum", "MaskedDeltas", "MaskedModels", "MeanByCount", "MeanByFleet",
    "MeanByWeight", "Median", "Mixing", "Spread", "TrimmedMean",
]  # fmt: skip
