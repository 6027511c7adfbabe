"""The plain choice for every question: what a strategy leaves open."""

from hocket.downlink import Full
from hocket.guard import Staleness
from hocket.matching import Uniform
from hocket.merge import MeanByCount
from hocket.optimizer import SGD
from hocket.pacing import Rounds
from hocket.prefetch import NoPrefetch
from hocket.strategy import Local, Strategy, TaskPart
from hocket.submodel import Whole
from hocket.uplink import Plain

STRATEGY = Strategy("plain", Rounds(), Uniform(), NoPrefetch())
TASK = TaskPart(Whole(), Full(), Plain(), MeanByCount(), SGD(), Staleness(), Local())
