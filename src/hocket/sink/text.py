"""``--sink KIND:DIR``."""

import re
from collections.abc import Callable
from pathlib import Path

from hocket.errors import InvalidInput
from hocket.experiment.strict import unknown
from hocket.sink.json_lines import JsonLines
from hocket.sink.mlflow import MLflow
from hocket.sink.sink import Sink
from hocket.sink.tensorboard import TensorBoard
from hocket.sink.wandb import Wandb

KINDS: dict[str, Callable[[Path, str], Sink]] = {
    "jsonl": JsonLines, "mlflow": MLflow, "tensorboard": TensorBoard, "wandb": Wandb,
}  # fmt: skip


def open_sink(text: str, name: str) -> Sink:
    """The sink that ``KIND:DIR`` means, for a run of a name; nothing is written before the run begins.

    Raises:
        InvalidInput: there is no such kind, or no directory.
        MissingExtra: its library is not installed.
    """
    kind, colon, where = text.partition(":")
    if kind not in KINDS:
        raise unknown(f"--sink = {kind!r}", KINDS, "no such sink")
    if not colon or not where:
        raise InvalidInput(f"--sink {text!r}: give {kind}:DIR, for example {kind}:runs/{kind}")
    return KINDS[kind](Path(where), re.sub(r"[^\w.-]+", "-", name))
