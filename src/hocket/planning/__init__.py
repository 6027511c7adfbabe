"""What an experiment will do, exactly, before it runs: throughput, staleness, and the routing that is best."""

from hocket.planning.foretell import Foretold, observe
from hocket.planning.plan import Plan, plan, plan_for

__all__ = ["Foretold", "Plan", "observe", "plan", "plan_for"]
