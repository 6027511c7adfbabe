"""Many runs of experiment files, each in a directory of its own, one after the other or several at once."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from msgspec import Struct

from hocket.errors import InvalidInput
from hocket.experiment import folder
from hocket.experiment.document import Experiment, load
from hocket.experiment.edits import seeds
from hocket.sink.text import open_sink

Report = Callable[[str, dict[str, Any]], None]
"""Called with the name of a run and its progress."""


class Piece(Struct, frozen=True):
    """One run: a file, what is changed in it, its seed (None: its own), where it goes, who is told, where data are."""

    file: Path
    place: Path
    changes: tuple[str, ...] = ()
    seed: int | None = None
    sinks: tuple[str, ...] = ()
    data: Path | None = None

    def run(self, resume: bool, report: Report | None = None) -> None:
        """Make it."""
        experiment = self.load()
        told = None if report is None else lambda state: report(experiment.name, state)
        experiment.run(self.place, resume, told, [open_sink(s, experiment.name) for s in self.sinks])

    def load(self) -> Experiment:
        """The experiment, named after its seed if it is one of several."""
        if self.seed is None:
            return load(self.file, self.changes, self.data)
        experiment = load(self.file, [*self.changes, f"seed={self.seed}"], self.data)
        return experiment.named(f"{experiment.name} seed {self.seed}")


def pieces(
    file: Path,
    place: Path,
    changes: Sequence[str],
    among: str | None,
    sinks: Sequence[str] = (),
    data: Path | None = None,
) -> list[Piece]:
    """A run in ``place``, or with seeds (``0:5``) one in each ``place/seed-N``.

    Raises:
        InvalidInput: ``among`` is no range, or ``place`` holds a run where one per seed should go.
    """
    if among is None:
        return [Piece(file, place, tuple(changes), sinks=tuple(sinks), data=data)]
    each = [Piece(file, place / f"seed-{n}", tuple(changes), n, tuple(sinks), data) for n in seeds(among)]
    if (place / "summary.json").exists():
        raise InvalidInput(f"{place} holds a single run; choose another directory for --seeds with --out")
    return each


def unfinished(runs: Sequence[Piece], resume: bool) -> list[Piece]:
    """Check all runs, and say which still have to be made; without ``resume`` that is all of them.

    Raises:
        InvalidInput: a file cannot be run, or a directory is taken.
    """
    left = []
    for piece in runs:
        experiment = piece.load()
        for text in piece.sinks:
            open_sink(text, experiment.name)
        if not resume:
            folder.vacant(piece.place)
        elif folder.finished(piece.place) and folder.same(experiment, piece.place):
            continue
        left.append(piece)
    return left


def run(runs: Sequence[Piece], report: Report, *, jobs: int = 1, resume: bool = False) -> None:
    """Make all runs, ``jobs`` at a time; results do not depend on how many. ``report`` hears of a lone process."""
    if jobs == 1 or len(runs) < 2:
        for piece in runs:
            piece.run(resume, report)
        return
    pool = ProcessPoolExecutor(min(jobs, len(runs)), multiprocessing.get_context("spawn"))
    try:
        for future in [pool.submit(piece.run, resume) for piece in runs]:
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)
