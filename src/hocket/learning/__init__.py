"""Local work, learners, the data of clients and ready-made tasks."""

from hocket.learning import loaders, partition, reference_tasks
from hocket.learning.data import ClientData, Examples
from hocket.learning.learner import Job, Learner, Trained
from hocket.learning.local import LocalSGD
from hocket.learning.mlp import MLP, Model, softmax
from hocket.learning.numpy_learner import NumpyLearner
from hocket.learning.shift import Shift
from hocket.learning.slices import SlicedLearner
from hocket.learning.task import Task

__all__ = [
    "MLP",
    "ClientData",
    "Examples",
    "Job",
    "Learner",
    "LocalSGD",
    "Model",
    "NumpyLearner",
    "Shift",
    "SlicedLearner",
    "Task",
    "Trained",
    "loaders",
    "partition",
    "reference_tasks",
    "softmax",
]
