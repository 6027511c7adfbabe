"""What an experiment will do, exactly, before it runs: throughput, staleness, and the routing that is best."""

from hocket.plan.calibrate import Calibration, calibrate
from hocket.plan.foretell import Foretold, foretell, observe

__all__ = ["Calibration", "Foretold", "calibrate", "foretell", "observe"]
