"""One JSON object per line, written at once: ``begin``, a ``point`` per evaluation, ``end``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from hocket.record.curve import Point
from hocket.sink.sink import directory, numbers


class JsonLines:
    """Writes ``folder/name.jsonl``.

    Raises:
        InvalidInput: the folder is a file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = directory(folder, "jsonl") / f"{name}.jsonl"
        self._file: TextIO | None = None

    def begin(self, about: Mapping[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, "w", encoding="utf-8")  # noqa: SIM115 - closed by end()
        self._write("begin", about)

    def point(self, point: Point) -> None:
        self._write("point", {"task": point.task, "version": point.version, **numbers(point)})

    def end(self, summary: Mapping[str, Any] | None) -> None:
        self._write("end", {"summary": summary})
        if self._file is not None:
            self._file.close()

    def _write(self, what: str, content: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps({"what": what, **content}) + "\n")
            self._file.flush()
