"""What a sink is."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from hocket.errors import InvalidInput, MissingExtra
from hocket.record.curve import Curve, Point


class Sink(Protocol):
    """Told of one run. A run that is resumed tells its earlier points again."""

    def begin(self, about: Mapping[str, Any]) -> None:
        """A run begins; ``about`` has its strategy, tasks, number of clients and seed."""

    def point(self, point: Point) -> None:
        """A model was evaluated."""

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """The run is over; no summary if it did not come to its end."""


class Telling:
    """Tells sinks of a run's new points; as a context it begins and ends them, whatever happens in between."""

    def __init__(self, sinks: Sequence[Sink], about: Mapping[str, Any], curve: Curve) -> None:
        self._sinks, self._about, self._curve = tuple(sinks), about, curve
        self._begun: list[Sink] = []
        self._told = 0
        self.summary: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        for sink in self._sinks:
            sink.begin(self._about)
            self._begun.append(sink)
        return self

    def fresh(self) -> None:
        """Tell what has been measured since the last time."""
        for point in self._curve.points[self._told :] if self._sinks else ():
            for sink in self._sinks:
                sink.point(point)
        self._told = len(self._curve.points)

    def __exit__(self, *_: object) -> None:
        for sink in self._begun:
            sink.end(self.summary)


def numbers(point: Point) -> dict[str, float]:
    """The figures of a point by name, task first; time in virtual seconds.

    >>> numbers(Point("digits", 2_000_000_000, 3, 15, 10, 20, {"accuracy": 0.5}))["digits/accuracy"]
    0.5
    """
    own = {"time_s": point.time_ns / 1e9, "updates": point.updates, "bytes_up": point.up, "bytes_down": point.down}
    return {f"{point.task}/{k}": float(v) for k, v in {**point.metrics, **own}.items()}


def directory(folder: Path, sink: str) -> Path:
    """The folder, which need not be there yet.

    Raises:
        InvalidInput: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"sink {sink}: {folder} is a file; give a directory")
    return folder


def need(module: str, extra: str) -> Any:
    """An optional module.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(f"sink {extra}: {module} is not installed; pip install 'hocket[{extra}]'") from error
