"""Where the evaluations of a run go while it is under way: JSON lines, TensorBoard, MLflow, Weights & Biases."""

from hocket.sink.json_lines import JsonLines
from hocket.sink.mlflow import MLflow
from hocket.sink.sink import Sink, need, numbers
from hocket.sink.tensorboard import TensorBoard
from hocket.sink.wandb import Wandb

__all__ = ["JsonLines", "MLflow", "Sink", "TensorBoard", "Wandb", "need", "numbers"]
