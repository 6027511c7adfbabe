"""How do updates become a step?"""

from hocket.merge.clipped_mean import ClippedMean
from hocket.merge.geometric_median import GeometricMedian
from hocket.merge.krum import Krum
from hocket.merge.mean import MeanByCount, MeanByFleet, MeanByWeight
from hocket.merge.median import Median
from hocket.merge.mixing import Mixing
from hocket.merge.spread import Spread
from hocket.merge.trimmed_mean import TrimmedMean

__all__ = [
    "ClippedMean",
    "GeometricMedian",
    "Krum",
    "MeanByCount",
    "MeanByFleet",
    "MeanByWeight",
    "Median",
    "Mixing",
    "Spread",
    "TrimmedMean",
]
