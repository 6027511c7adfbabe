"""Weights & Biases, offline: ``wandb sync`` uploads what it leaves, if you want that."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hocket.record.curve import Point
from hocket.sink.sink import directory, need, numbers


class Wandb:
    """Writes an offline run of the project ``hocket`` below ``folder``.

    Raises:
        MissingExtra: wandb is not installed.
        InvalidInput: the folder is a file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._module = need("wandb", "wandb")
        self._folder, self._name = directory(folder, "wandb"), name
        self._run: Any = None

    def begin(self, about: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._run = self._module.init(
            project="hocket", name=self._name, dir=str(self._folder), mode="offline", config=dict(about)
        )

    def point(self, point: Point) -> None:
        self._run.log({**numbers(point), f"{point.task}/version": point.version})

    def end(self, summary: Mapping[str, Any] | None) -> None:
        self._run.finish(exit_code=1 if summary is None else 0)
