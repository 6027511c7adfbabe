"""A run directory: checkpoints to go on from, and what a finished run leaves.

A checkpoint is one safetensors file of byte tensors (server, book, world, curve, updates so far) that also names the
kernels the learners compute with, so that a run goes on to the same bits, and a digest of all that, so that nobody goes
on from a damaged one. It is replaced in one move, so a kill at any moment leaves the one before it. What merges keep of
every client beyond memory lies in a file of its own, in places that are not used again before the next checkpoint. The
log is flushed first, and segments written after the checkpoint are removed when the run goes on.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hocket.errors import Damaged, InvalidInput
from hocket.files import replace
from hocket.record.curve import Curve
from hocket.simulation.engine import Engine
from hocket.simulation.world import World
from hocket.snapshot import digest, pack, unpack

if TYPE_CHECKING:
    from hocket.simulation.run import Run

FORMAT = "2"
FILE = "checkpoint.safetensors"
SPILL = "_{}.latest"
"""Clients' latest models of a task, among the events; readers of Parquet pass over names that begin so."""
RESULTS = ("summary.json", "machine.json", "curve.parquet", FILE, "report.html")


def begin(folder: Path, resume: bool) -> None:
    """Start a run directory.

    Raises:
        InvalidInput: it holds another run, which would be overwritten.
    """
    held = [f for f in RESULTS if (folder / f).exists()]
    if "summary.json" in held and resume:
        raise InvalidInput(f"{folder} holds a finished run; choose another directory, or remove it")
    if held and not resume:
        raise InvalidInput(
            f"{folder} holds a run already ({', '.join(held)}); go on with --resume, choose another directory, or "
            "remove it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("*.parquet", SPILL.format("*")):
        for path in (folder / "events").glob(name):
            path.unlink()


def save(folder: Path, engine: Engine, curve: Curve, name: str) -> None:
    """Write a checkpoint of a run that is between two events."""
    assert engine.log is not None, "a run directory has a log"
    engine.log.flush()
    state = {
        "server": engine.server.snapshot(),
        "book": engine.book.snapshot(),
        "world": pack(engine.freeze()),
        "curve": pack(curve),
    }
    arrays = {k: np.frombuffer(v, np.uint8) for k, v in state.items()}
    kernels = json.dumps(engine.training.kernels)
    meta = {"format": FORMAT, "run": name, "segments": str(engine.log.segments), "kernels": kernels}
    meta["digest"] = _digest(state, meta)
    for archive in engine.book.archives():
        archive.sync()
    replace(folder / FILE, lambda path: save_file(arrays, path, metadata=meta))
    for archive in engine.book.archives():
        archive.guard(FILE)


def load(folder: Path, engine: Engine, curve: Curve, name: str) -> bool:
    """Continue from the checkpoint in a run directory; False if there is none.

    Raises:
        InvalidInput: the checkpoint belongs to another experiment.
        Damaged: it cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return False
    state, meta = _read(path)
    if meta["run"] != name:
        raise InvalidInput(
            f"{path} belongs to another experiment (tasks, fleet, strategy, stop rule or seed differ); resume with "
            "the same ones or choose another directory"
        )
    engine.training.pin(json.loads(meta["kernels"]))
    engine.server.restore(state["server"])
    engine.book.restore(state["book"])
    for archive in engine.book.archives():
        archive.guard(FILE)
    engine.thaw(unpack(state["world"], World))
    restored = unpack(state["curve"], Curve)
    curve.points, curve.confirm = restored.points, restored.confirm
    assert engine.log is not None, "a run directory has a log"
    engine.log.forget_after(int(meta["segments"]))
    return True


def saved_curve(folder: Path) -> Curve | None:
    """The evaluations in a checkpoint, whichever experiment it belongs to; None if there is no checkpoint.

    Raises:
        Damaged: it cannot be read.
    """
    path = folder / FILE
    return unpack(_read(path)[0]["curve"], Curve) if path.exists() else None


def _read(path: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """What is in a checkpoint, as it was written."""
    try:
        state = {k: v.tobytes() for k, v in load_file(path).items()}
        with open(path, "rb") as f:
            size = int.from_bytes(f.read(8), "little")
            meta: dict[str, str] = json.loads(f.read(size))["__metadata__"]
        if meta["format"] != FORMAT:
            raise Damaged(f"{path}: format {meta['format']}, this version reads {FORMAT}; remove it to start again")
        if meta.pop("digest") != _digest(state, meta):
            raise Damaged(f"{path}: not what was written; remove it to start the run again")
    except (SafetensorError, KeyError, ValueError, OSError) as e:
        raise Damaged(f"{path}: {e}; remove it to start the run again") from e
    return state, meta


def _digest(state: Mapping[str, bytes], meta: Mapping[str, str]) -> str:
    """Stands for all of a checkpoint."""
    return digest(sorted(meta.items()), *(part for item in sorted(state.items()) for part in item))


def finish(folder: Path, run: "Run") -> None:
    """Write what a finished run leaves; the checkpoint goes away last."""
    assert run.log is not None, "a run directory has a log"
    run.log.flush()
    replace(folder / "curve.parquet", lambda p: pq.write_table(run.curve.table(), p))
    for name, x in run.models.items():
        if x is not None:
            tensors = {k: np.ascontiguousarray(v) for k, v in run.tasks[name].schema.views(x).items()}
            replace(folder / f"model-{name}.safetensors", partial(save_file, tensors))
    replace(folder / "machine.json", lambda p: p.write_text(_json(run.machine)))
    replace(folder / "summary.json", lambda p: p.write_text(_json(run.summary)))
    (folder / FILE).unlink(missing_ok=True)
    for path in (folder / "events").glob(SPILL.format("*")):
        path.unlink()


def _json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"
