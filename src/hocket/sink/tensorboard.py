"""TensorBoard event files; steps are model versions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hocket.record.curve import Point
from hocket.sink.sink import directory, need, numbers


class TensorBoard:
    """Writes to ``folder/name``.

    Raises:
        MissingExtra: tensorboard or torch, whose writer this is, is not installed.
        InvalidInput: the folder is a file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        need("tensorboard", "tensorboard")
        self._make = need("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self._folder = directory(folder, "tensorboard") / name
        self._writer: Any = None

    def begin(self, about: Mapping[str, Any]) -> None:
        self._writer = self._make(str(self._folder))
        self._writer.add_text("run", str(dict(about)))

    def point(self, point: Point) -> None:
        for key, value in numbers(point).items():
            self._writer.add_scalar(key, value, point.version)

    def end(self, summary: Mapping[str, Any] | None) -> None:
        self._writer.close()
