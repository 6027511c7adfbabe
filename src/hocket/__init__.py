"""Federated learning for fleets that are slow, uneven and only sometimes there.

Describe the devices (:class:`Fleet`) and what they train (:class:`Task`), choose a method
(:mod:`hocket.strategies`), and :func:`simulate` it under a virtual clock; the same server, clients and policies
run over a network. :class:`Core` is the same without a driver, for those who have a loop of their own.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from hocket import (
    codec,
    downlink,
    errors,
    fleet,
    guard,
    matching,
    merge,
    optimizer,
    pacing,
    prefetch,
    privacy,
    strategies,
    submodel,
    uplink,
)
from hocket import plain as plain  # registers every policy that ships
from hocket.core import Core
from hocket.errors import HocketError, InvalidInput
from hocket.fleet import Fleet
from hocket.learning import LocalSGD, Task, partition, reference_tasks
from hocket.planning import plan
from hocket.schedule import Change
from hocket.schema import Schema, Segment
from hocket.simulation.run import Run, simulate
from hocket.strategy import Strategy, TaskPart, compose, tasks
from hocket.until import Evaluation, Until

try:
    __version__ = version("hocket")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

if TYPE_CHECKING:
    from hocket.learning.torch_learner import TorchLearner


def __getattr__(name: str) -> Any:
    """``TorchLearner`` is loaded when it is asked for: it alone needs torch."""
    if name == "TorchLearner":
        return import_module("hocket.learning.torch_learner").TorchLearner
    raise AttributeError(f"module 'hocket' has no attribute {name!r}")


__all__ = [
    "Change", "Core", "Evaluation", "Fleet", "HocketError", "InvalidInput", "LocalSGD", "Run", "Schema", "Segment",
    "Strategy", "Task", "TaskPart", "TorchLearner", "Until", "codec", "compose", "downlink", "errors", "fleet",
    "guard", "matching", "merge", "optimizer", "pacing", "partition", "plan", "prefetch", "privacy",
    "reference_tasks", "simulate", "strategies", "submodel", "tasks", "uplink",
]  # fmt: skip
